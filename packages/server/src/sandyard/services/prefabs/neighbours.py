"""What running a call needs of its neighbours (files, secrets, quotas, tokens, audit): small protocols, in domain words.

Each method that refuses raises `sandkit.wire.gateway.Refusal`, which is the HTTP answer of a single call and one result of a batch.
All pre-flight methods (`CallFiles.check`, `CallSecrets.for_call`, `Quotas.reserve`) are called for every call of a request before
anything runs, in this order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from sandyard.domain.callers import Caller
    from sandyard.domain.prefabs import SecretNeed


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file that a call takes: its URL, the base name that the function sees, its size in bytes."""

    url: str
    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRef:
    """One call: `id` is unique for ever (`{job_id}.{index}`); `ends_at` (Unix seconds) is when it is over at the latest; `prefabs`
    are those that the called one may call in turn.
    """

    id: str
    job_id: str
    prefab_id: str
    version: str
    function: str
    ends_at: float
    prefabs: tuple[str, ...] = ()


class CallFiles(Protocol):
    """The files of a call."""

    async def check(self, caller: Caller, urls: Sequence[str]) -> Sequence[InputFile]:
        """Return what lies at the URLs, in their order.

        Raises:
            Refusal: VALIDATION_ERROR (no s3:// URL of ours), PERMISSION_DENIED (another's, a foreign bucket), NOT_FOUND.
        """
        ...

    def read(self, caller: Caller, file: InputFile) -> AsyncIterator[bytes]:
        """Yield a checked file's bytes in chunks."""
        ...

    async def keep(self, caller: Caller, ref: CallRef, name: str, chunks: AsyncIterator[bytes]) -> str:
        """Store an output file, all or nothing and in constant memory; return its s3:// URL. `name` is as the function wrote it.

        Raises:
            Refusal: QUOTA_EXCEEDED. What `chunks` raises comes out as it is, and nothing is kept.
        """
        ...

    async def discard(self, caller: Caller, urls: Sequence[str]) -> None:
        """Remove output files of a call that failed after all."""
        ...


class CallSecrets(Protocol):
    """The secrets of a call."""

    async def for_call(self, caller: Caller, prefab_id: str, needs: Sequence[SecretNeed]) -> Mapping[str, str]:
        """Return the caller's values for what the function needs; optional ones that are not set are left out.

        Raises:
            Refusal: MISSING_SECRET with `prefab_id`, `secret_name`, `instructions`.
        """
        ...


class Quotas(Protocol):
    """Reservations: one conditional write before the call, settled after it; what is never settled expires with `ref.ends_at`."""

    async def reserve(self, caller: Caller, ref: CallRef) -> None:
        """Take the call's share of every quota that applies, or nothing.

        Raises:
            Refusal: QUOTA_EXCEEDED with `limit`, `used`, `quota_type`, `reset_at`; RATE_LIMITED with `retry_after`.
        """
        ...

    async def settle(self, ref: CallRef, *, seconds: float, succeeded: bool) -> None:
        """Note what a call that ran has used. Idempotent."""
        ...

    async def release(self, ref: CallRef) -> None:
        """Give back what was reserved for a call that never ran. Idempotent."""
        ...


class ChildTokens(Protocol):
    """The down-scoped token by which a running function may call the gateway as its caller."""

    def mint(self, caller: Caller, ref: CallRef) -> Mapping[str, str]:
        """Return the variables that the function's environment gets (`X_INTERNAL_TOKEN`, `GATEWAY_BASE_URL`; may be none)."""
        ...

    def end(self, ref: CallRef) -> None:
        """Refuse that token from now on."""
        ...


class Audit(Protocol):
    """Who did what: never a parameter, a secret or a file's content."""

    async def note(self, caller: Caller, action: str, subject: str, outcome: str) -> None:
        """Append an entry: `action` such as `prefab.run`, `subject` such as `video-processor@1.0.0/extract_audio`."""
        ...
