"""Small real prefabs for tests: written, packed, published to a running platform, called over HTTP."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from support.platform import Platform


def function(name: str, parameters: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """Describe a function: `parameters` are names and types, all required; `more` goes in as it is."""
    described = [{"name": key, "type": kind, "description": key, "required": True} for key, kind in (parameters or {}).items()]
    found: dict[str, Any] = {"name": name, "description": name, "parameters": described, "returns": {"type": "object"}}
    return found | more


def manifest(prefab_id: str, *functions: dict[str, Any], version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    return {
        "schema_version": "1.0",
        "id": prefab_id,
        "version": version,
        "name": prefab_id,
        "description": "a prefab of the tests",
        "tags": ["test"],
        "entry_point": "src/main.py",
        "dependencies_file": "pyproject.toml",
        "functions": list(functions),
        "execution_environment": {"cpu": "500m", "memory": "256Mi"},
    } | more


def pack(document: dict[str, Any], source: str, **files: str | bytes) -> bytes:
    """Return the package of a prefab; `files` are further ones, their names with `__` for a slash and a trailing `_py` for `.py`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("prefab-manifest.json", json.dumps(document))
        archive.writestr("src/main.py", source)
        for name, content in files.items():
            path = name.replace("__", "/")
            archive.writestr(path[:-3] + ".py" if path.endswith("_py") else path, content)
    return buffer.getvalue()


def write(directory: Path, document: dict[str, Any], source: str) -> Path:
    """Write a prefab's directory."""
    (directory / "src").mkdir(parents=True)
    (directory / "prefab-manifest.json").write_text(json.dumps(document))
    (directory / "src" / "main.py").write_text(source)
    return directory


async def upload(platform: Platform, package: bytes, *, visibility: str = "private", key: str | None = None) -> httpx.Response:
    headers = {"Content-Type": "application/zip"} | ({} if key is None else {"X-API-Key": key})
    return await platform.api.post("/v1/prefabs", params={"visibility": visibility}, content=package, headers=headers)


async def publish(
    platform: Platform, package: bytes, *, expect: str = "DEPLOYED", visibility: str = "private", key: str | None = None
) -> dict[str, Any]:
    """Upload a package and wait for the end of its build; return its specification."""
    reply = await upload(platform, package, visibility=visibility, key=key)
    assert reply.status_code in {200, 202}, reply.text
    found = reply.json()
    headers = {} if key is None else {"X-API-Key": key}
    url = f"/v1/prefabs/{found['id']}/{found['version']}/spec"
    while found["deployment_status"] == "DEPLOYING":
        reply = await platform.api.get(url, params={"wait": 50}, headers=headers)
        assert reply.status_code == 200, reply.text
        found = reply.json()
    assert found["deployment_status"] == expect, found
    return found


def call(
    prefab_id: str,
    name: str,
    parameters: dict[str, Any] | None = None,
    *,
    version: str = "1.0.0",
    files: dict[str, list[str]] | None = None,
) -> dict[str, Any]:
    """Return one call of a run's body, as the public client sends it."""
    inputs: dict[str, Any] = {"parameters": parameters}
    if files:
        inputs["files"] = files
    return {"prefab_id": prefab_id, "version": version, "function_name": name, "inputs": inputs}


async def run(platform: Platform, *calls: dict[str, Any], headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    """POST /v1/run."""
    return await platform.api.post("/v1/run", json={"calls": list(calls)} | body, headers={"Accept": "application/json"} | (headers or {}))


async def result(platform: Platform, *arguments: Any, **options: Any) -> dict[str, Any]:
    """Run one call and return its result."""
    reply = await run(platform, call(*arguments, **options))
    assert reply.status_code == 200, reply.text
    return reply.json()["results"][0]


async def events(
    platform: Platform, body: dict[str, Any], *, path: str = "/v1/run", headers: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Run with Accept: text/event-stream and return all events."""
    wanted = {"Accept": "text/event-stream"} | (headers or {})
    async with platform.api.stream("POST", path, json=body, headers=wanted) as reply:
        assert reply.status_code == 200, await reply.aread()
        assert reply.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line.removeprefix("data: ")) async for line in reply.aiter_lines() if line.startswith("data: ")]


def refused(reply: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Return the error of a reply that must have this status and code."""
    assert reply.status_code == status, reply.text
    found = reply.json()["detail"]
    assert found["error_code"] == code, found
    return found


KIT = "test-kit"


def kit() -> bytes:
    """Return the package of `prefab_kit`, the prefab that does all that functions do."""
    source = Path(__file__).with_name("prefab_kit.py").read_text()
    return pack(manifest(KIT, *_KIT), source)


def _optional(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "description": name, "required": False} | more


def _with(described: dict[str, Any], *parameters: dict[str, Any]) -> dict[str, Any]:
    return described | {"parameters": [*described["parameters"], *parameters]}


_KIT = (
    _with(function("add", {"a": "integer"}), _optional("b", "integer", default=2)),
    _with(function("echo"), _optional("value", "object")),
    function("strange", {"self": "string", "files": "string"}),
    function("where"),
    _with(function("boom"), _optional("message", "string")),
    _with(function("say", {"text": "string"}), _optional("times", "integer")),
    _with(function("leave"), _optional("code", "integer")),
    function("crash"),
    _with(function("nap", {"seconds": "number"}), _optional("mark", "string")),
    function("stubborn", {"seconds": "number", "mark": "string"}),
    function("set_mark", {"mark": "string"}),
    function("marks"),
    function("processes"),
    function("wrong", {"kind": "string"})
    | {
        "parameters": [
            {
                "name": "kind",
                "type": "string",
                "description": "how",
                "required": True,
                "enum": ["list", "nan", "bytes", "cycle", "surrogate", "none"],
            }
        ]
    },
    function("large", {"size": "integer"}),
    function("hog", {"size": "integer"}),
    function("garbage"),
    function("hang_up"),
    function("kill_parent"),
    function(
        "write_files", {"names": "array"}, files={"named": {"type": "array", "items": {"type": "OutputFile"}, "description": "outputs"}}
    ),
    function("tricks"),
    function("many_files", {"count": "integer"}),
    function("fill"),
    function(
        "read_inputs",
        files={
            "texts": {"type": "array", "items": {"type": "InputFile"}, "description": "inputs", "minItems": 1, "maxItems": 3},
            "more": {"type": "array", "items": {"type": "InputFile"}, "description": "others", "required": False},
        },
    ),
    function("forks", {"count": "integer"}),
    _with(function("count", {"upto": "integer"}, streaming=True), _optional("pause", "number")),
    function("mixed", {"kind": "string"}, streaming=True),
    _with(function("endless", {"mark": "string"}, streaming=True), _optional("size", "integer"), _optional("pause", "number")),
    function("later", {"value": "integer"}),
    function("later_events", streaming=True),
    function("spy"),
    function(
        "mine",
        {"user": "string", "number": "integer"},
        files={"note": {"type": "array", "items": {"type": "InputFile"}, "description": "the caller's own", "required": False}},
        secrets=[{"name": "OF_MINE", "description": "the caller's own", "instructions": "none", "required": False}],
    ),
)
