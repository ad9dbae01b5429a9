"""The build loop of prefabs: installs what a version needs in a sandbox, imports it there once, and keeps what works."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import structlog

from sandyard import trees
from sandyard.domain.errors import BackendError, StartFailed, StoreError
from sandyard.domain.prefabs import PrefabState, PrefabVersion
from sandyard.domain.specs import MEBIBYTE, EgressPolicy, Limits, Mount, SandboxSpec
from sandyard.services.ids import new_id
from sandyard.services.prefabs.places import REQUIREMENTS, START_SECONDS, prefab_dir, worker_spec
from sandyard.services.prefabs.registry import PENDING, Registry, manifest_of
from sandyard.services.specs import VENV, environment
from sandyard.work import disk
from sandyard.work.install import OURS, stage_sdk

if TYPE_CHECKING:
    import asyncio

    from sandyard.domain.specs import Exited
    from sandyard.services.context import Context
    from sandyard.services.exits import Exits
    from sandyard.services.wakes import Wakes

_TOOLS = "/opt/sandyard/build"
_SDK = "/opt/sandyard/sdk"
_UV = "/opt/uv"
_SDK_NAMES = (*OURS, "agent-builder-gateway-sdk")
"""Requirements that the platform satisfies with its own SDK (`gateway_sdk`); the public index has foreign packages of such names."""
_SCRIPT = """\
set -eu
"$UV" venv --quiet --no-cache --no-project --allow-existing --python "$BASE_PYTHON" "$VENV"
if [ -s "$TOOLS/requirements.txt" ]; then
    "$UV" pip install --python "$VENV/bin/python" --compile-bytecode --override "$TOOLS/overrides.txt" -r "$TOOLS/requirements.txt"
    rm -rf "$UV_CACHE_DIR"
fi
if [ -e "$TOOLS/with-sdk" ]; then
    site=$("$VENV/bin/python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    cp -R "$SDK/." "$site/"
fi
"""
_PLACES = {
    "BASE_PYTHON": str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"),
    "TOOLS": _TOOLS,
    "SDK": _SDK,
    "UV": f"{_UV}/uv",
    "VENV": VENV,
    "UV_CACHE_DIR": f"{VENV}/.uv-cache",
    "UV_NO_PROGRESS": "1",
    "UV_NO_CONFIG": "1",
    "UV_PYTHON_DOWNLOADS": "never",
}
_DISK = 2048 * MEBIBYTE
_LOG = 4000
_RETRY_SECONDS = 2.0
_log = structlog.get_logger("sandyard.prefabs")


class _Failed(Exception):  # noqa: N818 (the state's word)
    """The version cannot be used: the message is its reason, `log` the last lines that say more."""

    def __init__(self, reason: str, log: str = "") -> None:
        super().__init__(reason)
        self.log = log


class PrefabBuilder:
    """Owns the builds of prefab versions."""

    def __init__(self, context: Context, registry: Registry, exits: Exits, wakes: Wakes, uv: Path) -> None:
        self._context = context
        self._settings = context.settings
        self._rows = context.store.prefabs
        self._registry = registry
        self._exits = exits
        self._wakes = wakes
        self._uv = uv
        self._sdk = context.settings.data_dir / "prefab-sdk"
        self._turn = anyio.Semaphore(context.settings.max_building)

    async def run(self) -> None:
        """Build for ever: first what a dead server left half built, then whatever is published."""
        await anyio.to_thread.run_sync(stage_sdk, self._sdk)
        for row in await self._rows.versions(states=[PrefabState.BUILDING]):
            await self._rows.change_version(row.id, [PrefabState.BUILDING], state=PrefabState.PENDING)
        async with anyio.create_task_group() as tasks:
            while True:
                news = self._wakes.event(PENDING)
                for row in reversed(await self._rows.versions(states=[PrefabState.PENDING])):
                    await self._turn.acquire()
                    tasks.start_soon(self._take, row)
                await news.wait()

    async def _take(self, row: PrefabVersion) -> None:
        try:
            taken = await self._rows.change_version(row.id, [PrefabState.PENDING], state=PrefabState.BUILDING)
            if taken is not None:
                await self._build(taken)
        except StoreError as error:
            _log.warning("a prefab's build could not be noted", version=row.id, error=str(error))
        finally:
            self._turn.release()

    async def _build(self, row: PrefabVersion) -> None:
        try:
            with anyio.fail_after(self._settings.build_timeout):
                await self._install(row)
                await self._try(row)
                await anyio.to_thread.run_sync(trees.settle, self._settings.data_dir)
        except _Failed as failure:
            await self._end(row, PrefabState.FAILED, str(failure), failure.log)
        except TimeoutError:
            await self._end(row, PrefabState.FAILED, f"The build did not end within {self._settings.build_timeout:.0f} seconds")
        except (BackendError, OSError) as failure:
            await self._end(row, PrefabState.FAILED, f"The platform could not build it: {failure}")
        except Exception:  # noqa: BLE001 (its publisher hears of it, the log knows more)
            _log.exception("a prefab's build broke", version=row.id)
            await self._end(row, PrefabState.FAILED, "The platform could not build it; its log has more")
        else:
            await self._end(row, PrefabState.DEPLOYED)

    async def _end(self, row: PrefabVersion, state: PrefabState, reason: str = "", log: str = "") -> None:
        if state is PrefabState.FAILED:
            await anyio.to_thread.run_sync(trees.remove, prefab_dir(self._settings, row.id))
        while True:
            try:
                await self._rows.change_version(
                    row.id, [PrefabState.BUILDING], state=state, reason=reason, log=log[-_LOG:], finished_at=self._context.clock.now()
                )
            except StoreError as error:
                _log.warning("a prefab's build could not be noted", version=row.id, error=str(error))
                await anyio.sleep(_RETRY_SECONDS)
            else:
                break
        self._registry.forget(row.prefab_id)
        self._wakes.wake(row.id)
        _log.info("prefab built", prefab=row.prefab_id, version=row.version, state=state.value)

    async def _install(self, row: PrefabVersion) -> None:
        home = prefab_dir(self._settings, row.id)
        await anyio.to_thread.run_sync(_prepare, home)
        sandbox_id = new_id("worker")
        spec = self._install_spec(row, sandbox_id)
        with self._exits.watch(sandbox_id) as ended:
            try:
                exited = await self._outcome(spec, ended)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._context.backend.stop(sandbox_id)
        if exited.exit_code != 0:
            raise _Failed(f"What the prefab needs could not be installed: {exited.reason}", exited.output)
        trouble = await anyio.to_thread.run_sync(_trouble, home / "venv")
        if trouble:
            raise _Failed(trouble)

    async def _outcome(self, spec: SandboxSpec, ended: asyncio.Future[Exited]) -> Exited:
        try:
            await self._context.backend.start(spec)
        except StartFailed as failure:
            return failure.exited
        return await ended

    async def _try(self, row: PrefabVersion) -> None:
        """Start a sandbox of the version as a call would: it listens when the module is imported."""
        sandbox_id = new_id("worker")
        ends_at = self._context.clock.now() + 2 * START_SECONDS
        spec = worker_spec(self._settings, row.id, manifest_of(row), sandbox_id, ends_at=ends_at)
        with self._exits.watch(sandbox_id):
            try:
                await self._context.backend.start(spec)
            except StartFailed as failure:
                raise _Failed(
                    f"{manifest_of(row).entry_point} could not be imported: {failure.exited.reason}", failure.exited.output
                ) from None
            finally:
                with anyio.CancelScope(shield=True):
                    await self._context.backend.stop(sandbox_id)

    def _install_spec(self, row: PrefabVersion, sandbox_id: str) -> SandboxSpec:
        home = prefab_dir(self._settings, row.id)
        index = {} if self._settings.index_url is None else {"UV_DEFAULT_INDEX": self._settings.index_url}
        return SandboxSpec(
            sandbox_id=sandbox_id,
            command=("/bin/sh", f"{_TOOLS}/install.sh"),
            env=environment(self._settings, sandbox_id, _PLACES | index),
            mounts=(
                Mount(home / "venv", VENV, "rw"),
                Mount(home / "tools", _TOOLS, "ro"),
                Mount(self._sdk, _SDK, "ro"),
                Mount(self._uv.parent, _UV, "ro"),
            ),
            limits=Limits(memory_bytes=max(2048 * MEBIBYTE, self._settings.limits.memory_bytes), cpus=2.0, processes=1024),
            egress=EgressPolicy(public=False, allow=self._settings.index_hosts),
            ready_port=None,
            ends_at=self._context.clock.now() + self._settings.build_timeout,
        )


def _prepare(home: Path) -> None:
    """Lay out a version's directories, removing what an earlier attempt left. Blocking."""
    from importlib.metadata import requires  # noqa: PLC0415 (only builds need it)

    for name in ("venv", "tools"):
        trees.remove(home / name)
        (home / name).mkdir(parents=True)
    tools = home / "tools"
    wanted = (home / REQUIREMENTS).read_text().splitlines()
    names = {line.split(";")[0].split("[")[0].split("=")[0].split("<")[0].split(">")[0].split("~")[0].strip().lower() for line in wanted}
    lines = [*wanted, *(requires("sandyard-sdk") or ())] if names & set(_SDK_NAMES) else wanted
    if names & set(_SDK_NAMES):
        (tools / "with-sdk").touch()
    (tools / "requirements.txt").write_text("".join(f"{line}\n" for line in lines))
    (tools / "overrides.txt").write_text("".join(f'{name} ; sys_platform == "never"\n' for name in _SDK_NAMES))
    (tools / "install.sh").write_text(_SCRIPT)


def _trouble(venv: Path) -> str:
    try:
        if disk.size(venv, _DISK) > _DISK:
            return f"What the prefab needs takes more than {_DISK // MEBIBYTE} MiB"
    except disk.TooDeep as error:
        return f"What was installed is nested too deep: {error}"
    return ""
