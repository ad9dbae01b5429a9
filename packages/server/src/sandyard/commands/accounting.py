"""`sandyard quota`, `sandyard usage`, `sandyard audit`: what may be used, what was, and whether the record is whole."""

# ruff: noqa: PLC0415, PLR0917 (each command imports what it needs when it runs; typer passes by name)

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from sandyard.commands.server import default_data_dir, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sandyard.app.offline import Offline

T = TypeVar("T")

quota_app = typer.Typer(no_args_is_help=True, help="Quotas and rates of prefab calls.")
audit_app = typer.Typer(no_args_is_help=True, help="Who did what.")
_PERIODS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0, "month": 30 * 86400.0, "ever": 0.0}
DataDirOption = Annotated[Path | None, typer.Option(help="The server's data directory; it may be running.")]


@quota_app.command("set")
def quota_set(
    amount: Annotated[int, typer.Argument(min=0, help="How many calls.")],
    per: Annotated[str, typer.Option(help="minute, hour, day, month (30 days) or ever.")] = "day",
    rate: Annotated[bool, typer.Option("--rate", help="Spread evenly (a burst of that many, then one by one), not by windows.")] = False,
    owner: Annotated[str, typer.Option(help="Whose.")] = "default",
    user: Annotated[str, typer.Option(help="Only this user's.")] = "",
    key: Annotated[str, typer.Option(help="Only with this API key (its id), and tokens made with it.")] = "",
    prefab: Annotated[str, typer.Option(help="Only of this prefab.")] = "",
    data_dir: DataDirOption = None,
) -> None:
    """Set a quota, in place of the one for the same; it counts from now."""
    import secrets

    from sandyard.domain.accounting import Quota

    if per not in _PERIODS or (rate and per == "ever"):
        fail(f"--per must be one of {', '.join(_PERIODS)}; a rate needs one that ends")
    quota = Quota(
        id="q" + secrets.token_hex(6),
        owner=owner,
        user=user,
        key=key,
        prefab_id=prefab,
        kind="rate" if rate else "calls",
        amount=amount,
        period=_PERIODS[per],
    )
    _offline(data_dir, lambda offline: offline.store.quotas.put(quota))
    typer.echo(f"{quota.id}  {quota.about}  {amount} per {per}")


@quota_app.command("list")
def quota_list(data_dir: DataDirOption = None) -> None:
    """List quotas: id, owner, kind, what it is for, used and amount."""
    for quota in _offline(data_dir, lambda offline: offline.store.quotas.list()):
        about = " ".join(
            f"{name}={value}" for name, value in (("user", quota.user), ("key", quota.key), ("prefab", quota.prefab_id)) if value
        )
        typer.echo(f"{quota.id}  {quota.owner}  {quota.kind}  {about or 'all'}  {quota.used}/{quota.amount} per {quota.period:.0f} s")


@quota_app.command("remove")
def quota_remove(quota_id: str, data_dir: DataDirOption = None) -> None:
    """Remove a quota by its id."""
    if not _offline(data_dir, lambda offline: offline.store.quotas.remove(quota_id)):
        fail(f"There is no quota {quota_id!r}; `sandyard quota list` shows them")


def usage(
    data_dir: DataDirOption = None,
    since: Annotated[str, typer.Option(help="A day such as 2026-11-01.")] = "",
    owner: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object per line.")] = False,
) -> None:
    """Report what was used: day, owner, user, key, function, calls, failures, seconds."""
    for line in _offline(data_dir, lambda offline: offline.store.quotas.usage(owner, since)):
        if as_json:
            typer.echo(json.dumps(asdict(line)))
        else:
            about = f"{line.prefab_id}@{line.version}/{line.function}"
            counts = f"{line.calls} calls, {line.calls - line.succeeded} failed, {line.seconds:.1f} s"
            typer.echo(f"{line.day}  {line.owner}  {line.user}  {line.key or '-'}  {about}  {counts}")


@audit_app.command("verify")
def audit_verify(
    data_dir: DataDirOption = None,
    head: Annotated[str | None, typer.Option(help="NUMBER:DIGEST, as an earlier verify printed: the entry must still be there.")] = None,
) -> None:
    """Go through all entries and say whether one was changed, put in, or taken out."""
    noted = None
    if head is not None:
        number, _, digest = head.partition(":")
        if not number.isdecimal() or not digest:
            fail("--head must be NUMBER:DIGEST")
        noted = int(number), digest
    verdict = _offline(data_dir, lambda offline: offline.audit.verify(noted))
    if verdict.problem is not None:
        fail(f"The audit is not what was written: {verdict.problem}. The {verdict.entries} before are good.")
    typer.echo(f"{verdict.entries} entries are whole; head {verdict.entries}:{verdict.head}")


@audit_app.command("show")
def audit_show(data_dir: DataDirOption = None, last: Annotated[int, typer.Option(min=1, help="How many.")] = 50) -> None:
    """Show the newest entries as JSON, one per line."""

    async def work(offline: Offline) -> list[str]:
        newest = await offline.store.audit.last()
        after = 0 if newest is None else max(0, newest.number - last)
        return [json.dumps(asdict(entry)) for entry in await offline.store.audit.read(after, last)]

    for line in _offline(data_dir, work):
        typer.echo(line)


def _offline(data_dir: Path | None, work: Callable[[Offline], Coroutine[object, object, T]]) -> T:
    """Run `work` on a data directory's rows, whether or not its server runs."""
    import anyio

    from sandyard.app.offline import with_rows
    from sandyard.domain.errors import StoreError

    path = (data_dir or Path(os.environ.get("SANDYARD_DATA_DIR") or default_data_dir())).expanduser().absolute()
    if not (path / "sandyard.db").exists():
        fail(f"{path} is no data directory; `sandyard serve --data-dir {path}` makes one")
    try:
        return anyio.run(with_rows, path, work)
    except StoreError as error:
        fail(str(error))
