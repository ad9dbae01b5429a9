"""A sandbox's files through its guest, and what the platform says and keeps of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from support.platform import Platform


async def write(platform: Platform, sandbox: dict[str, Any], path: str, text: str) -> None:
    reply = await platform.call(sandbox, "/files", method="POST", port=49983, params={"path": path}, files={"file": text.encode()})
    assert reply.status_code == 200, reply.text


async def read(platform: Platform, sandbox: dict[str, Any], path: str) -> str | None:
    reply = await platform.call(sandbox, "/files", port=49983, params={"path": path})
    assert reply.status_code in (200, 404), reply.text
    return reply.text if reply.status_code == 200 else None


async def detail_of(platform: Platform, sandbox: dict[str, Any]) -> dict[str, Any]:
    reply = await platform.api.get(f"/sandboxes/{sandbox['sandboxID']}")
    return reply.json()


async def kill(platform: Platform, *sandboxes: dict[str, Any]) -> None:
    for sandbox in sandboxes:
        await platform.api.delete(f"/sandboxes/{sandbox['sandboxID']}")


def states_of(platform: Platform) -> list[Path]:
    directory = platform.data_dir / "states"
    return list(directory.iterdir()) if directory.is_dir() else []
