"""What stands at / of a sandbox: the host's system read-only, the host's system copy-on-write, or an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from . import accounts, skeleton

if TYPE_CHECKING:
    from collections.abc import Iterator

STAGE = "/tmp"  # noqa: S108 (covered by the launcher in its own mount namespace; bubblewrap sees the stage there)
USER_ID = accounts.USER_ID
HOME = accounts.HOME
DPKG = "/var/lib/dpkg"

_ROOTS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "os-release", "pki", "protocols")
_ETC_PRIVATE = ("ssl/private", "pki/tls/private")
"""Keys of the host's own services: an ordinary user may be in the group that reads them, and its sandboxes are, too."""
_ETC_MORE = ("services", "ssl", "ca-certificates", "fonts")
_OPEN = ("local", *(f"local/{name}" for name in ("bin", "etc", "include", "lib", "sbin", "share", "src")))

Ids = Literal["server", "own", "stored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A host directory or file that the launcher stages at `STAGE/name`, whoever may read its parents.

    `ids` says whose its files are on disk, and so how they are shown: all the server's ("server": `user`'s inside), those of the
    sandbox itself ("own"), or those that sandboxes share ("stored", `uids.STORED`).
    """

    source: str
    name: str
    mode: Literal["ro", "rw"] = "ro"
    ids: Ids = "server"
    shared: bool = False
    disk: bool = False
    """It is the content of a file system in a file (`disks`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A directory that the sandbox can change, staged at `STAGE/name`: what is changed lies in the space, above the trees `lower`.

    `lower` are names of trees, topmost first; with none, `owner` (an id inside) and `mode` are those of the empty directory. `large`
    is never copied where the kernel refuses an overlay; `open` are directories that belong to `owner` whoever owns those below.
    """

    name: str
    lower: tuple[str, ...] = ()
    owner: int = USER_ID
    mode: int = 0o755
    large: bool = False
    open: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What a system needs: bubblewrap's words before and after all that is mounted into it, trees, parts, and staged small files."""

    words: tuple[str, ...]
    last: tuple[str, ...]
    trees: tuple[Tree, ...] = ()
    parts: tuple[Part, ...] = ()
    files: dict[str, str] = field(default_factory=dict[str, str])


def fixed(hostname: str) -> System:
    """Return the host's system, which nobody can change."""
    files = {
        "passwd": f"root:x:0:0::/:/bin/false\nuser:x:{USER_ID}:{USER_ID}::{HOME}:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        "group": f"root:x:0:\nuser:x:{USER_ID}:\nnogroup:x:65534:\n",
        "hosts": accounts.hosts(hostname),
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }
    return System(words=tuple(_fixed(files)), last=("--remount-ro", "/"), files=files)


def _fixed(files: dict[str, str]) -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in _ROOTS:
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for name in (*_ETC, *_ETC_MORE):
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    for name in _ETC_PRIVATE:
        if Path("/etc", name).is_dir():
            yield from ("--tmpfs", f"/etc/{name}", "--remount-ro", f"/etc/{name}")
    for name in files:
        yield from ("--ro-bind", f"{STAGE}/{name}", f"/etc/{name}")
    yield from ("--dir", "/run", "--dir", "/var", "--symlink", "/tmp", "/var/tmp")  # noqa: S108 (the sandbox's)


def writable(hostname: str, base: Path, places: tuple[str, ...], *, has_root: bool) -> System:
    """Return the host's system copy-on-write: `base` is `skeleton.make`'s; at `places` something will be mounted."""
    ids: Ids = "own" if has_root else "server"
    shown = [("usr", "/usr"), *((path.name, str(path)) for path in skeleton.root_directories())]
    if Path(DPKG).is_dir():
        shown.append(("dpkg", DPKG))
    trees = [Tree(source=str(base), name="system.base", ids=ids)]
    trees += [Tree(source=place, name=f"{name}.base", ids=ids) for name, place in shown]
    parts = [_root_part(("system.box", "system.base"))]
    parts += [
        Part(name=name, lower=(f"{name}.base",), large=True, open=_OPEN if name == "usr" and not has_root else ()) for name, _ in shown
    ]
    words = [word for name, place in (("system", "/"), *shown) for word in ("--bind", f"{STAGE}/{name}", place)]
    return System(words=tuple(words), last=(), trees=tuple(trees), parts=tuple(parts), files=_box(hostname, places))


def image(hostname: str, root: Path, places: tuple[str, ...], *, has_root: bool, changeable: bool) -> System:
    """Return an image's system, with `user` and the host's name added to its files."""
    passwd, group = accounts.with_user(_of_image(root, "passwd"), _of_image(root, "group"))
    files = {**_box(hostname, places), "system.box/etc/passwd": passwd, "system.box/etc/group": group}
    tree = Tree(source=str(root), name="system.base", ids="own" if has_root else "server")
    part = _root_part(("system.box", "system.base"))
    words = ("--bind", f"{STAGE}/system", "/")
    return System(words=words, last=() if changeable else ("--remount-ro", "/"), trees=(tree,), parts=(part,), files=files)


def _root_part(lower: tuple[str, ...]) -> Part:
    return Part(name="system", lower=lower, owner=0)


def _box(hostname: str, places: tuple[str, ...]) -> dict[str, str]:
    """Return the files of the layer that is this sandbox's alone, below all that was saved; a name that ends in / is a directory."""
    files = {"system.box/etc/hosts": accounts.hosts(hostname), "system.box/etc/hostname": f"{hostname}\n"}
    return files | {f"system.box{place}/": "" for place in places}


def _of_image(root: Path, name: str) -> str:
    """Return a file of the image's /etc, or nothing where it is none: a link in an image could lead anywhere on the host."""
    path = root / "etc" / name
    if (root / "etc").is_symlink() or path.is_symlink() or not path.is_file():
        return ""
    return path.read_text(errors="replace")
