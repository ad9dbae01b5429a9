"""Where samples are played: a platform, agents under the names that samples use, and a process for each sample."""

from __future__ import annotations

import asyncio
import shutil
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient, ClientConfig
from seeds.blocks import HERE
from seeds.register import TEMPLATES
from support.packages import write_agent
from support.platform import run, until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from seeds.kinds import Play, Server
    from support.platform import Platform

AGENTS = HERE / "agents"
PLAY_SECONDS = 90.0
PLACEHOLDERS = {'"your-api-key"': "settings.PPIO_API_KEY", '"your-api-secret"': "settings.PPIO_API_SECRET"}
"""What a reader of the documents replaces by what is theirs."""
TAGS = {"data-analysis-agent-v1.0": "[data-analysis, ai]"}


async def played(scratch: Path, *preludes: str, env: dict[str, str], cwd: Path | None = None) -> tuple[int, str, str]:
    """Run the sample that lies in `scratch` as a program; return exit code, standard output, standard error."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "seeds.play", str(scratch), *preludes),
        env=env,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PLAY_SECONDS):
            out, err = await program.communicate()
    finally:
        if program.returncode is None:
            program.kill()
            await program.communicate()
    assert program.returncode is not None
    return program.returncode, out.decode(), err.decode()


@dataclass(slots=True)
class Stage:
    """A platform and a directory; agents are deployed when a sample first asks for them."""

    platform: Platform
    directory: Path
    deployed: set[str] = field(default_factory=set[str])
    _signing: dict[str, str] = field(default_factory=dict[str, str])

    async def deploy(self, names: Iterable[str]) -> None:
        """Have agents under `names`."""
        for name in set(names) - self.deployed:
            source = (AGENTS / f"{TEMPLATES[name]}.py").read_text()
            directory = write_agent(self.directory / name, name, source)
            if name in TAGS:
                manifest = directory / "agent.yaml"
                manifest.write_text(manifest.read_text().replace("version:", f"tags: {TAGS[name]}, version:"))
            await self.platform.deploy(directory)
            self.deployed.add(name)

    async def play(self, source: str, play: Play, scratch: Path) -> tuple[int, str, str]:
        """Run a sample as a program with the variables of `sandyard env`; return exit code, standard output, standard error."""
        for printed, own in PLACEHOLDERS.items():
            source = source.replace(printed, own)
        for name, text in (("before.py", play.before), ("sample.py", source), ("after.py", play.after)):
            (scratch / name).write_text(text, encoding="utf-8")
        told = {**self.platform.env, **await self.signing(), "PYTHONPATH": str(HERE.parent), "PYTHONWARNINGS": "error", "PYTHONUTF8": "1"}
        return await played(scratch, env=told)

    async def signing(self) -> dict[str, str]:
        """Return the variables of a key and of the secret that signs in its name, made by the operator's command."""
        if not self._signing:
            code, out, err = await run("key", "create", "samples", "--secret", "--data-dir", str(self.platform.data_dir))
            assert code == 0, err
            self._signing = dict(zip(("PPIO_API_KEY", "PPIO_API_SECRET"), out.split(), strict=True))
            await until(self._key_is_known)  # a running server hears of a key that another process made a moment later
        return self._signing

    async def _key_is_known(self) -> bool:
        reply = await self.platform.api.get("/templates", headers={"X-API-Key": self._signing["PPIO_API_KEY"]})
        return reply.status_code == 200

    async def sandboxes(self) -> list[str]:
        """Return the ids of sandboxes that live."""
        return [sandbox["sandboxID"] for sandbox in (await self.platform.api.get("/sandboxes")).json()]

    async def serve(self, name: str, source: str, server: Server) -> None:
        """Deploy the sample of an agent under `name`: the prelude, then the sample as it stands."""
        directory = write_agent(self.directory / name, name, (HERE / "prelude.py").read_text() + "\n\n" + source + server.after)
        for file in server.beside:
            shutil.copy(AGENTS / file, directory)
        (directory / "requirements.txt").write_text("\n".join(server.requires))
        await self.platform.deploy(directory)

    def client(self) -> AgentRuntimeClient:
        """Return a client of the platform."""
        config = ClientConfig(sandbox_url=self.platform.sandbox_url)
        return AgentRuntimeClient(self.platform.key, self.platform.api_url, config=config)


def values_of(result: Any) -> list[str]:
    """Return every text in a result, at any depth."""
    if isinstance(result, dict):
        return [text for value in cast("dict[str, Any]", result).values() for text in values_of(value)]
    if isinstance(result, list):
        return [text for value in cast("list[Any]", result) for text in values_of(value)]
    return [str(result)]
