"""Dataclasses read from JSON: nothing lost, and what is of the wrong type is refused by its key."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from hardware.goals import Goals
from policies.composed_runtime import load_policy, new_runner
from policies.contract import CONTRACT_KEY, HASH_KEY, Contract, sha256
from policies.description import describe
from policies.json_values import NULL, build
from policies.onnx_bytes import split_metadata, with_metadata
from robot_rl.errors import PolicyError
from robot_rl.observation import ObservationLayout, build_layout

BAD = (None, "x", 7, True, [], {}, [None])


@dataclass(frozen=True)
class Inner:
    count: int


@dataclass(frozen=True)
class Outer:
    name: str
    number: float
    rows: tuple[tuple[float, ...], ...]
    inner: tuple[Inner, ...]
    limit: float = field(metadata={NULL: math.inf})
    more: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    maybe: Inner | None = None


GOOD: dict[str, Any] = {"name": "a", "number": 1, "rows": [[0.5, 1]], "inner": [{"count": 2}], "limit": None}


def test_what_is_written_is_read() -> None:
    found = build(Outer, {**GOOD, "more": {"x": [1.0, 2]}, "maybe": {"count": 3}, "unknown": 5})
    assert found == Outer("a", 1, ((0.5, 1),), (Inner(2),), math.inf, {"x": (1.0, 2)}, Inner(3))


def test_a_layout_survives_json_exactly(go2) -> None:
    layout = build_layout(go2, ("angle a", "angle b"), ("goal",), ("gravity", "joint_position"), 2)
    assert build(ObservationLayout, json.loads(json.dumps(layout.to_dict()))) == layout


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": 3}, "outer.name: expected text, got 3"),
        ({"number": True}, "outer.number: expected a number, got true"),
        ({"rows": [[0.5], None]}, "outer.rows: expected an array, got null"),
        ({"rows": [["x"]]}, 'outer.rows: expected a number, got "x"'),
        ({"inner": [{"count": 1.5}]}, "outer.inner.count: expected a whole number, got 1.5"),
        ({"inner": [[]]}, r"outer.inner: expected an object, got \[\]"),
        ({"more": {"x": 1}}, "outer.more.x: expected an array, got 1"),
        ({"maybe": "no"}, 'outer.maybe: expected an object, got "no"'),
    ],
)
def test_another_type_is_refused_by_its_key(change: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        build(Outer, {**GOOD, **change}, "outer")


def test_a_missing_key_is_named_in_full() -> None:
    with pytest.raises(KeyError, match=r"outer\.inner\.count"):
        build(Outer, {**GOOD, "inner": [{}]}, "outer")


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key of a contract, and of arrays the first entry."""
    if way:
        yield way
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*way, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*way, 0))


@pytest.mark.parametrize("file", ["policy_file", "composed_file"])
def test_a_contract_with_anything_anywhere_is_refused_or_serves(
    file: str, request: pytest.FixtureRequest, walk, tmp_path
) -> None:
    """Sealed correctly, so that nothing but the contents can tell."""
    model, metadata = split_metadata(request.getfixturevalue(file).read_bytes())
    values, path, refused = json.loads(metadata[CONTRACT_KEY]), tmp_path / "a.onnx", 0
    ways = [way for way in places(values) if file == "policy_file" or way[0] == "composition"]
    for number, way in enumerate(ways):
        place = values
        for key in way[:-1]:
            place = place[key]
        whole = place[way[-1]]
        place[way[-1]] = BAD[number % len(BAD)]
        try:
            Contract.from_dict(values)
            text = json.dumps(values)
            path.write_bytes(with_metadata(model, {CONTRACT_KEY: text, HASH_KEY: sha256(text.encode())}))
            policy = load_policy(path, robot=walk.spec)
        except PolicyError:
            refused += 1
        else:
            new_runner(policy)
            Goals(policy.contract.task.goal_labels, policy.contract.task.goal_ranges, 0.5)
            describe(policy.contract, 1)
        place[way[-1]] = whole
    assert refused > 0.6 * len(ways)
