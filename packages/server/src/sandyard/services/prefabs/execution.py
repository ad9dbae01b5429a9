"""Runs one prepared call in its warm sandbox: files in, function, events, files out, and a stated end whatever happens."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import anyio
import structlog

from sandkit.wire.gateway import (
    EVENT_LIMIT,
    FUNCTION_ERROR,
    NOT_FOUND,
    OUTPUT_TOO_LARGE,
    RESOURCE_EXCEEDED,
    TIMEOUT,
    UNAVAILABLE,
    WORKER_DIED,
    Refusal,
)
from sandyard.domain.calls import CallResult
from sandyard.domain.errors import BlobMissing, SandboxGone, StoreError
from sandyard.services.prefabs.conversation import Answer, Broken, Conversation, Departure
from sandyard.services.prefabs.events import Sequencer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from sandyard.config import GatewaySettings
    from sandyard.services.prefabs.call_logs import CallLogs
    from sandyard.services.prefabs.conversation import OutputFile
    from sandyard.services.prefabs.neighbours import CallFiles, ChildTokens
    from sandyard.services.prefabs.prepared import Prepared
    from sandyard.services.prefabs.workers import Worker, Workers

    OnEvent = Callable[[Mapping[str, Any]], Awaitable[None]]

_ATTEMPTS = 3
_SIGKILL = 9
_ENDING_SECONDS = 0.5
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")
_KNOWN = frozenset({FUNCTION_ERROR, RESOURCE_EXCEEDED, "OUTPUT_INVALID", OUTPUT_TOO_LARGE, "EVENT_TOO_LARGE"})
_log = structlog.get_logger("sandyard.prefabs")


class Execution:
    """Knows how to run a call; holds nothing between two of them."""

    def __init__(self, settings: GatewaySettings, workers: Workers, files: CallFiles, tokens: ChildTokens, logs: CallLogs) -> None:
        self._settings = settings
        self._logs = logs
        self._workers = workers
        self._files = files
        self._tokens = tokens

    async def run(self, call: Prepared, on_event: OnEvent | None = None) -> CallResult:
        """Run the call; `on_event` gets each event but the terminal one, and how fast it takes them is how fast they come.
        Without it, a stream's events are collected and become the output.

        However it ends, what the function left is either whole and in the result, or gone. Cancelling ends the function.

        Raises:
            Refusal: UNAVAILABLE; no sandbox could be started, and nothing ran.
        """
        for _ in range(_ATTEMPTS):
            async with self._workers.borrow(call.caller.tenant, call.version_id, call.manifest) as worker:
                try:
                    sock = await self._workers.connect(worker)
                except SandboxGone:
                    continue  # it ended before anything was asked of it
                conversation = await Conversation.open(sock, max(self._settings.output_bytes, EVENT_LIMIT))
                try:
                    result = await self._converse(call, conversation, worker, on_event)
                except BaseException:
                    self._end(call, conversation, None)
                    raise
                self._end(call, conversation, result)
                return result
        raise Refusal(UNAVAILABLE, "The prefab's sandbox ended again and again before it could be called", retry_after=5)

    def _end(self, call: Prepared, conversation: Conversation, result: CallResult | None) -> None:
        """Let the process go; one that has answered, or ended, is heard out for what it printed."""
        self._tokens.end(call.ref)
        if result is not None and (result.succeeded or conversation.left is not None):
            self._logs.hear(call, conversation, succeeded=result.succeeded)
        else:
            conversation.close()

    async def _converse(self, call: Prepared, conversation: Conversation, worker: Worker, on_event: OnEvent | None) -> CallResult:
        whole = asyncio.timeout(self._settings.call_timeout)
        try:
            async with whole:
                await conversation.invoke(self._params(call), [(file, self._files.read(call.caller, file)) for _, file in call.files])
                return await self._listen(call, conversation, on_event)
        except TimeoutError:
            conversation.hang_up()
            left = await conversation.departure()
            message = f"The function yielded nothing for {self._settings.stream_idle:.0f} seconds and was ended"
            if whole.expired():
                message = f"The function went on for more than {self._settings.call_timeout:.0f} seconds and was ended"
            return _failed(call, TIMEOUT, message, log=left.log)
        except Broken as error:
            return await self._died(call, conversation, worker, error)
        except Refusal as refusal:
            return _failed(call, refusal.code, refusal.message)
        except BlobMissing:
            return _failed(call, NOT_FOUND, "An input file was deleted before the function could have it")

    async def _listen(self, call: Prepared, conversation: Conversation, on_event: OnEvent | None) -> CallResult:
        events = Sequencer(call.redactor, keep=0 if on_event else self._settings.output_bytes)
        while True:
            async with asyncio.timeout(self._settings.stream_idle if call.function.streaming else None):
                heard = await conversation.next()
            if isinstance(heard, Departure):
                return _departed(call, heard)
            if isinstance(heard, Answer):
                return await self._finish(call, conversation, heard, events)
            event = events.take(heard)
            if events.overflown:
                return _failed(call, OUTPUT_TOO_LARGE, "The function's events together are more than a collected answer may hold")
            if event is not None and on_event is not None:
                await on_event(event)

    async def _finish(self, call: Prepared, conversation: Conversation, answer: Answer, events: Sequencer) -> CallResult:
        if answer.code is not None:
            left = await conversation.departure()
            code = answer.code if answer.code in _KNOWN else FUNCTION_ERROR
            return _failed(call, code, answer.message, log=left.log)
        if events.error is not None:
            return _failed(
                call, str(events.error.get("error_code") or FUNCTION_ERROR), str(events.error.get("data") or "The function failed")
            )
        size = events.size or conversation.size
        files = await self._keep(call, conversation, answer)
        if isinstance(files, CallResult):
            return files
        output = events.collected() if call.function.streaming else call.redactor.value(answer.output)
        warnings = tuple(call.redactor.text(line) for line in answer.warnings)
        return CallResult(output=output, files=files, warnings=warnings, done=events.done, size=size)

    async def _keep(self, call: Prepared, conversation: Conversation, answer: Answer) -> dict[str, list[str]] | CallResult:
        """Store the files that the call left, all or none."""
        if sum(file.size for file in answer.files) > self._settings.output_file_bytes or len(answer.files) > self._settings.output_files:
            return _failed(call, OUTPUT_TOO_LARGE, "The function left more files, or larger ones, than a call may")
        kept: dict[str, list[str]] = {}
        try:
            for file in answer.files:
                url = await self._files.keep(call.caller, call.ref, file.name, _whole(conversation, file))
                kept.setdefault(file.key, []).append(url)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self._files.discard(call.caller, [url for urls in kept.values() for url in urls])
            if isinstance(error, Refusal):
                return _failed(call, error.code, error.message)
            if isinstance(error, StoreError):
                _log.error("output files could not be stored", call=call.ref.id, error=str(error))
                return _failed(call, "STORAGE_FULL", "The platform cannot store the output files now")
            raise
        return kept

    async def _died(self, call: Prepared, conversation: Conversation, worker: Worker, error: Broken) -> CallResult:
        """The connection ended, or carried garbage: the process is gone, or will be when we hang up."""
        left = await conversation.departure()
        if left != Departure():
            return _departed(call, left)
        reason = await self._workers.reason(worker, _ENDING_SECONDS)
        if worker.active <= 1:
            self._workers.condemn(worker)  # nobody said how the process ended: its parent may be in no better state
        code = RESOURCE_EXCEEDED if reason and "memory" in reason else WORKER_DIED
        return _failed(call, code, f"The function's process ended without a result ({reason or error})")

    def _params(self, call: Prepared) -> dict[str, Any]:
        return {
            "function": call.function.name,
            "parameters": call.parameters,
            "streaming": call.function.streaming,
            "env": {**call.secrets, **self._tokens.mint(call.caller, call.ref)},
            "memory_bytes": call.manifest.memory_bytes,
            "output_keys": [slot.key for slot in call.function.files if slot.output],
            "limits": {
                "output_bytes": self._settings.output_bytes,
                "event_bytes": EVENT_LIMIT,
                "files": self._settings.output_files,
                "file_bytes": self._settings.output_file_bytes,
            },
            "files": [{"key": key, "name": f"{place:03}_{_safe(file.name)}"} for place, (key, file) in enumerate(call.files, 1)],
        }


def _safe(name: str) -> str:
    """Return a file's name as the function sees it: one component, that any file system takes."""
    return _UNSAFE.sub("_", name.rpartition("/")[2]).encode()[-200:].decode(errors="ignore") or "file"


async def _whole(conversation: Conversation, file: OutputFile) -> AsyncIterator[bytes]:
    async for chunk in conversation.file(file.size):
        yield chunk


def _departed(call: Prepared, left: Departure) -> CallResult:
    """The process ended without an answer: killed for memory where it was SIGKILL and not by us."""
    if left.signal == _SIGKILL:
        return _failed(call, RESOURCE_EXCEEDED, "The function's process was killed: it ran out of its sandbox's memory", log=left.log)
    how = f"by signal {left.signal}" if left.signal else f"with exit code {left.code}"
    details = {"signal": left.signal} if left.signal else {"exit_code": left.code}
    return _failed(call, WORKER_DIED, f"The function's process ended {how}, without a result", log=left.log, **details)


def _failed(call: Prepared, code: str, message: str, *, log: str = "", **details: Any) -> CallResult:
    """Return a FAILED result; the last of what the function printed goes with it, without secrets."""
    if log:
        details["log"] = call.redactor.text(log)[-2000:]
    return CallResult(error={"error_code": code, "message": call.redactor.text(message), **details})
