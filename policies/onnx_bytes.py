"""Reads and cuts the bytes of an ONNX file without the onnx package, which an onboard computer does not have.

An ONNX file is a protobuf message: a sequence of fields, each a tag (number and wire type) and a value. The few field
numbers of onnx.proto that matter here can never change, by protobuf's own rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT = 1, 2
_TENSOR_NAME, _VALUE_NAME = 8, 1


class Field(NamedTuple):
    """One field of a message."""

    number: int
    value: bytes
    """What a length-delimited field holds; empty for numbers, which nothing here reads."""
    raw: bytes
    """Tag, length and value as they stand in the file."""


def fields(message: bytes) -> Iterator[Field]:
    """The fields of a message, in order.

    Raises:
        ValueError: the bytes end inside a field or are no protobuf.
    """
    view, at, end = memoryview(message), 0, len(message)
    while at < end:
        start = at
        tag, at = _varint(view, at)
        wire, length = tag & 7, 0
        if wire == _VARINT:
            _, at = _varint(view, at)
        elif wire == _LENGTH:
            length, at = _varint(view, at)
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"byte {start} starts no protobuf field")
        at += length
        if at > end:
            raise ValueError(f"the field at byte {start} runs past the end")
        yield Field(tag >> 3, bytes(view[at - length : at]), bytes(view[start:at]))


def encode(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return _encode_varint(number << 3 | _LENGTH) + _encode_varint(len(value)) + value


def with_metadata(model: bytes, metadata: dict[str, str]) -> bytes:
    """The model with entries appended; protobuf allows fields in any order."""
    entries = (
        encode(_MODEL_METADATA, encode(_ENTRY_KEY, key.encode()) + encode(_ENTRY_VALUE, value.encode()))
        for key, value in metadata.items()
    )
    return b"".join([model, *entries])


def split_metadata(content: bytes) -> tuple[bytes, dict[str, str]]:
    """Undoes `with_metadata`.

    Returns:
        The model without its metadata, byte for byte, and the metadata.

    Raises:
        ValueError: the bytes are damaged, or a key occurs twice.
    """
    model, metadata = [], {}
    for field in fields(content):
        if field.number != _MODEL_METADATA:
            model.append(field.raw)
            continue
        texts = {part.number: part.value.decode() for part in fields(field.value)}
        key = texts.get(_ENTRY_KEY, "")
        if key in metadata:
            raise ValueError(f"metadata {key!r} occurs twice")
        metadata[key] = texts.get(_ENTRY_VALUE, "")
    return b"".join(model), metadata


def only_outputs(model: bytes, outputs: Iterable[str]) -> bytes:
    """The model reduced to what some of its outputs need.

    ONNX Runtime computes every node of a graph, whatever is asked for; so a cheaper answer needs a smaller graph.

    Args:
        model: an ONNX model whose nodes are in topological order, as the standard demands.
        outputs: names of the outputs to keep.
    """
    kept = frozenset(outputs)
    return b"".join(
        encode(_MODEL_GRAPH, _reduced_graph(field.value, kept)) if field.number == _MODEL_GRAPH else field.raw
        for field in fields(model)
    )


def _reduced_graph(graph: bytes, outputs: frozenset[str]) -> bytes:
    parts = list(fields(graph))
    needed = set(outputs)
    kept_nodes = set()
    for index in reversed(range(len(parts))):
        if parts[index].number == _GRAPH_NODE and needed.intersection(_texts(parts[index].value, _NODE_OUTPUT)):
            kept_nodes.add(index)
            needed.update(_texts(parts[index].value, _NODE_INPUT))

    def keep(index: int, part: Field) -> bool:
        if part.number == _GRAPH_NODE:
            return index in kept_nodes
        if part.number == _GRAPH_INITIALIZER:
            return _texts(part.value, _TENSOR_NAME)[0] in needed
        if part.number == _GRAPH_INPUT:
            return _texts(part.value, _VALUE_NAME)[0] in needed
        if part.number == _GRAPH_OUTPUT:
            return _texts(part.value, _VALUE_NAME)[0] in outputs
        return True

    return b"".join(part.raw for index, part in enumerate(parts) if keep(index, part))


def _texts(message: bytes, number: int) -> list[str]:
    return [part.value.decode() for part in fields(message) if part.number == number]


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise ValueError(f"the number at byte {at} does not end")
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
