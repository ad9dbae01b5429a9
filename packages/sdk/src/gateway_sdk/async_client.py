"""The asynchronous client: the same methods over the same flows as `client`. It decides nothing; it sends, waits and writes files."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload
from weakref import WeakKeyDictionary

from gateway_sdk import events, faults, requests, transfers
from gateway_sdk.arguments import CONNECT_SECONDS, DEFAULT_TIMEOUT, LINK_SECONDS, PAGE, TEMPORARY_SECONDS, core_of
from gateway_sdk.flows import Pause, Renew, Send
from gateway_sdk.logs import closed, log_failure, log_reply
from gateway_sdk.models import BatchResult, PrefabCall, PrefabInfo, PrefabResult, StreamEvent
from gateway_sdk.prefab import AsyncPrefab
from gateway_sdk.streams import AsyncEventStream
from sandkit.http.errors import TransportError
from sandkit.http.messages import EVENTS_TYPE, Limits, Reply

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
    from types import TracebackType

    from gateway_sdk.flows import Flow, Step
    from gateway_sdk.requests import Wanted
    from sandkit.http.sender import AsyncSender, StreamedReply

T = TypeVar("T")


class AsyncGatewayClient:
    """`GatewayClient` for `await`: the same arguments, methods, results and exceptions. Tasks may share one;
    each event loop has its own pool.
    """

    def __init__(
        self,
        internal_token: str | None = None,
        base_url: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        *,
        api_key: str | None = None,
        jwt_token: str | None = None,
    ) -> None:
        self._core = core_of(internal_token, base_url, timeout, api_key, jwt_token)
        self._sender: AsyncSender | None = None
        self._closed = False
        self._renewing: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    @classmethod
    async def from_api_key(cls, api_key: str, base_url: str | None = None, timeout: float = DEFAULT_TIMEOUT) -> Self:  # noqa: ASYNC109 (the client's own)
        """Return a client whose key has been exchanged for a token already.

        Raises:
            AuthenticationError: the key is wrong. GatewayError: it could not be asked.
        """
        client = cls(base_url=base_url, timeout=timeout, api_key=api_key)
        await client._drive(client._core.exchange(), client._whole)
        return client

    @property
    def base_url(self) -> str:
        """The gateway's address.

        Raises:
            GatewayError: nobody says where it is.
        """
        return self._core.base_url

    @property
    def timeout(self) -> float:
        """Seconds that a request may take."""
        return self._core.timeout

    @overload
    def run(
        self,
        prefab_id: str,
        version: str,
        function_name: str,
        parameters: Mapping[str, Any] | None = None,
        files: Mapping[str, Sequence[str]] | None = None,
        stream: Literal[False] = False,
        *,
        idempotency_key: str | None = None,
    ) -> Coroutine[Any, Any, PrefabResult]: ...
    @overload
    def run(
        self,
        prefab_id: str,
        version: str,
        function_name: str,
        parameters: Mapping[str, Any] | None = None,
        files: Mapping[str, Sequence[str]] | None = None,
        *,
        stream: Literal[True],
        idempotency_key: str | None = None,
    ) -> AsyncEventStream: ...
    @overload
    def run(
        self,
        prefab_id: str,
        version: str,
        function_name: str,
        parameters: Mapping[str, Any] | None = None,
        files: Mapping[str, Sequence[str]] | None = None,
        stream: bool = False,
        *,
        idempotency_key: str | None = None,
    ) -> Awaitable[PrefabResult] | AsyncEventStream: ...
    def run(  # noqa: PLR0917 (the seed's signature)
        self,
        prefab_id: str,
        version: str,
        function_name: str,
        parameters: Mapping[str, Any] | None = None,
        files: Mapping[str, Sequence[str]] | None = None,
        stream: bool = False,
        *,
        idempotency_key: str | None = None,
    ) -> Awaitable[PrefabResult] | AsyncEventStream:
        """Call a function: await its result, or with `stream` iterate its events. See `GatewayClient.run`."""
        call = PrefabCall(prefab_id, version, function_name, parameters, files)
        if stream:
            return AsyncEventStream(self._events(requests.stream(call, key=idempotency_key)))
        return self._one(requests.run([call], key=idempotency_key))

    async def run_batch(self, calls: Sequence[PrefabCall], *, idempotency_key: str | None = None) -> BatchResult:
        """Run calls side by side and return their results in order; those that are refused are FAILED, the others run.

        Raises:
            GatewayError: the batch as a whole was refused.
        """
        return await self._ask(requests.run(list(calls), key=idempotency_key))

    def prefab(self, prefab_id: str, version: str) -> AsyncPrefab:
        """Return a prefab to call functions of."""
        return AsyncPrefab(self, prefab_id, version)

    async def list_prefabs(self, status: str | None = None) -> list[PrefabInfo]:
        """Return the versions that you may call; with `status` those in that state (such as `yanked`)."""
        return await self._ask(requests.list_prefabs(status))

    async def get_prefab_spec(self, prefab_id: str, version: str | None = None) -> dict[str, Any]:
        """Return a version's specification: its functions with JSON Schemas, its manifest. Without a version the newest.

        Raises:
            PrefabNotFoundError: there is none.
        """
        return await self._ask(requests.prefab_spec(prefab_id, version))

    async def upload_file(
        self,
        file_path: str | os.PathLike[str],
        content_type: str | None = None,
        *,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> dict[str, Any]:
        """Store an agent's final output for good; the answer has `s3_url`, `filename`, `size` (bytes).

        `progress(sent, total)` is called as bytes go out.

        Raises:
            AgentContextRequiredError: the credential names no agent. OSError: the file cannot be read.
        """
        upload = await asyncio.to_thread(transfers.plain, file_path, content_type, progress)
        return await self._ask(requests.upload_file(transfers.form(upload, {}, temporary=False)))

    async def upload_temp_file(
        self,
        file_path: str | os.PathLike[str],
        ttl: int = TEMPORARY_SECONDS,
        session_id: str | None = None,
        content_type: str | None = None,
        *,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> dict[str, Any]:
        """Store an agent's intermediate file for `ttl` seconds; the answer is that of `upload_file` with `expires_at`.

        Raises:
            AgentContextRequiredError: the credential names no agent. OSError: the file cannot be read.
        """
        fields = {"ttl": str(ttl)} | ({} if session_id is None else {"session_id": session_id})
        upload = await asyncio.to_thread(transfers.plain, file_path, content_type, progress)
        return await self._ask(requests.upload_file(transfers.form(upload, fields, temporary=True)))

    async def upload_input_file(
        self,
        file_path: str | os.PathLike[str],
        content_type: str | None = None,
        *,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> str:
        """Store a file as a prefab's input, for third parties too, and return its s3:// URL.

        Raises:
            GatewayError: it was refused. OSError: the file cannot be read.
        """
        upload = await asyncio.to_thread(transfers.plain, file_path, content_type, progress)
        address, s3_url = await self._ask(requests.upload_url(upload.name, content_type))
        await self._ask(requests.put(address, upload))
        return s3_url

    async def download_file(
        self, s3_url: str, local_path: str | os.PathLike[str], *, progress: Callable[[int, int | None], object] | None = None
    ) -> None:
        """Fetch a file. It appears at `local_path` when all of it is there; until then it lies beside as `….part`.

        Raises:
            StoredFileNotFoundError: there is none. AuthenticationError: it is another's. OSError: it cannot be written.
        """
        address = await self.get_presigned_url(s3_url)
        async with AsyncExitStack() as stack:
            source = await self._opened(requests.fetch(address, s3_url), stack)
            arrival = stack.enter_context(transfers.arriving(local_path, source.headers, progress))
            blocks = await stack.enter_async_context(aclosing(self._blocks(source)))
            async for block in blocks:
                await asyncio.to_thread(arrival.write, block)

    async def get_presigned_url(self, s3_url: str, expires_in: int = LINK_SECONDS) -> str:
        """Return an address from which the file can be fetched without a credential for `expires_in` seconds."""
        return await self._ask(requests.presigned(s3_url, expires_in))

    async def list_files(self, limit: int = PAGE, continuation_token: str | None = None) -> dict[str, Any]:
        """List the agent's files: `files` (`s3_url`, `key`, `size`, `last_modified`), and `next_token` unless it is the last page."""
        return await self._ask(requests.list_files(limit, continuation_token))

    async def list_temp_files(
        self, session_id: str | None = None, limit: int = PAGE, continuation_token: str | None = None
    ) -> dict[str, Any]:
        """List the agent's temporary files, all or those of one session, as `list_files` does."""
        return await self._ask(requests.list_temp_files(session_id, limit, continuation_token))

    async def cleanup_temp_files(self, session_id: str) -> int:
        """Remove the temporary files of a session and return how many there were."""
        return await self._ask(requests.cleanup(session_id))

    async def close(self) -> None:
        """Close the connections of this event loop. The client cannot be used again."""
        sender, self._sender, self._closed = self._sender, None, True
        if sender is not None:
            await sender.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _ask(self, wanted: Wanted[T]) -> T:
        return await self._drive(self._core.ask(wanted), self._whole)

    async def _one(self, wanted: Wanted[BatchResult]) -> PrefabResult:
        return (await self._ask(wanted)).results[0]

    async def _events(self, wanted: Wanted[Reply]) -> AsyncGenerator[StreamEvent]:
        async with AsyncExitStack() as stack:
            source = await self._opened(wanted, stack)
            blocks = await stack.enter_async_context(aclosing(self._blocks(source)))
            if not source.headers.get("content-type", "").startswith(EVENTS_TYPE):
                for event in events.whole(Reply(source.status, source.headers, b"".join([block async for block in blocks]))):
                    yield event
                return
            reader = events.EventReader()
            async for block in blocks:
                for event in reader.feed(block):
                    yield event
                if reader.ended:
                    return
            for event in reader.finish():
                yield event

    async def _opened(self, wanted: Wanted[Reply], stack: AsyncExitStack) -> StreamedReply:
        """Return a successful answer whose body is still to come; `stack` closes it."""
        found: list[StreamedReply] = []

        async def send(step: Send) -> Reply:
            reply = await stack.enter_async_context(self._connection().open(step.request, timeout=step.seconds))
            if reply.status >= 300:
                return await reply.whole()
            found.append(reply)
            return Reply(reply.status, reply.headers, b"")

        await self._drive(self._core.ask(wanted), send)
        return found[-1]

    async def _blocks(self, source: StreamedReply) -> AsyncGenerator[bytes]:
        try:
            async for block in source:
                yield block
        except TransportError as error:
            raise faults.from_transport(error, self._core.credentials.hidden()) from None

    async def _whole(self, step: Send) -> Reply:
        if not step.lasting:
            return await self._connection().send(step.request, timeout=step.seconds)
        async with AsyncExitStack() as stack:
            request = step.request
            if step.upload is not None:
                file = stack.enter_context(await asyncio.to_thread(step.upload.open))
                request = replace(request, body=step.upload.pieces_async(file))
            reply = await stack.enter_async_context(self._connection().open(request, timeout=step.seconds))
            return await reply.whole()

    async def _drive(self, flow: Flow[T], send: Callable[[Send], Awaitable[Reply]]) -> T:
        """Carry out a flow's steps; `send` is how requests go out."""
        try:
            step = next(flow)
            while True:
                answer, failure = await self._step(step, send)
                step = flow.send(answer) if failure is None else flow.throw(failure)
        except StopIteration as end:
            return end.value

    async def _step(self, step: Step, send: Callable[[Send], Awaitable[Reply]]) -> tuple[Reply | None, TransportError | None]:
        match step:
            case Send():
                return await self._logged(step, send)
            case Pause():
                await asyncio.sleep(step.seconds)
            case Renew():
                async with self._renewing.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
                    if self._core.credentials.exchanged is step.old:
                        await self._drive(self._core.exchange(), self._whole)
        return None, None

    async def _logged(self, step: Send, send: Callable[[Send], Awaitable[Reply]]) -> tuple[Reply | None, TransportError | None]:
        started = time.perf_counter()
        try:
            reply = await send(step)
        except TransportError as error:
            log_failure(step, error)
            return None, error
        log_reply(step, reply, time.perf_counter() - started)
        return reply, None

    def _connection(self) -> AsyncSender:
        if self._closed:
            raise closed()
        if self._sender is None:
            from sandkit.http.proxies import Proxies  # noqa: PLC0415 (with its user)
            from sandkit.http.sender import AsyncSender  # noqa: PLC0415 (no HTTP library before the first call)

            self._sender = AsyncSender(Limits(connect_timeout=CONNECT_SECONDS, proxies=Proxies.from_environment()))
        return self._sender
