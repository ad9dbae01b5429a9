"""The composition root: the only package that names concrete classes.

`platform` says what one server consists of, `backends` which back end it has, `listening` what clients reach, `serving` how it
runs and ends, `offline` what commands do beside a server.
"""

from sandyard.app.backends import examine
from sandyard.app.offline import renew_secrets, with_rows
from sandyard.app.platform import with_keys
from sandyard.app.serving import serve

__all__ = ["examine", "renew_secrets", "serve", "with_keys", "with_rows"]
