"""Talk to a language model behind any server that speaks OpenAI's chat completions, token by token."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENAI = "https://api.openai.com/v1"
SECONDS = 120


def chat(
    messages: list[dict[str, Any]], model: str = "gpt-4o-mini", temperature: float = 1.0, base_url: str = ""
) -> Iterator[dict[str, Any]]:
    """Yield the answer's tokens as they come; `done` has all of it, why it ended, and the tokens it took where the server counts them."""
    body = {"model": model, "messages": messages, "temperature": temperature, "stream": True, "stream_options": {"include_usage": True}}
    url = (base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")
    yield {"type": "start", "data": {"model": model}}
    words: list[str] = []
    end: dict[str, Any] = {"model": model, "finish_reason": None, "usage": None}
    for chunk in _chunks(url, body):
        end["usage"] = chunk.get("usage") or end["usage"]
        end["model"] = chunk.get("model") or end["model"]
        for choice in chunk.get("choices", ()):
            end["finish_reason"] = choice.get("finish_reason") or end["finish_reason"]
            word = choice.get("delta", {}).get("content")
            if word:
                words.append(word)
                yield {"type": "content", "data": word}
    yield {"type": "done", "data": {"content": "".join(words), **end}}


def _chunks(url: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the server streams; a refusal is an error that says what the server said."""
    request = urllib.request.Request(  # noqa: S310 (where to is the caller's own choice, and the platform's to allow)
        f"{url}/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as reply:  # noqa: S310
            for line in reply:
                data = line.decode("utf-8", "replace").strip().removeprefix("data:").strip()
                if data.startswith("{"):
                    yield json.loads(data)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"the model server answered {error.code}: {error.read(2000).decode('utf-8', 'replace')}") from None
    except urllib.error.URLError as error:
        raise RuntimeError(f"the model server at {url} cannot be reached: {error.reason}") from None
