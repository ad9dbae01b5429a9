"""Sealed values: what opens them, and what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandyard.services.envelopes import EnvelopeBroken, Envelopes, KeyCommand, KeyFile, KeyRing, NoMasterKey

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.promise("gateway.envelopes")]


async def test_a_value_opens_for_what_it_is_bound_to_and_nowhere_else(tmp_path: Path) -> None:
    envelopes = Envelopes(KeyFile(tmp_path / "keys"))
    sealed = await envelopes.seal(b"value", "ada", "NAME")
    assert b"value" not in sealed.encode()
    assert await envelopes.open(sealed, "ada", "NAME") == b"value"
    assert await envelopes.seal(b"value", "ada", "NAME") != sealed
    for bound in (("bob", "NAME"), ("ada", "OTHER"), ("ada",), ("adaN", "AME"), ()):
        with pytest.raises(EnvelopeBroken):
            await envelopes.open(sealed, *bound)
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


@given(data=st.data())
def test_no_changed_character_goes_unnoticed(data: st.DataObject) -> None:
    ring = KeyRing.parse("a " + "00" * 32)

    async def source() -> KeyRing:
        return ring

    async def run() -> None:
        envelopes = Envelopes(source)
        sealed = await envelopes.seal(b"a value of some length", "x")
        place = data.draw(st.integers(0, len(sealed) - 1))
        changed = sealed[:place] + data.draw(st.sampled_from("abcXYZ019-_.")) + sealed[place + 1 :]
        if changed == sealed:
            return
        with pytest.raises(EnvelopeBroken):
            await envelopes.open(changed, "x")

    anyio.run(run)


async def test_after_a_rotation_old_values_open_and_can_be_renewed(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys")
    envelopes = Envelopes(file)
    old = await envelopes.seal(b"value", "x")
    file.rotate()
    other = Envelopes(file)
    new = await other.renew(old, "x")
    assert new is not None
    assert await other.renew(new, "x") is None
    assert await envelopes.open(new, "x") == b"value"  # it has read the new key by itself
    assert await envelopes.open(old, "x") == b"value"
    lines = (tmp_path / "keys").read_text().splitlines()
    (tmp_path / "keys").write_text(lines[-1] + "\n")
    assert await Envelopes(file).open(new, "x") == b"value"
    with pytest.raises(EnvelopeBroken, match="is not there"):
        await Envelopes(file).open(old, "x")


async def test_a_command_gives_the_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# of the vault\n\nk1 " + "ab" * 32 + "\n")
    envelopes = Envelopes(KeyCommand(["/bin/cat", str(tmp_path / "keys")]))
    assert await envelopes.open(await envelopes.seal(b"v", "x"), "x") == b"v"


@pytest.mark.parametrize("arguments", [["/bin/false"], ["/nonexistent/program"], ["/bin/echo", "nothing"]])
async def test_a_command_that_gives_none_is_said_so(arguments: list[str]) -> None:
    with pytest.raises(NoMasterKey):
        await Envelopes(KeyCommand(arguments)).seal(b"v")


@pytest.mark.parametrize(
    "text", ["", "# only this", "k1", "k1 00", "k1 " + "0g" * 32, "k/1 " + "00" * 32, "k " + "00" * 32 + "\nk " + "11" * 32]
)
def test_lines_that_are_no_keys_are_refused(text: str) -> None:
    with pytest.raises(NoMasterKey):
        KeyRing.parse(text)
