"""Images as directories: pulled once, by digest, for all builds from them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread

from sandyard import trees
from sandyard.domain.specs import MEBIBYTE
from sandyard.services.ids import new_id
from sandyard.services.locks import Locks
from sandyard.services.specs import image_root
from sandyard.work.layers import Root
from sandyard.work.registry import Manifest, Registry, read_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from sandyard.config import Settings
    from sandyard.domain.logins import Login
    from sandyard.work.watching import BuildLog

_PACKED_BYTES = 4096 * MEBIBYTE
_UNPACKED_BYTES = 10240 * MEBIBYTE
_ENTRIES = 500_000
_CONFIG = "config.json"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is here; `env` are the variables that it asks for."""

    digest: str
    env: Mapping[str, str] = field(default_factory=dict[str, str])


class Images:
    """The images of one server, in its data directory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directory = settings.data_dir / "images"
        self._locks = Locks()

    async def get(self, name: str, login: Login | None, log: BuildLog) -> Image:
        """Return an image, pulled if it is not here. Its registry is always asked which one its name means now.

        Raises:
            BuildFailed: it cannot be pulled; the message says why.
        """
        async with Registry.of(read_name(name), login, self._settings) as registry:
            manifest = await registry.manifest()
            async with self._locks.of(manifest.digest):
                home = image_root(self._settings, manifest.digest).parent
                if not await anyio.Path(home).is_dir():
                    await log.say(f"Pulling {name} ({manifest.digest[:19]}, {len(manifest.layers)} layers)")
                    await self._pull(registry, manifest, home)
        return Image(manifest.digest, _variables(json.loads(await anyio.Path(home / _CONFIG).read_text())))

    async def sweep(self, used: Collection[str]) -> None:
        """Remove the images that no build needs, and what a killed server left half pulled."""
        kept = {image_root(self._settings, digest).parent for digest in used}
        if await anyio.Path(self._directory).is_dir():
            for path in set(self._directory.iterdir()) - kept:
                await anyio.to_thread.run_sync(trees.remove, path)

    async def _pull(self, registry: Registry, manifest: Manifest, home: Path) -> None:
        draft = self._directory / f"draft-{new_id('build')}"
        try:
            await anyio.Path(draft / "root").mkdir(parents=True)
            config = await registry.document(manifest.config)
            root, room = Root(draft / "root", _UNPACKED_BYTES, _ENTRIES), _PACKED_BYTES
            for _, digest, _ in manifest.layers:
                layer = draft / "layer"
                room -= await registry.download(digest, layer, room)
                await anyio.to_thread.run_sync(root.apply, layer)
                layer.unlink()
            await anyio.Path(draft / _CONFIG).write_text(json.dumps(config))
            draft.rename(home)
        finally:
            if draft.exists():
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(trees.remove, draft)


def _variables(config: Mapping[str, Any]) -> dict[str, str]:
    inner = config.get("config")
    listed = cast("dict[str, Any]", inner).get("Env") if isinstance(inner, dict) else None
    texts = [item for item in cast("list[object]", listed) if isinstance(item, str)] if isinstance(listed, list) else []
    pairs = (text.partition("=") for text in texts)
    return {name: value for name, _, value in pairs if _VARIABLE.fullmatch(name) and "\0" not in value}
