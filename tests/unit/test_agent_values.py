"""What agents return, as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ppio_sandbox.agent_runtime.runtime.replies import ENVELOPES
from sandkit.serving.values import NotJsonError, to_json
from sandkit.wire.invocations import InvocationResponse


class Model(BaseModel):
    when: datetime
    amount: Decimal


@dataclass
class Record:
    name: str
    parts: set[int]


class Colour(Enum):
    RED = "red"


@pytest.mark.promise("agent.values")
@pytest.mark.parametrize(
    ("value", "json"),
    [
        (Model(when=datetime(2025, 1, 2, tzinfo=UTC), amount=Decimal("1.10")), {"when": "2025-01-02T00:00:00+00:00", "amount": "1.10"}),
        (Record("n", {1}), {"name": "n", "parts": [1]}),
        ({"id": UUID(int=1), "path": PurePosixPath("/a"), "colour": Colour.RED}, {"id": str(UUID(int=1)), "path": "/a", "colour": "red"}),
        (b"\x00\xff", "AP8="),
        ([math.nan, math.inf], [None, None]),
        ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
        (map(str, (1, 2)), ["1", "2"]),
        ({"k": 1}.keys(), ["k"]),
    ],
)
def test_values_of_python_become_json(value: object, json: object) -> None:
    assert orjson.loads(to_json(value)) == json


@pytest.mark.promise("agent.values")
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_json_stays_what_it_is_on_one_line(value: object) -> None:
    encoded = to_json(value)
    assert b"\n" not in encoded
    assert orjson.loads(encoded) == value


@pytest.mark.promise("agent.envelope")
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    ),
    st.floats(0, 1e6),
)
def test_what_goes_into_an_envelope_is_read_from_it(value: object, seconds: float) -> None:
    read = InvocationResponse.model_validate_json(ENVELOPES.success(value, seconds, "r-1").body)
    assert (read.result, read.status, read.metadata, read.error) == (value, "success", {"request_id": "r-1"}, None)
    assert read.duration == pytest.approx(seconds, abs=1e-6)


@pytest.mark.promise("agent.values")
@pytest.mark.parametrize(
    ("value", "place", "kind"),
    [
        ({"a": [1, {"b": object()}]}, "result['a'][1]['b']", "object"),
        ([len], "result[0]", "builtin_function_or_method"),
        (2**70, "result", "int"),
        ({"text": "\ud800"}, "result['text']", "str"),
    ],
)
def test_what_has_no_form_is_named_with_its_place(value: object, place: str, kind: str) -> None:
    with pytest.raises(NotJsonError) as caught:
        to_json(value)
    assert str(caught.value).startswith(f"{place} is of type {kind},")


@pytest.mark.promise("agent.values")
def test_what_contains_itself_has_no_form() -> None:
    value: dict[str, object] = {}
    value["self"] = value
    with pytest.raises(NotJsonError, match=r"result\['self'\]"):
        to_json(value)


@pytest.mark.promise("agent.values")
def test_values_of_numpy_become_json() -> None:
    numpy = pytest.importorskip("numpy")
    value = {"scalar": numpy.float64(0.5), "whole": numpy.int64(3), "array": numpy.arange(4).reshape(2, 2).T, "nan": numpy.float64("nan")}
    assert orjson.loads(to_json(value)) == {"scalar": 0.5, "whole": 3, "array": [[0, 2], [1, 3]], "nan": None}
