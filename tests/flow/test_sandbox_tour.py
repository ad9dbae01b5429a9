"""Every public method of the public e2b client, in both faces, against a real platform; `docs/e2b-coverage.md` is written from this."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.e2b_face import ASYNC, SYNC, Face, methods
from support.e2b_tour import NOT_SERVED, WALKS

if TYPE_CHECKING:
    from support.platform import Platform

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.mark.promise("sandboxes.every-method")
@pytest.mark.parametrize("classes", [ASYNC, SYNC], ids=["async", "sync"])
async def test_everything_that_the_client_can_do(classes: dict[str, type], process_platform: Platform) -> None:
    known = {
        "api_key": process_platform.env["E2B_API_KEY"],
        "api_url": process_platform.api_url,
        "sandbox_url": process_platform.sandbox_url,
    }
    face = Face(classes, known)
    for walk in WALKS:
        await walk(face)
    assert methods(classes) - face.asked == NOT_SERVED.keys()
