"""One call, in a process of its own: takes the request, calls the function, says what came of it. It never returns to the parent.

What is imported here is in the parent's memory, which every fork pays for: `asyncio` and `traceback` come when they are needed. And
each page that a call touches is copied for it: what it does before and after its function goes by few and low ways.
"""

# ruff: noqa: PLC0415 (see above)

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from types import AsyncGeneratorType, CoroutineType, GeneratorType

from sandkit.prefabs import frames, outputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from typing import Any

_INVOKE_LIMIT = 64 * 1024 * 1024
_EXHAUSTED = frozenset({errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.EFBIG})
_MESSAGE = 4000
_OPEN_FILES = 1024
_FINAL = ("done", "error")

INPUTS, OUTPUTS = "data/inputs", "data/outputs"
BEGUN = b"\0"
"""What a call's process writes first where it prints to: its call has come."""


class FailedError(Exception):
    """The call has failed; `code` is one of the gateway's (`sandkit.wire.gateway`)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def serve(connection: socket.socket, find: Callable[[str], Callable[..., Any]], directory: str, held: int) -> None:
    """Take one `invoke` from `connection` and answer it, with `directory` as working directory.

    `find` returns a function by its name; `held` are the bytes of data that the process has before its call.
    """
    for place in (directory, f"{directory}/data", f"{directory}/{INPUTS}", f"{directory}/{OUTPUTS}"):
        os.mkdir(place, 0o700)  # noqa: PTH102 (pathlib would be a module more in every call)
    os.chdir(directory)
    params = json.loads(frames.receive(connection, frames.JSON, _INVOKE_LIMIT))["params"]
    os.write(1, BEGUN)
    try:
        _receive_files(connection, params["files"])
        _limit(held + params["memory_bytes"])
        for name, value in params["env"].items():
            os.environ[name] = value
        _reseed()
        result, files = _call(connection, find, params)
    except BaseException as error:  # noqa: BLE001 (whatever a function raises is its answer)
        _flush()
        connection.sendall(frames.pack({"jsonrpc": "2.0", "id": 1, "error": _failure(error)}))
        return
    _flush()
    connection.sendall(result)
    for file in files:
        for data in outputs.read(OUTPUTS, file.path, file.size, frames.CHUNK):
            connection.sendall(frames.chunk(data))
        connection.sendall(frames.chunk(b""))


def _call(
    connection: socket.socket, find: Callable[[str], Callable[..., Any]], params: dict[str, Any]
) -> tuple[bytes, list[outputs.Found]]:
    value = find(params["function"])(**params["parameters"])
    limits = params["limits"]
    if _is(value, CoroutineType):
        import asyncio

        value = asyncio.run(value)
    if params["streaming"]:
        _stream(connection, _events(value), limits["event_bytes"])
        value = None
    elif not isinstance(value, dict):
        raise FailedError("OUTPUT_INVALID", f"The function must return a dict, not {type(value).__name__}")
    try:
        found, warnings = outputs.scan(OUTPUTS, params["output_keys"], most_files=limits["files"], most_bytes=limits["file_bytes"])
    except outputs.TooMuchError as error:
        raise FailedError("RESOURCE_EXCEEDED", str(error)) from None
    files = [{"key": file.key, "name": file.path, "size": file.size} for file in found]
    result: dict[str, Any] = {"output": value or {}, "files": files, "warnings": warnings}
    return _packed({"jsonrpc": "2.0", "id": 1, "result": result}, limits["output_bytes"], "OUTPUT"), found


def _packed(message: dict[str, Any], most: int, what: str) -> bytes:
    try:
        frame = frames.pack(message)
    except (ValueError, TypeError, RecursionError) as error:
        raise FailedError("OUTPUT_INVALID", f"What the function gave is not JSON: {error}") from None
    if len(frame) > most:
        raise FailedError(f"{what}_TOO_LARGE", f"What the function gave takes {len(frame)} bytes as JSON; {most} are allowed")
    return frame


def _stream(connection: socket.socket, events: Iterator[Any], most: int) -> None:
    """Send each event as it comes; the first `done` or `error` is the last one that counts."""
    for value in events:
        event: dict[str, Any] = {"type": "content", "data": value}
        if isinstance(value, dict):
            event = value  # pyright: ignore[reportUnknownVariableType] (a user's dict; `typing.cast` would import typing in every call)
        connection.sendall(_packed({"jsonrpc": "2.0", "method": "event", "params": event}, most, "EVENT"))
        if event.get("type") in _FINAL:
            return


def _events(value: Any) -> Iterator[Any]:
    """Return the iterator of a generator, synchronous or not."""
    if _is(value, AsyncGeneratorType):
        import asyncio

        with asyncio.Runner() as runner:
            while True:
                try:
                    yield runner.run(anext(value))
                except StopAsyncIteration:
                    return
    elif _is(value, GeneratorType):
        yield from value
    else:
        raise FailedError("OUTPUT_INVALID", f"A streaming function must yield its events; this one returned {type(value).__name__}")


def _is(value: Any, kind: type) -> bool:
    """Whether a user's value is of that kind, without saying of what."""
    return isinstance(value, kind)


def _receive_files(connection: socket.socket, files: list[dict[str, Any]]) -> None:
    for file in files:
        directory = f"{INPUTS}/{file['key']}"
        os.makedirs(directory, exist_ok=True)  # noqa: PTH103
        with open(f"{directory}/{file['name']}", "xb") as target:  # noqa: PTH123
            while data := frames.receive(connection, frames.BYTES, frames.CHUNK):
                target.write(data)


def held() -> int:
    """Return the bytes of data that this process has taken, as RLIMIT_DATA counts them."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
        return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmData")), 0)


def _limit(data_bytes: int) -> None:
    """Bound what this process may take, with what the import took before it."""
    for kind, most in ((resource.RLIMIT_DATA, data_bytes), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, _OPEN_FILES)):
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))


def _reseed() -> None:
    """Two calls must not draw the same numbers. The standard library sees to itself after a fork; NumPy does not."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, FailedError):
        code, message = error.code, str(error)
    else:
        exhausted = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _EXHAUSTED)
        code = "RESOURCE_EXCEEDED" if exhausted else "FUNCTION_ERROR"
        message = _sentence(error)
        if not exhausted:
            sys.excepthook(type(error), error, error.__traceback__)
    return {"code": -32000, "message": message[:_MESSAGE].encode(errors="replace").decode(), "data": {"error_code": code}}


def _sentence(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 (a user's __str__)
        text = "(it cannot be shown)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # the function has closed it, or nobody reads
