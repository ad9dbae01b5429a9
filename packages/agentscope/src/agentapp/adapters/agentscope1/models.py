"""`runtime.models.<slot>`: AgentScope's models, that also stream by `.stream([msg])` and answer `Msg`s."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (AgentScope is annotated with bare dicts, lists and queues)

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from agentscope import formatter as formatters
from agentscope import model as models
from agentscope.message import Msg
from agentscope.model import ChatModelBase, ChatResponse

from agentapp.errors import ConfigError, ModelError
from agentapp.serving.growth import Growth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentscope.formatter import FormatterBase

    from agentapp.config import ModelSlot

_FORMATTERS: dict[str, Callable[[], FormatterBase]] = {
    "OpenAIChatModel": formatters.OpenAIChatFormatter,
    "OpenAIResponseModel": formatters.OpenAIResponseChatFormatter,
    "AnthropicChatModel": formatters.AnthropicChatFormatter,
    "DashScopeChatModel": formatters.DashScopeChatFormatter,
    "GeminiChatModel": formatters.GeminiChatFormatter,
    "OllamaChatModel": formatters.OllamaChatFormatter,
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed answer: `text` is what is new, `content` are all blocks so far, `response` is AgentScope's own."""

    text: str
    response: ChatResponse
    thinking: str = ""

    @property
    def content(self) -> Sequence[Any]:
        """All blocks so far."""
        return self.response.content


@dataclass
class Answer(ChatResponse):
    """A whole answer, with its text."""

    @property
    def text(self) -> str:
        """The answer's text."""
        return "".join(block.get("text", "") for block in self.content if block["type"] == "text")


class StreamFlag:
    """`model.stream`: true or false for AgentScope, which reads it as an attribute, and callable for apps."""

    def __init__(self, model: RuntimeModel, value: bool) -> None:
        self._model = model
        self._value = value

    def __bool__(self) -> bool:
        return self._value

    def __eq__(self, other: object) -> bool:
        return self._value == bool(other) if isinstance(other, bool | StreamFlag) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return repr(self._value)

    def __call__(self, messages: Any, **options: Any) -> AsyncGenerator[Chunk]:
        """Ask, and yield the answer as it comes; closing the generator ends the request."""
        return self._model.chunks(messages, **options)


class RuntimeModel(ChatModelBase):
    """One access to a slot: AgentScope's model beside what is said about it here. `inner` may be shared, this is not."""

    def __init__(self, inner: ChatModelBase) -> None:
        self.inner = copy.copy(inner)  # AgentScope's agents write to it; the client behind it stays one

    @property
    def model_name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] (read through)
        """The model's name."""
        return self.inner.model_name

    @property
    def stream(self) -> StreamFlag:  # pyright: ignore[reportIncompatibleVariableOverride] (a flag and a method)
        """Whether answers to dicts are streamed; call it to stream an answer to messages."""
        return StreamFlag(self, bool(self.inner.stream))

    @stream.setter
    def stream(self, value: object) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] (likewise)
        self.inner.stream = bool(value)

    def __getattr__(self, name: str) -> Any:
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    async def __call__(self, messages: Any, *args: Any, **options: Any) -> Any:
        """Ask. Dicts are AgentScope's own way: an answer, or a generator of them where `stream` is set. `Msg`s get a whole `Answer`."""
        if not _are_messages(messages):
            return await _asked(self.inner, messages, *args, **options)
        told = await self._prompt(messages)
        found: Any = await _asked(self._with_stream(False), told, *args, **options)
        return Answer(found.content, found.id, found.created_at, found.type, found.usage, found.metadata)

    async def chunks(self, messages: Any, **options: Any) -> AsyncGenerator[Chunk]:
        """Ask with `Msg`s or dicts and yield what is new as it comes."""
        found: Any = await _asked(self._with_stream(True), await self._prompt(messages), **options)
        growth = Growth()
        if not isinstance(found, AsyncGenerator):
            yield _chunk(growth, found)
            return
        async with aclosing(found) as responses:
            async for response in responses:
                chunk = _chunk(growth, response)
                if chunk.text or chunk.thinking:
                    yield chunk

    async def _prompt(self, messages: Any) -> list[dict[str, Any]]:
        if not _are_messages(messages):
            return messages
        return await formatter_for(self.inner).format([messages] if isinstance(messages, Msg) else list(messages))

    def _with_stream(self, value: bool) -> ChatModelBase:
        inner = copy.copy(self.inner)
        inner.stream = value
        return inner


async def _asked(model: ChatModelBase, *args: Any, **options: Any) -> Any:
    """Ask AgentScope's model.

    Raises:
        ModelError: its library trips over what the server answered: a page of a proxy, say, where `base_url` is wrong.
    """
    try:
        return await model(*args, **options)
    except (AttributeError, IndexError, KeyError) as error:
        raise ModelError(f"the model's server answered with what is no answer of a model; is its base_url right? ({error})") from error


def _chunk(growth: Growth, response: ChatResponse) -> Chunk:
    new = growth.step(cast("Sequence[Any]", response.content), last=False)
    if isinstance(new, str):
        return Chunk(new, response)
    said = {block["type"]: block[block["type"]] for block in new}
    return Chunk(said.get("text", ""), response, said.get("thinking", ""))


def _are_messages(messages: Any) -> bool:
    if isinstance(messages, Msg):
        return True
    return isinstance(messages, list | tuple) and bool(messages) and all(isinstance(one, Msg) for one in cast("list[Any]", messages))


def formatter_for(model: Any) -> FormatterBase:
    """Return a formatter that writes prompts for `model`.

    Raises:
        ConfigError: the model is of a class that none is known for.
    """
    inner = model.inner if isinstance(model, RuntimeModel) else model
    for kind in type(inner).__mro__:
        if kind.__name__ in _FORMATTERS:
            return _FORMATTERS[kind.__name__]()
    raise ConfigError(f"no formatter is known for {type(inner).__name__}; pass one: ReActAgent(…, formatter=…)")


def make_model(slot: str, told: ModelSlot) -> ChatModelBase:
    """Return AgentScope's model for a slot of the configuration.

    Raises:
        ConfigError: its library is not installed, or does not take what is told.
    """
    try:
        return _MAKERS[told.provider](told)
    except ImportError as error:
        raise ConfigError(f"models.{slot}: the provider {told.provider} needs its library ({error})") from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"models.{slot}: {told.provider} does not take this: {error}") from None
    except Exception as error:  # noqa: BLE001 (each library has exceptions of its own)
        raise ConfigError(f"models.{slot}: {type(error).__name__}: {error}") from None


def _key(told: ModelSlot) -> Any:
    return told.api_key.get_secret_value() if told.api_key else None


def _openai(told: ModelSlot) -> ChatModelBase:
    client = {**({"base_url": told.base_url} if told.base_url else {}), **told.client_kwargs}
    return models.OpenAIChatModel(
        told.model, api_key=_key(told), stream=told.stream, client_kwargs=client, generate_kwargs=told.generate_kwargs
    )


def _anthropic(told: ModelSlot) -> ChatModelBase:
    client = {**({"base_url": told.base_url} if told.base_url else {}), **told.client_kwargs}
    generate = dict(told.generate_kwargs)
    limit = {"max_tokens": generate.pop("max_tokens")} if "max_tokens" in generate else {}
    return models.AnthropicChatModel(
        told.model, api_key=_key(told), stream=told.stream, client_kwargs=client, generate_kwargs=generate, **limit
    )


def _dashscope(told: ModelSlot) -> ChatModelBase:
    where = {"base_address": told.base_url} if told.base_url else {}  # not base_http_api_url: that is one for the whole process
    generate = {**where, **told.generate_kwargs}
    return models.DashScopeChatModel(told.model, _key(told) or "", stream=told.stream, generate_kwargs=generate, **told.client_kwargs)


def _gemini(told: ModelSlot) -> ChatModelBase:
    where: dict[str, Any] = {"http_options": {"base_url": told.base_url}} if told.base_url else {}
    client = {**where, **told.client_kwargs}
    return models.GeminiChatModel(
        told.model, _key(told) or "", stream=told.stream, client_kwargs=client, generate_kwargs=told.generate_kwargs
    )


def _ollama(told: ModelSlot) -> ChatModelBase:
    return models.OllamaChatModel(
        told.model, stream=told.stream, host=told.base_url, client_kwargs=told.client_kwargs, generate_kwargs=told.generate_kwargs
    )


_MAKERS: dict[str, Callable[[ModelSlot], ChatModelBase]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "dashscope": _dashscope,
    "gemini": _gemini,
    "ollama": _ollama,
}
