"""The plug points. Each has one to five verbs, speaks domain words and raises domain errors; `app` chooses who stands behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from sandyard.domain.calls import Job, JobEvent
    from sandyard.domain.keys import ApiKey
    from sandyard.domain.prefabs import Prefab, PrefabVersion
    from sandyard.domain.sandboxes import Sandbox, SandboxEvent
    from sandyard.domain.specs import EgressPolicy, Exited, Found, SandboxSpec, Saved, Started, Usage
    from sandyard.domain.templates import Build, LogLine, Tag, Template
    from sandyard.ports_accounting import AuditRows, CallLogRows, FileRows, QuotaRows, SecretRows, WebhookRows
    from sandyard.ports_sandboxes import SandboxSecretRows, VolumeRows


class Backend(Protocol):
    """Starts, freezes and stops sandboxes. All verbs may be called concurrently; `backends.conformance` is the proof."""

    async def start(self, spec: SandboxSpec) -> Started:
        """Start a sandbox; return when `spec.ready_port` listens (see `SandboxSpec`).

        Raises:
            StartFailed: the command ended, or did not listen in time; nothing of the sandbox is left.
            BackendUnavailable: the platform could not start any sandbox now (keeper gone, disk full, isolation refused).
            NotSupported: what the spec asks for does not exist here; the message says what.
        """
        ...

    async def freeze(self, sandbox_id: str) -> None:
        """Stop every process of the sandbox where it stands, memory kept; return when the kernel has confirmed. Idempotent.

        Raises:
            SandboxGone: it does not live (any more).
        """
        ...

    async def thaw(self, sandbox_id: str) -> None:
        """Let a frozen sandbox run on. Idempotent.

        Raises:
            SandboxGone: it does not live (any more).
        """
        ...

    async def stop(self, sandbox_id: str) -> None:
        """End the sandbox; return when no process, mount, cgroup or directory of it is left. Idempotent; no error if unknown."""
        ...

    async def list(self) -> Sequence[Found]:
        """Return what lives now, including what an earlier server started."""
        ...


class Supervision(Protocol):
    """What is known of sandboxes while nobody asks them: a second, small port of the same object."""

    async def extend(self, sandbox_id: str, ends_at: float) -> None:
        """Tell whoever outlives the server when this sandbox ends (Unix seconds). No error if unknown."""
        ...

    def exits(self) -> AsyncIterator[Exited]:
        """Yield each sandbox that ended without `stop`, as it happens. One consumer."""
        ...

    async def ended(self, sandbox_id: str) -> Exited | None:
        """Return how a sandbox ended without `stop` since it was started last, or None if that is not known (any more).

        What `Backend.list` leaves out because it ended by itself, also under an earlier server, is known here by then.
        """
        ...

    async def output(self, sandbox_id: str, offset: int = 0) -> tuple[bytes, int]:
        """Return what the sandbox's command printed since `offset`, and the offset after it.

        Only the last part is kept (256 KiB): where `offset` lies before it, the answer starts with what is kept.
        Unknown sandbox: `(b"", offset)`.
        """
        ...


class Dialer(Protocol):
    """Reaches a port of a sandbox."""

    async def connect(self, sandbox_id: str, port: int) -> socket.socket:
        """Return a connected, non-blocking stream socket to 127.0.0.1:`port` inside.

        Raises:
            SandboxGone: it does not live (any more).
            PortClosed: nothing listens there.
        """
        ...


class Snapshots(Protocol):
    """Keeps what a sandbox has written; a further small port of the back end's object."""

    async def save(self, sandbox_id: str, into: Path) -> Saved:
        """Write every file that the sandbox could change into the directory `into`, which must not exist yet; its parent must.

        It stands still meanwhile, and runs on afterwards unless it was frozen before. All or nothing: `into` appears when it is
        whole. `SandboxSpec.restore` takes it; to remove it, remove the directory.

        Raises:
            SandboxGone: it does not live (any more).
            BackendUnavailable: it could not be written (disk full, say); nothing is left.
            NotSupported: this back end keeps no files.
        """
        ...


class Meters(Protocol):
    """Measures sandboxes; a further small port of the back end's object."""

    async def usage(self, sandbox_id: str) -> Usage:
        """Return what the sandbox uses now.

        Raises:
            SandboxGone: it does not live (any more).
            NotSupported: this back end measures nothing.
        """
        ...


class EgressControl(Protocol):
    """Says anew what living sandboxes may reach."""

    def change(self, sandbox_id: str, policy: EgressPolicy) -> None:
        """Let `policy` hold from now on; connections to what it refuses are cut. No error if the sandbox is unknown.

        Raises:
            ValueError: an entry of the policy is malformed; the old one holds.
        """
        ...


class Clock(Protocol):
    """Time as the domain sees it."""

    def now(self) -> float:
        """Return Unix seconds."""
        ...


class SandboxRows(Protocol):
    """Rows of sandboxes."""

    async def add(self, sandbox: Sandbox) -> None: ...

    async def get(self, sandbox_id: str) -> Sandbox | None: ...

    async def change(self, sandbox_id: str, expected: Sequence[str], **fields: object) -> Sandbox | None:
        """Set `fields` if the state is one of `expected`, in one statement; return the new row, or None if it was another."""
        ...

    async def by_idempotency_key(self, owner: str, key: str) -> Sandbox | None: ...

    async def list(
        self,
        *,
        owner: str | None = None,
        states: Sequence[str] = (),
        limit: int = 1000,
        after: str | None = None,
        oldest_first: bool = False,
        since: float | None = None,
        template_ids: Sequence[str] | None = None,
    ) -> Sequence[Sandbox]:
        """Newest first, or oldest; `after` is the id of the last row of the page before.

        `since` leaves out what was created before (Unix seconds), `template_ids` what is of other templates (nothing is of none).
        """
        ...

    async def restored(self, state_id: str) -> int:
        """Return how many sandboxes that are not final started from, or consist of, that saved state."""
        ...

    async def forget(self, before: float) -> int:
        """Delete the rows that are final and whose `ends_at` lies before `before` (Unix seconds); return how many."""
        ...


class EventRows(Protocol):
    """Rows of what happened to sandboxes."""

    async def add(self, event: SandboxEvent) -> None: ...

    async def list(
        self,
        owner: str,
        *,
        sandbox_id: str | None = None,
        types: Sequence[str] = (),
        limit: int = 100,
        offset: int = 0,
        oldest_first: bool = False,
    ) -> Sequence[SandboxEvent]:
        """Newest first, or oldest."""
        ...

    async def forget(self, before: float) -> int:
        """Delete what happened before (Unix seconds); return how many."""
        ...


class TemplateRows(Protocol):
    """Rows of templates, builds, tags and build logs."""

    async def add_template(self, template: Template) -> Template:
        """Insert, or return the owner's template of that name."""
        ...

    async def get_template(self, template_id: str) -> Template | None: ...

    async def find_template(self, owner: str, name: str) -> Template | None: ...

    async def list_templates(self, owner: str) -> Sequence[Template]: ...

    async def publish(self, template_id: str, *, public: bool) -> Template | None:
        """Set whether every owner may use it; return the new row."""
        ...

    async def delete_template(self, template_id: str) -> None: ...


class BuildRows(Protocol):
    """Rows of builds, their tags and log lines."""

    async def add(self, build: Build) -> None: ...

    async def get(self, build_id: str) -> Build | None: ...

    async def change(self, build_id: str, expected: Sequence[str], **fields: object) -> Build | None:
        """As `SandboxRows.change`. Changing to `deployed` moves the build's tags here in the same transaction."""
        ...

    async def list(self, *, template_id: str | None = None, states: Sequence[str] = ()) -> Sequence[Build]: ...

    async def tagged(self, template_id: str, tag: str) -> Build | None: ...

    async def tags(self, template_id: str) -> Sequence[Tag]:
        """Newest first."""
        ...

    async def tag(self, build_id: str, tags: Sequence[str], at: float) -> None:
        """Let tags of its template point at a build. No error if it is unknown."""
        ...

    async def untag(self, template_id: str, tags: Sequence[str]) -> None: ...

    async def delete(self, build_id: str) -> None:
        """Delete a build with its tags and log. No error if it is unknown."""
        ...


class LogRows(Protocol):
    """Log lines of builds."""

    async def append(self, build_id: str, lines: Sequence[LogLine]) -> None: ...

    async def read(self, build_id: str, offset: int, limit: int) -> Sequence[LogLine]: ...


class KeyRows(Protocol):
    """Rows of API keys."""

    async def add(self, key: ApiKey) -> None: ...

    async def list(self) -> Sequence[ApiKey]: ...

    async def revoke(self, key_id: str, at: float) -> bool:
        """Return False if there is no such key, or it is revoked already."""
        ...


class PrefabRows(Protocol):
    """Rows of prefabs and their versions."""

    async def claim(self, prefab: Prefab) -> Prefab:
        """Insert, or return the row that has the id already (perhaps another owner's)."""
        ...

    async def get(self, prefab_id: str) -> Prefab | None: ...

    async def show(self, prefab_id: str, visibility: str) -> None:
        """Set who sees the prefab."""
        ...

    async def visible(self, owner: str) -> Sequence[Prefab]:
        """Return the owner's and all public ones, by id."""
        ...

    async def add_version(self, version: PrefabVersion) -> None:
        """Insert.

        Raises:
            RowConflict: the prefab has that version, in another state than `failed`.
        """
        ...

    async def version(self, version_id: str) -> PrefabVersion | None: ...

    async def versions(self, *, prefab_id: str | None = None, states: Sequence[str] = ()) -> Sequence[PrefabVersion]:
        """Newest first."""
        ...

    async def change_version(self, version_id: str, expected: Sequence[str], **fields: object) -> PrefabVersion | None:
        """As `SandboxRows.change`."""
        ...


class JobRows(Protocol):
    """Rows of jobs and their events."""

    async def add(self, job: Job) -> None:
        """Insert.

        Raises:
            RowConflict: the user has a job with that idempotency key.
        """
        ...

    async def get(self, job_id: str) -> Job | None: ...

    async def change(self, job_id: str, expected: Sequence[str], **fields: object) -> Job | None:
        """As `SandboxRows.change`."""
        ...

    async def by_idempotency_key(self, owner: str, user: str, key: str) -> Job | None: ...

    async def running(self) -> Sequence[Job]: ...

    async def forget(self, before: float) -> int:
        """Delete the jobs that ended before `before` (Unix seconds), with their events; return how many."""
        ...

    async def add_events(self, job_id: str, events: Sequence[JobEvent]) -> None: ...

    async def events(self, job_id: str, after: int, limit: int) -> Sequence[JobEvent]:
        """Return the events whose number is above `after`, in order."""
        ...


class Store(Protocol):
    """All rows of one database."""

    @property
    def sandboxes(self) -> SandboxRows: ...
    @property
    def events(self) -> EventRows: ...
    @property
    def templates(self) -> TemplateRows: ...
    @property
    def builds(self) -> BuildRows: ...
    @property
    def logs(self) -> LogRows: ...
    @property
    def keys(self) -> KeyRows: ...
    @property
    def prefabs(self) -> PrefabRows: ...
    @property
    def jobs(self) -> JobRows: ...
    @property
    def files(self) -> FileRows: ...
    @property
    def quotas(self) -> QuotaRows: ...
    @property
    def secrets(self) -> SecretRows: ...
    @property
    def audit(self) -> AuditRows: ...
    @property
    def call_logs(self) -> CallLogRows: ...
    @property
    def webhooks(self) -> WebhookRows: ...
    @property
    def volumes(self) -> VolumeRows: ...
    @property
    def sandbox_secrets(self) -> SandboxSecretRows: ...

    async def close(self) -> None: ...
