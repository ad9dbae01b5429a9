"""The keeper: parent of every sandbox of one data directory, the only privileged part, outliving the server.

One thread, one server at a time (the next one waits in the listen queue until the last has gone). It ends sandboxes at their time
(a server that wants to decide itself sets that time later than its own), and leaves when there is neither a server nor a sandbox.
Started by `daemon`; stdlib only.
"""

from __future__ import annotations

import errno
import math
import os
import re
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from . import protocol, records
from .connection import Refused, Request, Server, close_all
from .host import Host
from .loop import Loop
from .mounting import Mounting
from .sandbox import Sandbox
from .saving import Saving
from .spares import Spares
from .surroundings import Surroundings
from .volumes import Volumes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

PATIENCE = 5.0
"""Seconds that a keeper without server and sandboxes stays."""
CLOCK_CHECK = 60.0
"""Seconds after which the time is looked at again, because the clock may have been set."""

_GONE = "the sandbox does not live"
_SANDBOX_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class Keeper:
    """Answers requests with the methods called `op_…`; each returns the reply's content, or None if it answers later."""

    def __init__(self, data_dir: Path, listener: socket.socket, *, isolation: str) -> None:
        self._loop = Loop()
        self._listener = listener
        host = Host.of(data_dir, isolation=isolation)
        self._around = Surroundings(host, self._loop, self, Volumes(self._loop), Spares(host, self._loop))
        self._savings: dict[str, Saving] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._starting: dict[str, int] = {}
        self._stopping: dict[str, list[int]] = {}
        self._dying: dict[str, list[int]] = {}
        self._leaving: int | None = None
        self._server: Server | None = None
        self._alone_since = time.monotonic()
        self._wake_at = math.inf

    def run(self) -> None:
        """Adopt what lives, then serve until there is nothing to keep."""
        self._adopt()
        self._loop.watch(self._listener.fileno(), self._on_connect)
        self._tick()
        self._loop.run()
        self._around.spares.close()
        self._around.host.cgroups.remove_scope()

    def _adopt(self) -> None:
        for directory in sorted(self._around.host.sandboxes.iterdir()):
            record = records.read(directory)
            if record is None or record.sandbox_id != directory.name:
                records.remove(directory)
            else:
                self._sandboxes[record.sandbox_id] = Sandbox.of_record(self._around, record)
        for sandbox in list(self._sandboxes.values()):
            sandbox.take_over()
        for name in self._around.host.cgroups.names() - {sandbox.record.group for sandbox in self._sandboxes.values()}:
            group = self._around.host.cgroups.adopt(name)
            group.kill()
            group.remove()

    # -- the server --------------------------------------------------------------------------------------------------------------

    def _on_connect(self) -> None:
        sock, _ = self._listener.accept()
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.geteuid():
            sock.close()
            return
        sock.setblocking(False)
        self._server = Server(self._loop, sock)
        self._loop.unwatch(self._listener.fileno())
        self._loop.watch(sock.fileno(), self._on_request)

    def _on_request(self) -> None:
        assert self._server is not None
        try:
            message, fds = protocol.receive(self._server.sock)
        except BlockingIOError:
            return
        except (protocol.Closed, ValueError):
            self._disconnect()
            return
        try:
            self._handle(Request(int(message["id"]), message, tuple(fds)))
        finally:
            close_all(tuple(fds))

    def _disconnect(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None
        for saving in self._savings.values():
            saving.cancel()
        self._starting.clear()
        self._stopping.clear()
        self._dying.clear()
        self._alone_since = time.monotonic()
        self._loop.watch(self._listener.fileno(), self._on_connect)
        self._tick()

    def _handle(self, request: Request) -> None:
        try:
            answer = self._operation(request.fields["op"])(request)
        except Refused as refusal:
            self._refuse(request.number, refusal.word, str(refusal))
        except ProcessLookupError:
            self._refuse_when_ended(request)
        except OSError as error:
            self._refuse(request.number, protocol.UNAVAILABLE, _refusal(error))
        except (KeyError, TypeError, ValueError) as error:
            self._refuse(request.number, protocol.UNAVAILABLE, f"{type(error).__name__}: {error}")
        else:
            if answer is not None:
                self._answer(request.number, answer)

    def _operation(self, word: str) -> Callable[[Request], protocol.Message | None]:
        operation = getattr(self, f"op_{word}", None)
        if operation is None:
            raise Refused(protocol.UNAVAILABLE, f"the keeper does not know {word!r}: it is of another version")
        return operation

    def _answer(self, number: int, content: protocol.Message, fds: tuple[int, ...] = ()) -> None:
        if self._server is not None:
            self._server.send({"id": number, "ok": content}, fds)

    def _refuse(self, number: int, word: str, sentence: str) -> None:
        if self._server is not None:
            self._server.send({"id": number, "error": word, "message": sentence})

    def _refuse_when_ended(self, request: Request) -> None:
        """Say that the sandbox has gone, but not before its end is told: who hears it may ask how it ended."""
        sandbox_id = request.fields["sandbox"]
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is not None and not sandbox.ended and sandbox.record.first is not None:
            self._dying.setdefault(sandbox_id, []).append(request.number)
        else:
            self._refuse(request.number, protocol.GONE, _GONE)

    def _living(self, request: Mapping[str, Any]) -> Sandbox:
        sandbox = self._sandboxes.get(request["sandbox"])
        if sandbox is None or sandbox.ended:
            raise Refused(protocol.GONE, _GONE)
        return sandbox

    # -- operations --------------------------------------------------------------------------------------------------------------

    def op_hello(self, _request: Request) -> protocol.Message:
        """Tell who we are; the ends of sandboxes that nobody heard of follow as events."""
        for sandbox in self._sandboxes.values():
            if sandbox.ended:
                self._tell_end(sandbox)
        return {"pid": os.getpid(), "limits_inside": self._around.host.limits_inside, "has_root": self._around.host.ranges is not None}

    def op_start(self, request: Request) -> None:
        sandbox_id = request.fields["sandbox"]
        if not _SANDBOX_ID.fullmatch(sandbox_id):
            raise Refused(protocol.UNAVAILABLE, f"{sandbox_id!r} is not a sandbox id")
        if sandbox_id in self._sandboxes:
            raise Refused(protocol.UNAVAILABLE, f"there is a sandbox {sandbox_id} already")
        (config,) = request.fds
        alone = all(sandbox.ended for sandbox in self._sandboxes.values())
        self._sandboxes[sandbox_id] = Sandbox.launch(self._around, request.fields, os.dup(config), alone=alone)
        self._starting[sandbox_id] = request.number
        self._tick()

    def op_socket(self, request: Request) -> None:
        """Answer with a TCP socket inside the sandbox; no copy is kept."""
        with self._living(request.fields).socket() as sock:
            self._answer(request.number, {}, (sock.fileno(),))

    def op_listener(self, request: Request) -> None:
        """Answer with the listener for the sandbox's way out."""
        listener = self._living(request.fields).listener
        if listener is None:
            raise Refused(protocol.GONE, "the sandbox has no listener")
        self._answer(request.number, {}, (listener.fileno(),))

    def op_keep(self, request: Request) -> protocol.Message:
        """Take a listener that the server holds and an earlier keeper made."""
        sandbox = self._living(request.fields)
        (listener,) = request.fds
        if sandbox.listener is None:
            sandbox.listener = socket.socket(fileno=os.dup(listener))
        return {}

    def op_freeze(self, request: Request) -> protocol.Message | None:
        return self._once_saved(request, Sandbox.freeze)

    def op_thaw(self, request: Request) -> protocol.Message | None:
        return self._once_saved(request, Sandbox.thaw)

    def _once_saved(self, request: Request, act: Callable[[Sandbox], None]) -> protocol.Message | None:
        """Act now, or when the save that is under way has ended: until then the sandbox stands still."""
        saving = self._savings.get(request.fields["sandbox"])
        if saving is None:
            act(self._living(request.fields))
            return {}
        server = self._server
        saving.then.append(lambda _: self._handle(request) if self._server is server else None)
        return None

    def op_save(self, request: Request) -> None:
        """Answer when the state lies where it is wanted."""
        sandbox = self._living(request.fields)
        sandbox_id = sandbox.record.sandbox_id
        if sandbox_id in self._savings:
            raise Refused(protocol.UNAVAILABLE, "the sandbox is being saved already")
        saving = Saving(self._loop, self._around.host, sandbox, request.fields["into"])
        self._savings[sandbox_id] = saving
        server = self._server
        saving.then.append(lambda result: self._on_saved(request.number if self._server is server else None, sandbox_id, result))

    def _on_saved(self, number: int | None, sandbox_id: str, result: int | str) -> None:
        del self._savings[sandbox_id]
        if number is None:  # who asked has gone
            return
        if isinstance(result, int):
            self._answer(number, {"size": result})
        elif self._sandboxes[sandbox_id].ended:
            self._refuse(number, protocol.GONE, "the sandbox has ended")
        else:
            self._refuse(number, protocol.UNAVAILABLE, result)

    def op_mount(self, request: Request) -> None:
        """Answer when a directory is shown in the sandbox, or taken from it (`away`)."""
        sandbox, server = self._living(request.fields), self._server

        def hear(end: tuple[str, str] | None) -> None:
            if self._server is not server:
                return
            if end is None:
                self._answer(request.number, {})
            elif sandbox.ended:
                self._refuse(request.number, protocol.GONE, _GONE)
            else:
                self._refuse(request.number, *end)

        Mounting(self._loop, sandbox, request.fields, hear)

    def op_usage(self, request: Request) -> protocol.Message:
        return self._living(request.fields).usage()

    def op_extend(self, request: Request) -> protocol.Message:
        self._living(request.fields).extend(float(request.fields["ends_at"]))
        self._tick()
        return {}

    def op_stop(self, request: Request) -> protocol.Message | None:
        """Answer when nothing of the sandbox is left."""
        sandbox = self._sandboxes.get(request.fields["sandbox"])
        if sandbox is None:
            return {}
        self._stopping.setdefault(request.fields["sandbox"], []).append(request.number)
        if sandbox.ended:
            self._forget(sandbox)
        else:
            sandbox.kill("stopped")
        return None

    def op_list(self, _request: Request) -> protocol.Message:
        living = [sandbox for sandbox in self._sandboxes.values() if sandbox.record.isolation and not sandbox.ended]
        return {
            "sandboxes": [
                {
                    "sandbox": sandbox.record.sandbox_id,
                    "subject": sandbox.record.subject,
                    "frozen": sandbox.frozen,
                    "listening": sandbox.record.listening,
                    "isolation": sandbox.record.isolation,
                    "policy": sandbox.record.policy,
                }
                for sandbox in living
            ]
        }

    def op_shutdown(self, request: Request) -> None:
        """End every sandbox, answer, leave."""
        self._leaving = request.number
        for sandbox in list(self._sandboxes.values()):
            if sandbox.ended:
                self._forget(sandbox)
            else:
                sandbox.kill("stopped")
        self._leave_if_empty()

    # -- what sandboxes tell -----------------------------------------------------------------------------------------------------

    def on_started(self, sandbox: Sandbox) -> None:
        number = self._starting.pop(sandbox.record.sandbox_id, None)
        if sandbox.record.subject == records.COMMAND:  # nothing is heard of it any more but its end
            self._around.spares.started(sandbox.record.sandbox_id)
        if number is not None:
            fds = (sandbox.listener.fileno(),) if sandbox.listener is not None else ()
            self._answer(number, {"isolation": sandbox.record.isolation}, fds)

    def on_listening(self, sandbox: Sandbox) -> None:
        self._around.spares.started(sandbox.record.sandbox_id)
        if self._server is not None:
            self._server.send({"event": "listening", "sandbox": sandbox.record.sandbox_id})

    def on_ended(self, sandbox: Sandbox) -> None:
        self._around.spares.started(sandbox.record.sandbox_id)
        saving = self._savings.get(sandbox.record.sandbox_id)
        if saving is not None:
            saving.cancel()
            saving.then.append(lambda _: self.on_ended(sandbox))
            return
        number = self._starting.pop(sandbox.record.sandbox_id, None)
        facts = sandbox.record.ended or {}
        if number is not None and facts.get("reported"):  # so early that we never saw it live
            self._answer(number, {"isolation": sandbox.record.isolation})
            self._tell_end(sandbox)
        elif number is not None:
            self._refuse(number, protocol.REFUSED, facts.get("errors") or facts.get("cause", ""))
            self._forget(sandbox)
        elif sandbox.record.sandbox_id in self._stopping or self._leaving is not None:
            self._forget(sandbox)
        else:
            self._tell_end(sandbox)
        for asked in self._dying.pop(sandbox.record.sandbox_id, []):
            self._refuse(asked, protocol.GONE, _GONE)

    def _tell_end(self, sandbox: Sandbox) -> None:
        if self._server is not None:
            self._server.send({"event": "exited", "sandbox": sandbox.record.sandbox_id, **(sandbox.record.ended or {})})

    def _forget(self, sandbox: Sandbox) -> None:
        sandbox_id = sandbox.record.sandbox_id
        records.remove(sandbox.directory)
        self._sandboxes.pop(sandbox_id, None)
        for number in self._stopping.pop(sandbox_id, []):
            self._answer(number, {})
        self._leave_if_empty()

    def _leave_if_empty(self) -> None:
        if self._leaving is not None and not self._sandboxes:
            self._answer(self._leaving, {})
            self._loop.stop()

    # -- time --------------------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """End what is over, leave if nobody needs us, and look again when the next end is due."""
        now = time.time()
        living = [sandbox for sandbox in self._sandboxes.values() if not sandbox.ended]
        for sandbox in living:
            if sandbox.record.ends_at <= now:
                sandbox.kill("expired")
        if not living and self._server is None and time.monotonic() - self._alone_since >= PATIENCE:
            self._loop.stop()
        ends = [sandbox.record.ends_at - now for sandbox in living if sandbox.record.ends_at > now]
        pause = min([*ends, PATIENCE if self._server is None else CLOCK_CHECK])
        wake_at = time.monotonic() + max(pause, 0.01)
        if wake_at < self._wake_at:
            self._wake_at = wake_at
            self._loop.call_later(max(pause, 0.01), self._on_timer)

    def _on_timer(self) -> None:
        self._wake_at = math.inf
        self._tick()


def _refusal(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk of the data directory is full: free some space on it."
    return f"The machine refused: {error}"
