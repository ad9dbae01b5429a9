"""The synchronous client (seed 004): a face over `flows`, which decides, and `carrier`, which sends."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from gateway_sdk import requests, transfers
from gateway_sdk.arguments import DEFAULT_TIMEOUT, PAGE, TEMPORARY_SECONDS, core_of
from gateway_sdk.carrier import Carrier
from gateway_sdk.events import JobReading, Reading
from gateway_sdk.flows import LINK_SECONDS
from gateway_sdk.models import BatchResult, Job, PrefabCall, PrefabInfo, PrefabResult
from gateway_sdk.prefab import Prefab
from gateway_sdk.streams import EventStream

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from gateway_sdk.requests import Wanted

T = TypeVar("T")


class GatewayClient:
    """Calls prefabs and moves files. One client keeps one pool of connections; threads may share it.

    Args:
        internal_token: An agent's or prefab's own token; an address (`http://…`) in its place is taken as `base_url`.
        base_url: The gateway; without it `GATEWAY_BASE_URL`, else the platform that runs on this machine.
        timeout: Seconds that a request may take; for streams and files, that nothing may come.
        api_key: A key, exchanged for a token when it is first needed, near its expiry, and when the gateway refuses it.
        jwt_token: A token of the issuer that the gateway trusts.

    Without a credential the gateway decides by the caller's address. Precedence: internal_token, api_key, jwt_token. Nothing is sent,
    and nothing raised, by making a client.
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
        self._carrier = Carrier(self._core)

    @classmethod
    def from_api_key(cls, api_key: str, base_url: str | None = None, timeout: float = DEFAULT_TIMEOUT) -> Self:
        """Return a client whose key has been exchanged for a token already.

        Raises:
            AuthenticationError: the key is wrong. GatewayError: it could not be asked.
        """
        client = cls(base_url=base_url, timeout=timeout, api_key=api_key)
        client._carrier.do(client._core.exchange())
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
    ) -> PrefabResult: ...
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
    ) -> EventStream: ...
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
    ) -> PrefabResult | EventStream: ...
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
    ) -> PrefabResult | EventStream:
        """Call a function and return its result, or with `stream` its events.

        Args:
            prefab_id: Which prefab.
            version: A version, or an alias: `latest`, `^1`, `1.0`.
            function_name: One of the functions that its manifest names.
            parameters: JSON values by name.
            files: s3:// URLs by the function's keys; `upload_file()` and its like make them.
            stream: Whether to have events as they come.
            idempotency_key: With it the gateway runs the call once, however often it is sent, so it is sent again when it fails on the way.

        A function that fails gives a result whose status is FAILED. Refusals before it runs raise.

        Raises:
            GatewayError: one of its classes, see `gateway_sdk.exceptions`.
            ValueError, TypeError: parameters that are no JSON (NaN, objects), files that are no s3:// URLs.
        """
        call = PrefabCall(prefab_id, version, function_name, parameters, files)
        if stream:
            return EventStream(self._carrier.events(Reading(requests.stream(call, key=idempotency_key))))
        return self._ask(requests.run([call], key=idempotency_key)).results[0]

    def run_batch(self, calls: Sequence[PrefabCall], *, idempotency_key: str | None = None) -> BatchResult:
        """Run calls side by side and return their results in order; those that are refused are FAILED, the others run.

        Raises:
            GatewayError: the batch as a whole was refused.
        """
        return self._ask(requests.run(list(calls), key=idempotency_key))

    def start_job(self, calls: Sequence[PrefabCall], *, idempotency_key: str | None = None, callback_url: str | None = None) -> Job:
        """Run calls without waiting for them; the job goes on when this client is gone. What is refused at once raises, as in `run`.

        Who listens at `callback_url` is told of the end (`gateway_sdk.webhooks` is for him).

        Raises:
            GatewayError: the job was not begun.
        """
        return self._ask(requests.start_job(list(calls), key=idempotency_key, callback_url=callback_url))

    def webhook_secret(self) -> str:
        """Return the secret that signs what is sent to your callback URLs."""
        return self._ask(requests.webhook_secret())

    def get_job(self, job_id: str) -> Job:
        """Return how a job stands: one that was started, or the `job_id` of a result.

        Raises:
            JobNotFoundError: there is none of yours.
        """
        return self._ask(requests.get_job(job_id))

    def job_events(self, job_id: str, after: int = 0) -> EventStream:
        """Follow a job: its events from the one behind number `after`, as they come. The last one, `done` or `error`, is the job's own.

        A connection that is cut is made again, and nothing is missed. Leaving the loop leaves the job alone.

        Raises:
            JobNotFoundError: there is none of yours; raised when the first event is asked for.
        """
        return EventStream(self._carrier.events(JobReading(job_id, after)))

    def cancel_job(self, job_id: str) -> Job:
        """End a running job and return it ended; one that has ended already is returned as it is.

        Raises:
            JobNotFoundError: there is none of yours.
        """
        return self._ask(requests.cancel_job(job_id))

    def prefab(self, prefab_id: str, version: str) -> Prefab:
        """Return a prefab to call functions of."""
        return Prefab(self, prefab_id, version)

    def list_prefabs(self, status: str | None = None) -> list[PrefabInfo]:
        """Return the versions that you may call; with `status` those in that state (such as `yanked`)."""
        return self._ask(requests.list_prefabs(status))

    def get_prefab_spec(self, prefab_id: str, version: str | None = None) -> dict[str, Any]:
        """Return a version's specification: its functions with JSON Schemas, its manifest. Without a version the newest.

        Raises:
            PrefabNotFoundError: there is none.
        """
        return self._ask(requests.prefab_spec(prefab_id, version))

    def upload_file(
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
        return self._ask(requests.upload_file(transfers.permanent(file_path, content_type, progress)))

    def upload_temp_file(
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
        return self._ask(requests.upload_file(transfers.passing(file_path, ttl, session_id, content_type, progress)))

    def upload_input_file(
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
        return self._carrier.do(self._core.store_input(transfers.plain(file_path, content_type, progress)))

    def download_file(
        self, s3_url: str, local_path: str | os.PathLike[str], *, progress: Callable[[int, int | None], object] | None = None
    ) -> None:
        """Fetch a file. It appears at `local_path` when all of it is there; until then it lies beside as `….part`.

        Raises:
            StoredFileNotFoundError: there is none. AuthenticationError: it is another's. OSError: it cannot be written.
        """
        with ExitStack() as stack:
            source = self._carrier.opened(self._core.fetch(s3_url), stack)
            arrival = stack.enter_context(transfers.arriving(local_path, source.headers, progress))
            for block in self._carrier.blocks(source):
                arrival.write(block)

    def get_presigned_url(self, s3_url: str, expires_in: int = LINK_SECONDS) -> str:
        """Return an address from which the file can be fetched without a credential for `expires_in` seconds."""
        return self._ask(requests.presigned(s3_url, expires_in))

    def list_files(self, limit: int = PAGE, continuation_token: str | None = None) -> dict[str, Any]:
        """List the agent's files: `files` (`s3_url`, `key`, `size`, `last_modified`), and `next_token` unless it is the last page."""
        return self._ask(requests.list_files(limit, continuation_token))

    def list_temp_files(self, session_id: str | None = None, limit: int = PAGE, continuation_token: str | None = None) -> dict[str, Any]:
        """List the agent's temporary files, all or those of one session, as `list_files` does."""
        return self._ask(requests.list_temp_files(session_id, limit, continuation_token))

    def cleanup_temp_files(self, session_id: str) -> int:
        """Remove the temporary files of a session and return how many there were."""
        return self._ask(requests.cleanup(session_id))

    def close(self) -> None:
        """Close the connections. The client cannot be used again."""
        self._carrier.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _ask(self, wanted: Wanted[T]) -> T:
        return self._carrier.do(self._core.ask(wanted))
