"""The `process` back end as the server sees it: the ports, over the keeper."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import anyio
import structlog

from sandyard.backends.ends import Ends
from sandyard.domain.errors import BackendUnavailable, SandboxGone, StartFailed
from sandyard.domain.specs import GUEST_PORT, EgressPolicy, Exited, Found, Mount, SandboxSpec, Saved, Started, Usage

from . import bytecode, client, dialing, grounds, protocol, records, requests, sentences
from .known import Known
from .outputs import Outputs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from sandyard.domain.sandboxes import Isolation

    Attach = Callable[[str, socket.socket, EgressPolicy], None]
    Detach = Callable[[str], None]

_log = structlog.get_logger("sandyard.process")
_RECONNECT_TIMEOUT = 15.0
_CHECK_TIMEOUT = 20.0
_RETRY_PAUSE = 1.0
_SAVE_TIMEOUT = 600.0


class ProcessBackend:
    """`Backend`, `Supervision` and `Dialer` by Linux namespaces. `open` it first; `close` leaves the sandboxes running.

    `attach_egress` is called with the listening socket of each sandbox's way out (127.0.0.1:3128 inside), which it then owns, at
    every start and adoption; `detach_egress` when the sandbox has ended.
    """

    def __init__(
        self, data_dir: Path, *, attach_egress: Attach, detach_egress: Detach, isolation: Literal["full", "none"] = "full"
    ) -> None:
        self._data_dir = data_dir
        self._attach = attach_egress
        self._detach = detach_egress
        self._isolation: Literal["full", "none"] = isolation
        self._known: dict[str, Known] = {}
        self._ends = Ends()
        self._outputs = Outputs()
        self._grounds = grounds.Grounds(data_dir, isolation)
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: client.KeeperClient | None = None
        self._connected = asyncio.Event()
        self._trouble = ""
        self._closing = False
        self._replacing = False

    # -- the server's life -------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Find or start the keeper, adopt what lives, and prove with one real start that sandboxes can be made.

        Raises:
            BackendUnavailable: they cannot; the message says which knob of the machine forbids it.
        """
        if self._isolation == "none":
            _log.warning("sandboxes are not isolated", hint="--isolation none is for development: agents can do what the server's user can")
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(bytecode.compile_guest)
        await self._connect(adopting=True)
        try:
            await self._check()
        except BackendUnavailable:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the keeper; sandboxes live on until their time."""
        if self._keeper is not None:
            self._keeper.close()
        self._connected.clear()
        self._closing = True
        self._trouble = "The process back end is closed."
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for known in self._known.values():
            if known.listener is not None:
                known.listener.close()
        self._known.clear()

    async def shutdown(self) -> None:
        """End every sandbox and the keeper; return when nothing is left."""
        keeper = self._keeper
        if keeper is not None and keeper.connected:
            self._closing = True
            self._trouble = "The process back end is shutting down."
            await keeper.shutdown()
        for sandbox_id in list(self._known):
            self._drop(sandbox_id)
        await self.close()

    async def _connect(self, *, adopting: bool) -> None:
        self._keeper = await client.connect(self._data_dir, self._isolation, self._on_event, self._on_lost)
        reply, _ = await self._keeper.call("list")
        found = {each["sandbox"]: each for each in reply["sandboxes"]}
        for sandbox_id, each in found.items():
            if adopting:
                await self._adopt(sandbox_id, each)
            elif sandbox_id in self._known:
                await self._hand_over(sandbox_id)
            else:
                await self._keeper.call("stop", sandbox=sandbox_id)  # its start failed when the keeper died
        self._connected.set()

    async def _adopt(self, sandbox_id: str, found: Mapping[str, Any]) -> None:
        """Take on a sandbox of an earlier server."""
        assert self._keeper is not None
        if not found["listening"] and requests.told_when_ready(found["subject"]):
            await self._keeper.call("stop", sandbox=sandbox_id)  # half started: nobody was told of it
            return
        self._known[sandbox_id] = Known(found["subject"])
        with suppress(SandboxGone):
            _, (listener,) = await self._keeper.call("listener", sandbox=sandbox_id)
            self._attach_listener(sandbox_id, listener, requests.policy(found["policy"]))

    async def _hand_over(self, sandbox_id: str) -> None:
        """Give a new keeper the listener that only we still hold."""
        assert self._keeper is not None
        listener = self._known[sandbox_id].listener
        if listener is not None:
            with suppress(SandboxGone):
                await self._keeper.call("keep", (listener.fileno(),), sandbox=sandbox_id)

    def _on_lost(self) -> None:
        self._connected.clear()
        for known in self._known.values():
            known.give_up("The sandbox keeper died during the start.")
        if not (self._closing or self._replacing):
            self._replacing = True
            self._spawn(self._replace_keeper())

    async def _replace_keeper(self) -> None:
        """Find or start another keeper, for as long as it takes; meanwhile `_trouble` is what callers hear."""
        while not self._connected.is_set():
            try:
                await self._connect(adopting=False)
                self._trouble = ""
            except BackendUnavailable as error:
                self._trouble = str(error)
                await asyncio.sleep(_RETRY_PAUSE)
        self._replacing = False

    async def _check(self) -> None:
        """Start `true` as any sandbox is started: whether this machine allows it cannot be known otherwise."""
        spec = SandboxSpec(
            sandbox_id=f"check-{secrets.token_hex(6)}",
            command=("/bin/true",),
            egress=EgressPolicy(public=False),
            ready_port=None,
            ends_at=time.time() + _CHECK_TIMEOUT,
        )
        known = self._expect(spec)
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT):
                _, listener = await self._launch(spec)
                if listener is not None:
                    os.close(listener)
                assert known.heard is not None
                facts = await known.heard or {}
        except TimeoutError:
            raise BackendUnavailable(f"A trial sandbox did not end within {_CHECK_TIMEOUT:g} s.") from None
        finally:
            await self.stop(spec.sandbox_id)
        if facts.get("code") != 0:
            raise BackendUnavailable(sentences.refusal(facts.get("errors", "")))

    # -- Backend -----------------------------------------------------------------------------------------------------------------

    async def start(self, spec: SandboxSpec) -> Started:
        """See `ports.Backend.start`."""
        known = self._expect(spec)
        self._ends.forget(spec.sandbox_id)
        try:
            isolation, listener = await self._launch(spec)
            if listener is not None:
                self._attach_listener(spec.sandbox_id, listener, spec.egress)
            if requests.told_when_ready(known.subject):
                await self._until_listening(spec, known)
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(BackendUnavailable):
                await self.stop(spec.sandbox_id)
            raise
        return Started(sandbox_id=spec.sandbox_id, isolation=isolation)

    async def _launch(self, spec: SandboxSpec) -> tuple[Isolation, int | None]:
        """Have the keeper start it; return when its first process exists, with the listener of its way out unless it has ended since."""
        keeper = await self._present()
        directory = self._output_path(spec.sandbox_id).parent
        ground = await asyncio.to_thread(self._grounds.of, spec, has_root=keeper.has_root)
        fields, config = requests.start(spec, self._isolation, directory, ground, limits_inside=keeper.limits_inside)
        file = protocol.memory_file("config", config)
        try:
            reply, fds = await self._call("start", (file,), retry=False, **fields)
        except SandboxGone as error:
            raise BackendUnavailable("The sandbox was stopped while it was being started.") from error
        finally:
            os.close(file)
        return requests.isolation(reply["isolation"]), next(iter(fds), None)

    async def _until_listening(self, spec: SandboxSpec, known: Known) -> None:
        assert known.heard is not None
        try:
            async with asyncio.timeout(spec.ready_timeout):
                facts = await known.heard
        except TimeoutError:
            raise StartFailed(self._never_listened(spec)) from None
        finally:
            known.heard = None
        if facts is None:
            return
        if not facts.get("reported") and facts.get("errors"):
            raise BackendUnavailable(sentences.refusal(facts["errors"]))
        raise StartFailed(sentences.exited(spec.sandbox_id, facts, self._output_path(spec.sandbox_id), known.subject))

    def _never_listened(self, spec: SandboxSpec) -> Exited:
        subject, port = requests.subject(spec), spec.ready_port if spec.command else GUEST_PORT
        return Exited(
            sandbox_id=spec.sandbox_id,
            reason=f"The {subject} did not listen on port {port} within {spec.ready_timeout:g} s",
            output=sentences.last_lines(self._output_path(spec.sandbox_id)),
        )

    async def freeze(self, sandbox_id: str) -> None:
        """See `ports.Backend.freeze`."""
        await self._call("freeze", sandbox=sandbox_id)

    async def thaw(self, sandbox_id: str) -> None:
        """See `ports.Backend.thaw`."""
        await self._call("thaw", sandbox=sandbox_id)

    async def stop(self, sandbox_id: str) -> None:
        """See `ports.Backend.stop`."""
        self._drop(sandbox_id)
        await self._call("stop", sandbox=sandbox_id)

    async def list(self) -> Sequence[Found]:
        """See `ports.Backend.list`."""
        reply, _ = await self._call("list")
        return [
            Found(sandbox_id=each["sandbox"], frozen=each["frozen"], isolation=requests.isolation(each["isolation"]))
            for each in reply["sandboxes"]
        ]

    # -- Supervision -------------------------------------------------------------------------------------------------------------

    async def extend(self, sandbox_id: str, ends_at: float) -> None:
        """See `ports.Supervision.extend`."""
        with suppress(SandboxGone):
            await self._call("extend", sandbox=sandbox_id, ends_at=ends_at)

    async def exits(self) -> AsyncIterator[Exited]:
        """See `ports.Supervision.exits`."""
        async for exited in self._ends.told():
            yield exited

    async def ended(self, sandbox_id: str) -> Exited | None:
        """See `ports.Supervision.ended`. The keeper tells of ends before it answers "hello" and "list"."""
        return self._ends.get(sandbox_id)

    async def output(self, sandbox_id: str, offset: int = 0) -> tuple[bytes, int]:
        """See `ports.Supervision.output`. The output of the sandboxes that ended last is kept."""
        return self._outputs.read(sandbox_id, self._output_path(sandbox_id), offset)

    # -- Snapshots, Meters and Mounts --------------------------------------------------------------------------------------------

    async def save(self, sandbox_id: str, into: Path) -> Saved:
        """See `ports.Snapshots.save`."""
        reply, _ = await self._call(
            "save", retry=False, timeout=_SAVE_TIMEOUT, sandbox=sandbox_id, into=str(await asyncio.to_thread(into.absolute))
        )
        return Saved(size_bytes=reply["size"])

    async def usage(self, sandbox_id: str) -> Usage:
        """See `ports.Meters.usage`."""
        reply, _ = await self._call("usage", sandbox=sandbox_id)
        return requests.usage(reply)

    async def mount(self, sandbox_id: str, mount: Mount) -> None:
        """See `ports.Mounts.mount`."""
        await self._call("mount", **requests.mount(sandbox_id, mount))

    async def unmount(self, sandbox_id: str, mount: Mount, *, force: bool) -> None:
        """See `ports.Mounts.unmount`."""
        await self._call("mount", **requests.mount(sandbox_id, mount, away=True, force=force))

    # -- Dialer ------------------------------------------------------------------------------------------------------------------

    async def connect(self, sandbox_id: str, port: int) -> socket.socket:
        """See `ports.Dialer.connect`."""
        _, (fd,) = await self._call("socket", sandbox=sandbox_id)
        return await dialing.connected(fd, port)

    # -- within ------------------------------------------------------------------------------------------------------------------

    async def _call(
        self, operation: str, fds: tuple[int, ...] = (), *, retry: bool = True, **fields: Any
    ) -> tuple[protocol.Message, list[int]]:
        """Ask the keeper. An operation that may be repeated is, once, if the keeper was replaced meanwhile."""
        keeper = await self._present()
        try:
            return await keeper.call(operation, fds, **fields)
        except BackendUnavailable:
            if keeper.connected or not retry:
                raise
        return await (await self._present()).call(operation, fds, **fields)

    async def _present(self) -> client.KeeperClient:
        if not self._connected.is_set():
            if self._trouble:
                raise BackendUnavailable(self._trouble)
            try:
                async with asyncio.timeout(_RECONNECT_TIMEOUT):
                    await self._connected.wait()
            except TimeoutError:
                raise BackendUnavailable("The sandbox keeper is being replaced.") from None
        assert self._keeper is not None
        return self._keeper

    def _expect(self, spec: SandboxSpec) -> Known:
        if spec.sandbox_id in self._known:
            raise BackendUnavailable(f"There is a sandbox {spec.sandbox_id} already.")
        subject = requests.subject(spec)
        waits = requests.told_when_ready(subject) or spec.sandbox_id.startswith("check-")
        known = Known(subject, heard=asyncio.get_running_loop().create_future() if waits else None)
        self._known[spec.sandbox_id] = known
        return known

    def _on_event(self, event: protocol.Message) -> None:
        sandbox_id = event["sandbox"]
        known = self._known.get(sandbox_id)
        waiting = known.heard if known is not None else None
        if event["event"] == "listening":
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
            return
        if waiting is not None and not waiting.done():
            waiting.set_result(event)
            return
        self._outputs.keep(sandbox_id, self._output_path(sandbox_id))
        self._ends.put(sentences.exited(sandbox_id, event, self._output_path(sandbox_id), event["subject"]))
        self._drop(sandbox_id)
        self._spawn(self._forget(sandbox_id))

    async def _forget(self, sandbox_id: str) -> None:
        with suppress(BackendUnavailable):
            await self._call("stop", sandbox=sandbox_id)

    def _attach_listener(self, sandbox_id: str, fd: int, policy: EgressPolicy) -> None:
        listener = socket.socket(fileno=fd)
        known = self._known.get(sandbox_id)
        if known is None:  # its end was heard first
            listener.close()
            return
        listener.setblocking(False)
        known.listener = listener.dup()
        self._attach(sandbox_id, listener, policy)

    def _drop(self, sandbox_id: str) -> None:
        known = self._known.pop(sandbox_id, None)
        if known is None:
            return
        known.give_up("The sandbox was stopped while it was being started.")
        if known.listener is not None:
            known.listener.close()
            self._detach(sandbox_id)

    def _output_path(self, sandbox_id: str) -> Path:
        return self._data_dir / "sandboxes" / sandbox_id / records.OUTPUT

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
