"""Sandboxes: the public `e2b` client under PPIO's names. Everything that `e2b` exports is here, too.

`PPIO_API_KEY`, `PPIO_API_URL`, `PPIO_SANDBOX_URL` and `PPIO_DOMAIN` say where the platform is (`sandyard env` prints them); arguments go
before them, `E2B_*` after them.
"""

# ruff: noqa: F403, I001 (every name of the client is one of ours; an alias to itself says that a name is exported)
from e2b import *  # pyright: ignore[reportWildcardImportFromLibrary] (as above)

from ppio_sandbox.core.classes import (
    E2B as E2B,
    AsyncSandbox as AsyncSandbox,
    AsyncSecret as AsyncSecret,
    AsyncTemplate as AsyncTemplate,
    AsyncVolume as AsyncVolume,
    Sandbox as Sandbox,
    Secret as Secret,
    Template as Template,
    Volume as Volume,
)
