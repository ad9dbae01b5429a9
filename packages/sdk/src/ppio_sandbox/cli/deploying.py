"""`agent deploy`: pack, upload, follow the build, write back where the agent is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from os import SEEK_END
from typing import TYPE_CHECKING

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient
from ppio_sandbox.cli import builds, manifest_file, packing
from ppio_sandbox.cli.output import ExitCode, UsageError, fail, give, give_json, say, waiting
from sandkit.http import templates

if TYPE_CHECKING:
    from pathlib import Path

    from ppio_sandbox.cli.manifest_file import ManifestFile
    from sandkit.wire.templates import BuildLogEntry, BuildStatus, Deployment

UPLOAD_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line."""

    directory: Path
    config: Path | None
    tags: list[str]
    wait: bool
    dry_run: bool
    update_existing: bool
    as_json: bool


async def deploy(wish: Wish) -> None:
    """Deploy a directory; ends with `ExitCode.BUILD_FAILED` where its build fails."""
    if not wish.directory.is_dir():
        raise UsageError(f"{wish.directory} is no directory")
    file = manifest_file.load(manifest_file.find(wish.directory, wish.config))
    if not (wish.directory / file.manifest.spec.entrypoint).is_file():
        raise UsageError(f"the entrypoint {file.manifest.spec.entrypoint} that {file.path} names is not in {wish.directory}")
    if wish.dry_run:
        _show_package(wish, file)
        return
    async with AgentRuntimeClient() as client:
        await _deploy_with(client, wish, file)


async def _deploy_with(client: AgentRuntimeClient, wish: Wish, file: ManifestFile) -> None:
    if not wish.update_existing and await client.template_manager.template_exists(file.manifest.metadata.name):
        raise UsageError(f"there is a template {file.manifest.metadata.name} already: --update-existing gives it a new build")
    package = await asyncio.to_thread(packing.pack, wish.directory, file.path)
    say(f"packed {package.count} files, {package.size / 1024:.1f} KiB")
    call = templates.deploy_agent(packing.parts_of(package), package.size, wish.tags)
    with waiting("uploading"):
        deployment = await client.platform.perform(call, seconds=UPLOAD_SECONDS)
    if not wish.wait:
        _remember(file.path, deployment, "pending")
        _report(deployment, None, as_json=wish.as_json)
        return
    status = await _followed(client, deployment, file.path)
    _remember(file.path, deployment, status.phase)
    if status.status == "error":
        _fail(deployment, status, as_json=wish.as_json)
    _report(deployment, status, as_json=wish.as_json)


async def _followed(client: AgentRuntimeClient, deployment: Deployment, manifest: Path) -> BuildStatus:
    try:
        with waiting(f"building {deployment.name}"):
            return await builds.follow(client.platform, deployment.template_id, deployment.build_id, _show)
    except asyncio.CancelledError:
        _remember(manifest, deployment, "building")
        say(f"the build goes on without us: ppio-sandbox-cli agent logs --build {deployment.name} follows it")
        raise


def _show_package(wish: Wish, file: ManifestFile) -> None:
    """Say what would be sent, without sending it."""
    about = file.manifest.metadata
    paths = [path for path in packing.files_of(wish.directory) if path.resolve() != file.path.resolve()]
    names = ["agent.yaml", *(path.relative_to(wish.directory).as_posix() for path in paths)]
    with packing.pack(wish.directory, file.path).file as packed:
        size = packed.seek(0, SEEK_END)
    if wish.as_json:
        give_json({"name": about.name, "version": about.version, "files": names, "size": size})
        return
    give("\n".join(names))
    say(f"{about.name} {about.version}: {len(names)} files, {size / 1024:.1f} KiB packed; nothing was sent")


def _show(line: BuildLogEntry) -> None:
    """Show progress; the lists of what was downloaded and installed are for `agent logs --build`."""
    if not line.message.startswith((" + ", " Downloaded ")):
        say(f"  {line.message.rstrip()}")


def _remember(path: Path, deployment: Deployment, phase: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    status = {"phase": phase, "template_id": deployment.template_id, "last_deployed": now, "build_id": deployment.build_id}
    if not manifest_file.write_status(path, status):
        say(f"note: the status could not be written into {path}, whose form is too unusual; the template is {deployment.template_id}")


def _report(deployment: Deployment, status: BuildStatus | None, *, as_json: bool) -> None:
    if as_json:
        give_json(_summary(deployment, status))
        return
    word = "deployed" if status is not None else "accepted"
    say(f"{word} {', '.join(f'{deployment.name}:{tag}' for tag in deployment.tags)} as build {deployment.build_id} of template:")
    give(deployment.template_id)
    follow_up = f'invoke {deployment.name} --input "hello"' if status is not None else f"logs --build {deployment.name}"
    say(f"next: ppio-sandbox-cli agent {follow_up}")


def _fail(deployment: Deployment, status: BuildStatus, *, as_json: bool) -> None:
    """End the command; the last lines, which `--json` gives again, have been shown as they came."""
    reason = status.reason.message if status.reason else "no reason was told"
    sentence = f"the build {deployment.build_id} of {deployment.name} failed: {reason}"
    fail(ExitCode.BUILD_FAILED, sentence, as_json=as_json, **_summary(deployment, status))


def _summary(deployment: Deployment, status: BuildStatus | None) -> dict[str, object]:
    reason = status.reason if status is not None else None
    return {
        "template_id": deployment.template_id,
        "build_id": deployment.build_id,
        "name": deployment.name,
        "tags": deployment.tags,
        "phase": status.phase if status is not None else "pending",
        "reason": reason.model_dump() if reason is not None else None,
    }
