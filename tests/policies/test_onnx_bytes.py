"""The walker over an ONNX file, against the onnx package."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from policies.onnx_bytes import encode, fields, only_outputs, split_metadata, with_metadata


def test_metadata_come_back_and_the_model_byte_for_byte(policy_file):
    content = policy_file.read_bytes()
    model, metadata = split_metadata(content)
    parsed = onnx.load_from_string(content)
    assert metadata == {entry.key: entry.value for entry in parsed.metadata_props}
    assert with_metadata(model, metadata) == content


def test_the_onnx_package_reads_appended_metadata(policy_file):
    model, _ = split_metadata(policy_file.read_bytes())
    long = "π" * 100_000
    parsed = onnx.load_from_string(with_metadata(model, {"a": "1", "long": long}))
    assert [(entry.key, entry.value) for entry in parsed.metadata_props] == [("a", "1"), ("long", long)]


def test_a_reduced_model_is_valid_and_gives_the_same_answer(policy_file):
    content = policy_file.read_bytes()
    reduced = only_outputs(split_metadata(content)[0], ["action", "command"])
    parsed = onnx.load_from_string(reduced)
    onnx.checker.check_model(parsed, full_check=True)
    assert [value.name for value in parsed.graph.input] == ["observation"]
    assert [value.name for value in parsed.graph.output] == ["action", "command"]
    assert not {"Exp"} & {node.op_type for node in parsed.graph.node}

    observation = np.random.default_rng(0).standard_normal((5, 87)).astype(np.float32)
    noise = np.zeros((5, 12), dtype=np.float32)
    whole = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    part = onnxruntime.InferenceSession(reduced, providers=["CPUExecutionProvider"])
    expected = whole.run(["action", "command"], {"observation": observation, "noise": noise})
    for ours, theirs in zip(part.run(None, {"observation": observation}), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "content",
    [b"\xff", b"\x08", b"\x0a\x05abc", b"\x0d\x00", b"\x0b", b"\x80" * 20],
    ids=["endless tag", "no value", "short text", "short number", "group", "endless number"],
)
def test_bytes_that_are_no_message_are_refused(content):
    with pytest.raises(ValueError, match="byte"):
        list(fields(content))


def test_a_key_that_occurs_twice_is_refused(policy_file):
    model, _ = split_metadata(policy_file.read_bytes())
    twice = with_metadata(with_metadata(model, {"a": "1"}), {"a": "2"})
    with pytest.raises(ValueError, match="'a' occurs twice"):
        split_metadata(twice)


def test_long_lengths_are_encoded_as_protobuf_does():
    for length in (0, 1, 127, 128, 300, 70_000):
        (field,) = fields(encode(3, b"x" * length))
        assert (field.number, len(field.value)) == (3, length)
