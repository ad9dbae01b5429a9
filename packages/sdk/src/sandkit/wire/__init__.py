"""Messages of the control plane, one file per noun; the errors, once; server-sent events.

`wire.sandboxes.Sandbox` imports the file when it is first used: who only imports a client pays for no messages.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from sandkit.wire import manifest as manifest
    from sandkit.wire import sandboxes as sandboxes
    from sandkit.wire import templates as templates
    from sandkit.wire import volumes as volumes

_WHEN_USED = ("manifest", "sandboxes", "templates", "volumes")


def __getattr__(name: str) -> ModuleType:
    if name not in _WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
