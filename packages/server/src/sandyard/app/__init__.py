"""The composition root: the only package that names concrete classes.

`platform` says what one server consists of, `backends` which back end it has, `listening` what clients reach, `serving` how it
runs and ends.
"""

from sandyard.app.backends import examine
from sandyard.app.platform import with_keys
from sandyard.app.serving import serve

__all__ = ["examine", "serve", "with_keys"]
