"""Code interpreter: the public `e2b_code_interpreter` client under PPIO's names. Everything that it exports is here, too.

`Sandbox.create()` starts a sandbox of `code-interpreter-v1`; `run_code` runs code in it, whose variables stay. Where the platform is
is said as for `ppio_sandbox.core`.
"""

# ruff: noqa: F403, I001 (every name of the client is one of ours; an alias to itself says that a name is exported)
from e2b_code_interpreter import *  # pyright: ignore[reportWildcardImportFromLibrary] (as above)

from ppio_sandbox.core.classes import (
    AsyncSecret as AsyncSecret,
    AsyncTemplate as AsyncTemplate,
    AsyncVolume as AsyncVolume,
    Secret as Secret,
    Template as Template,
    Volume as Volume,
)
from ppio_sandbox.code_interpreter.classes import E2B as E2B, AsyncSandbox as AsyncSandbox, Sandbox as Sandbox
