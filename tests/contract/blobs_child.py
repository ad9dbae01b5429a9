"""What the blobs' fault tests run in a process of its own: `hang DIR` is killed in mid-put, `fill DIR` puts more than the disk holds."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from sandyard.blobs import ObjectBlobs
from sandyard.blobs.conformance import content, stream
from sandyard.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def half() -> AsyncIterator[bytes]:
    for _ in range(5):
        yield b"x" * 1_000_000
    say("half")
    await asyncio.Event().wait()


async def main(verb: str, directory: Path) -> None:
    blobs = ObjectBlobs.local(directory)
    if verb == "hang":
        await blobs.put("a", half())
    await blobs.put("kept", stream([b"x" * 1_000_000]))
    try:
        await blobs.put("large", stream([b"x" * 1_000_000] * 9))
    except StoreUnavailable as error:
        say("full" if "No space left" in str(error) else str(error))
    await blobs.put("other", stream([b"x" * 1_000_000] * 2))
    if await content(blobs, "kept") == b"x" * 1_000_000 and await content(blobs, "large") is None:
        say("kept")


# The server's loop. With asyncio's own, a thread of obstore that tells a result gives up the interpreter in the middle of it, and
# aborts the process (Python before 3.14, PyO3/pyo3-async-runtimes#40) if that ends at this very moment.
uvloop.run(main(sys.argv[1], Path(sys.argv[2])))
