"""`sandyard prefab`: make, check, publish and look at prefabs."""

# ruff: noqa: PLC0415 (each command imports what it needs when it runs)

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sandyard.commands.secrets import app as secrets_app
from sandyard.commands.server import Server, explain, fail

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(no_args_is_help=True, help="Prefabs: versioned functions that the gateway runs.")

app.add_typer(secrets_app, name="secrets")

DataDirOption = Annotated[
    Path | None, typer.Option(help="The server's data directory; without it PPIO_API_URL and PPIO_API_KEY, then the default one.")
]
_LEFT_OUT = frozenset({"__pycache__", "venv", "dist", "build", "tests", "data", "node_modules"})
_WAIT = 50


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="The directory to make; its name becomes the prefab's id.")],
) -> None:
    """Write a prefab that works: manifest, source, project file, a test."""
    from sandyard.domain.prefabs import PREFAB_ID

    prefab_id = directory.absolute().name
    if not PREFAB_ID.fullmatch(prefab_id):
        fail(f"{prefab_id!r} is no prefab id: 3 to 64 lower-case letters, digits and single hyphens")
    if directory.exists() and any(directory.iterdir()):
        fail(f"{directory} is not empty")
    for name, content in _scaffold(prefab_id).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        typer.echo(f"wrote {path}")
    typer.echo(f"Next: sandyard prefab publish {directory}")


@app.command()
def validate(path: Annotated[Path, typer.Argument(help="A prefab's directory, or its wheel.")]) -> None:
    """Check a prefab as the server would before it builds it."""
    manifest = _checked(_package(path))
    for warning in manifest.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{manifest.id} {manifest.version}: {len(manifest.functions)} function(s), no problems")


@app.command()
def publish(
    path: Annotated[Path, typer.Argument(help="A prefab's directory, or its wheel.")],
    data_dir: DataDirOption = None,
    public: Annotated[bool, typer.Option("--public", help="Let every caller of this server see and call it.")] = False,
) -> None:
    """Publish a version and wait until it is built."""
    package = _package(path)
    _checked(package)
    server = Server.find(data_dir)
    visibility = "public" if public else "private"
    found = server.ask("POST", f"/v1/prefabs?visibility={visibility}", package, media="application/zip")
    for warning in found["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    while found["deployment_status"] == "DEPLOYING":
        found = server.ask("GET", f"/v1/prefabs/{found['id']}/{found['version']}/spec?wait={_WAIT}")
    if found["deployment_status"] == "FAILED":
        fail(f"{found['id']} {found['version']} could not be built: {found['reason']}\n{found.get('log', '')}")
    typer.echo(f"{found['id']} {found['version']} is {found['deployment_status'].lower()} ({found['digest']})")


@app.command("list")
def list_(
    data_dir: DataDirOption = None,
    status: Annotated[str | None, typer.Option(help="deployed (the default), pending, building, failed or yanked.")] = None,
) -> None:
    """List prefabs: id, version, state, who sees it, description."""
    query = f"?status={status}" if status else ""
    for item in Server.find(data_dir).ask("GET", f"/v1/prefabs{query}"):
        line = f"{item['id']}  {item['version']}  {item['deployment_status'].lower()}  {item['visibility']}  {item['description']}"
        typer.echo(_plain(line))


@app.command()
def show(
    prefab: Annotated[str, typer.Argument(help="ID, or ID@VERSION; a version may be an alias such as ^1.")], data_dir: DataDirOption = None
) -> None:
    """Show a version's specification as JSON."""
    prefab_id, version = _named(prefab)
    typer.echo(json.dumps(Server.find(data_dir).ask("GET", f"/v1/prefabs/{prefab_id}/{version}/spec"), indent=2, ensure_ascii=True))


@app.command()
def yank(
    prefab: Annotated[str, typer.Argument(help="ID@VERSION")],
    data_dir: DataDirOption = None,
    undo: Annotated[bool, typer.Option("--undo", help="Show it again.")] = False,
) -> None:
    """Hide a version from lists and aliases; who names it exactly can still call it."""
    if "@" not in prefab:
        fail("Name the version: ID@VERSION")
    prefab_id, version = _named(prefab)
    found = Server.find(data_dir).ask("DELETE", f"/v1/prefabs/{prefab_id}/{version}{'?undo=true' if undo else ''}")
    typer.echo(f"{found['id']} {found['version']} is {found['deployment_status'].lower()}")


@app.command()
def logs(
    prefab: Annotated[str, typer.Argument(help="ID")],
    data_dir: DataDirOption = None,
    last: Annotated[int, typer.Option(min=1, max=1000, help="How many calls.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with those to come, until Ctrl-C.")] = False,
) -> None:
    """Show what your own calls of a prefab have printed in the last day: the last 16 KiB of each."""
    server = Server.find(data_dir)
    path = f"/v1/prefabs/{_named(prefab)[0]}/logs"
    number = _print_logs(server.ask("GET", f"{path}?limit={last}")["logs"], 0)
    if not number and not follow:
        typer.echo("No call of yours has printed anything in the last day.", err=True)
    while follow:
        number = _print_logs(server.ask("GET", f"{path}?after={number}&wait={_WAIT}")["logs"], number)


def _print_logs(logs: list[dict[str, Any]], number: int) -> int:
    """Print logs and return the last one's number, or `number` where there are none."""
    for item in logs:
        about = f"{item['prefab_id']}@{item['version']}/{item['function_name']}"
        typer.echo(f"--- {item['at']}  {item['job_id']}.{item['call']}  {about}  {item['status']}")
        for line in item["text"].splitlines():
            typer.echo(_plain(line.expandtabs()))
        number = item["number"]
    return number


def _named(prefab: str) -> tuple[str, str]:
    from urllib.parse import quote

    prefab_id, _, version = prefab.partition("@")
    return quote(prefab_id, safe=""), quote(version or "latest", safe="")


def _package(path: Path) -> bytes:
    """Return a wheel as it is, or a directory as a zip that is the same whenever its files are."""
    if path.is_file():
        return path.read_bytes()
    if not path.is_dir():
        fail(f"There is no {path}")
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(_files(path)):
            archive.writestr(zipfile.ZipInfo(file.relative_to(path).as_posix()), file.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _files(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        if path.name.startswith(".") or path.name in _LEFT_OUT or path.suffix in {".pyc", ".whl"} or path.is_symlink():
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _checked(package: bytes) -> Any:
    from tempfile import TemporaryDirectory

    from sandkit.wire.gateway import Refusal
    from sandyard.config import GatewaySettings
    from sandyard.services.prefabs.checks import check
    from sandyard.services.prefabs.packs import PackBounds, unpack

    bounds = GatewaySettings()
    with TemporaryDirectory(prefix="sandyard-prefab-") as directory:
        archive = Path(directory) / "package.zip"
        archive.write_bytes(package)
        try:
            unpacked = unpack(
                archive, Path(directory) / "app", PackBounds(unpacked_bytes=bounds.unpacked_bytes, files=bounds.package_files)
            )
            return check(Path(directory) / "app", unpacked.document)
        except Refusal as refusal:
            fail(explain(refusal))


def _plain(text: str) -> str:
    """Return a line without control characters: descriptions are strangers' words."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _scaffold(prefab_id: str) -> dict[str, str]:
    greet = {
        "name": "greet",
        "description": "Greet somebody.",
        "parameters": [
            {"name": "name", "type": "string", "description": "Whom to greet.", "required": True},
            {"name": "times", "type": "integer", "description": "How often.", "required": False, "default": 1},
        ],
        "returns": {
            "type": "object",
            "description": "The greeting.",
            "properties": {"success": {"type": "boolean"}, "message": {"type": "string"}},
        },
    }
    manifest = {
        "schema_version": "1.0",
        "id": prefab_id,
        "version": "0.1.0",
        "name": prefab_id,
        "description": "Says hello.",
        "tags": [],
        "entry_point": "src/main.py",
        "dependencies_file": "pyproject.toml",
        "functions": [greet],
        "execution_environment": {"cpu": "500m", "memory": "256Mi"},
    }
    return {
        "prefab-manifest.json": json.dumps(manifest, indent=2) + "\n",
        "pyproject.toml": f'[project]\nname = "{prefab_id}"\nversion = "0.1.0"\nrequires-python = ">=3.11"\ndependencies = []\n',
        "src/__init__.py": "",
        "src/main.py": _SOURCE,
        "tests/test_main.py": _TEST,
    }


_SOURCE = '''"""Functions of this prefab. Inputs lie in data/inputs/<key>/, what is written to data/outputs/ is returned as files."""


def greet(name: str, times: int = 1) -> dict:
    """Greet somebody."""
    return {"success": True, "message": " ".join([f"Hello, {name}!"] * times)}
'''
_TEST = """from src.main import greet


def test_greet() -> None:
    assert greet("Ada", times=2) == {"success": True, "message": "Hello, Ada! Hello, Ada!"}
"""
