"""What the guest needs before it may start the agent, without the modules that it would wait for.

`import json, signal, socket, ctypes` takes 11 ms and 1.7 MB in every sandbox (CPython 3.11, measured), nearly all of it for `enum`
and `re`. The C modules under them take less than one. They are CPython's own business, so each has its public twin as a fallback.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from typing import Any

    Json = dict[str, Any]
else:
    try:
        import _signal as signal
        import _socket as socket
    except ImportError:
        import signal
        import socket

__all__ = ["decode", "encode", "forget_ambient_capabilities", "make_undumpable", "signal", "socket"]

_PR_SET_DUMPABLE = 4
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_RTLD_NOW = 2


class _Scan:
    """The settings that `json.JSONDecoder` hands to its scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012 (the scanner asks for this attribute, and empties it itself)


def decode(text: str) -> Json:
    """Return the object that the JSON `text` is supposed to be.

    Raises:
        ValueError: it is something else.
    """
    try:
        import _json  # noqa: PLC0415 (with its fallback)

        value, end = _json.make_scanner(_Scan)(text, 0)  # pyright: ignore[reportArgumentType] (any object with these attributes)
        if end == len(text):
            return value
    except (ImportError, AttributeError, TypeError, ValueError, StopIteration, SystemError):
        pass  # SystemError: the scanner wanted to raise json's error and found no json
    import json  # noqa: PLC0415 (slow; it also says what is wrong)

    return json.loads(text)


def encode(value: Any) -> str:
    """Return `value` (of dicts, lists, strings, numbers, booleans and None) as JSON in ASCII, without a space.

    Raises:
        TypeError, ValueError, RecursionError: it is no such value.
    """
    try:
        import _json  # noqa: PLC0415 (with its fallback)

        encoder = _json.make_encoder({}, _unknown, _json.encode_basestring_ascii, None, ":", ",", False, False, False)  # pyright: ignore[reportArgumentType] (as json.encoder calls it)
        return "".join(encoder(value, 0))
    except (ImportError, AttributeError):
        import json  # noqa: PLC0415 (slow)

        return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _unknown(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def make_undumpable() -> None:
    """Keep every process of our uid from our memory, our descriptors and our environment (`/proc/1/mem`, `/proc/1/fd`).

    Raises:
        OSError: the kernel refused.
    """
    if _prctl(_PR_SET_DUMPABLE, 0) != 0:
        raise OSError(f"prctl(PR_SET_DUMPABLE) failed on {sys.platform}")


def forget_ambient_capabilities() -> None:
    """Leave no capability to a process that we start as an ordinary user: ambient ones would pass to it."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def _prctl(option: int, argument: int) -> int:
    try:
        import _ctypes  # noqa: PLC0415 (with its fallback)

        libc = _ctypes.dlopen(None, _RTLD_NOW)  # pyright: ignore[reportArgumentType] (None is this process, as in ctypes.CDLL)
        return _ctypes.call_function(_ctypes.dlsym(libc, "prctl"), (option, argument, 0, 0, 0))
    except (ImportError, AttributeError):
        import ctypes  # noqa: PLC0415 (slow: see above)

        return ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)
