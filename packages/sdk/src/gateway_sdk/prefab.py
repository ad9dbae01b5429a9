"""A prefab to call functions of: `llm = client.prefab("llm-client", "1.0.0")`, then `llm.call("chat", messages=[…])`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Mapping, Sequence

    from gateway_sdk.async_client import AsyncGatewayClient
    from gateway_sdk.client import GatewayClient
    from gateway_sdk.models import PrefabResult
    from gateway_sdk.streams import AsyncEventStream, EventStream


class Prefab:
    """One version of a prefab, as `GatewayClient.prefab` returns it."""

    def __init__(self, client: GatewayClient, prefab_id: str, version: str) -> None:
        self._client = client
        self.prefab_id = prefab_id
        self.version = version

    @overload
    def call(
        self, function_name: str, /, files: Mapping[str, Sequence[str]] | None = None, stream: Literal[False] = False, **parameters: Any
    ) -> PrefabResult: ...
    @overload
    def call(
        self, function_name: str, /, files: Mapping[str, Sequence[str]] | None = None, *, stream: Literal[True], **parameters: Any
    ) -> EventStream: ...
    @overload
    def call(
        self, function_name: str, /, files: Mapping[str, Sequence[str]] | None = None, stream: bool = False, **parameters: Any
    ) -> PrefabResult | EventStream: ...
    def call(
        self,
        function_name: str,
        /,
        files: Mapping[str, Sequence[str]] | None = None,
        stream: bool = False,
        **parameters: Any,
    ) -> PrefabResult | EventStream:
        """Call a function with its parameters by name. Parameters that are called `files` or `stream` go through `GatewayClient.run`.

        Raises:
            GatewayError: as `GatewayClient.run`.
        """
        return self._client.run(self.prefab_id, self.version, function_name, parameters, files, stream)


class AsyncPrefab:
    """The same for `AsyncGatewayClient.prefab`."""

    def __init__(self, client: AsyncGatewayClient, prefab_id: str, version: str) -> None:
        self._client = client
        self.prefab_id = prefab_id
        self.version = version

    @overload
    def call(
        self, function_name: str, /, files: Mapping[str, Sequence[str]] | None = None, stream: Literal[False] = False, **parameters: Any
    ) -> Coroutine[Any, Any, PrefabResult]: ...
    @overload
    def call(
        self, function_name: str, /, files: Mapping[str, Sequence[str]] | None = None, *, stream: Literal[True], **parameters: Any
    ) -> AsyncEventStream: ...
    @overload
    def call(
        self, function_name: str, /, files: Mapping[str, Sequence[str]] | None = None, stream: bool = False, **parameters: Any
    ) -> Awaitable[PrefabResult] | AsyncEventStream: ...
    def call(
        self,
        function_name: str,
        /,
        files: Mapping[str, Sequence[str]] | None = None,
        stream: bool = False,
        **parameters: Any,
    ) -> Awaitable[PrefabResult] | AsyncEventStream:
        """Call a function: await it, or iterate it with `stream`. See `Prefab.call`."""
        return self._client.run(self.prefab_id, self.version, function_name, parameters, files, stream)
