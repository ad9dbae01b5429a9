"""What the store's fault tests run in a process of its own: `write PATH` adds rows until it is killed, `fill PATH` until the disk is full.

Each acknowledged row's id is a line on standard output.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from sandyard.domain.errors import StoreUnavailable
from sandyard.store import SqliteStore
from sandyard.store.conformance import a_sandbox


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def write(store: SqliteStore, numbers: count[int]) -> None:
    for number in numbers:
        await store.sandboxes.add(a_sandbox(number, output="x" * 1000))
        say(f"s{number}")


async def main(verb: str, path: Path) -> None:
    store = await SqliteStore.open(path)
    numbers = count()
    if verb == "write":
        await asyncio.gather(*(write(store, numbers) for _ in range(16)))
    ballast = path.with_name("ballast")
    ballast.write_bytes(b"x" * 100_000)
    try:
        await write(store, numbers)
    except StoreUnavailable as error:
        sys.stderr.write(str(error))
    assert await store.sandboxes.get("s0") is not None
    ballast.unlink()
    await store.sandboxes.add(a_sandbox(next(numbers)))
    say(f"after {len(await store.sandboxes.list(limit=100_000))}")
    await store.close()


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
