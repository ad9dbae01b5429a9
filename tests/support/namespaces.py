"""User namespaces that tests make: places in which they are root, and whose limits are theirs to set."""

from __future__ import annotations

import os
from pathlib import Path


def map_ids(pid: int) -> None:
    """Become root of the new user namespace that the process `pid` is in: with every id of the machine if we are root, else alone.

    Raises:
        OSError: the namespace has its ids already, or the kernel refuses.
    """
    if os.geteuid() != 0:
        Path(f"/proc/{pid}/setgroups").write_text("deny")
    for name, own in (("uid_map", os.geteuid()), ("gid_map", os.getegid())):
        Path(f"/proc/{pid}/{name}").write_text("0 0 4294967295" if os.geteuid() == 0 else f"0 {own} 1")
