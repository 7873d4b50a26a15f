"""JSON values as the dataclasses they were written from, each value checked against the type of its field."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

NULL = "null"
"""Key in a field's metadata: what null stands for, where the field's type has no null of its own."""

_EXPECTED = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def build(kind: Any, values: Any, where: str = "") -> Any:
    """A dataclass from a JSON object; keys that it has no field for are passed over.

    Args:
        kind: the dataclass; of its fields' types text, numbers, booleans, tuples of any length, mappings, dataclasses,
            `X | None` and Any are understood.
        values: the object.
        where: its key, for messages.

    Raises:
        KeyError: a key is missing that has no default; its full name.
        TypeError: a value is of another type; says of which key.
    """
    if not isinstance(values, Mapping):
        raise _unexpected(where, "an object", values)
    hints = get_type_hints(kind)
    given: dict[str, Any] = {}
    for one in fields(kind):
        key = f"{where}.{one.name}" if where else one.name
        if one.name not in values:
            if one.default is MISSING and one.default_factory is MISSING:
                raise KeyError(key)
        elif values[one.name] is None and NULL in one.metadata:
            given[one.name] = one.metadata[NULL]
        else:
            given[one.name] = _value(hints[one.name], values[one.name], key)
    return kind(**given)


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        (some,) = (part for part in parts if part is not type(None))
        return None if value is None else _value(some, value, where)
    if is_dataclass(kind):
        return build(kind, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _unexpected(where, "an array", value)
        return tuple(_value(parts[0], item, where) for item in value)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise _unexpected(where, "an object", value)
        return {name: _value(parts[1], item, f"{where}.{name}") for name, item in value.items()}
    allowed = (float, int) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise _unexpected(where, _EXPECTED[kind], value)
    return value


def _unexpected(where: str, expected: str, value: Any) -> TypeError:
    given = json.dumps(value, default=repr)
    given = given if len(given) <= 40 else f"{given[:37]}..."
    return TypeError(f"{where}: expected {expected}, got {given}")
