"""Bags that were cut off or damaged: every one of them is an error of ours that names it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robot_rl.cli import main
from robot_rl.errors import ConfigurationError, StorageError
from robot_rl.spec_file import load_robot

pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from hardware.bag import Bag
from hardware.bag_joints import joint_logs
from hardware.bag_timing import bag_timing
from hardware.bag_writer import BagWriter
from hardware.message_types import MessageTypes
from hardware.policy_topics import ARRAY, TEXT, PolicyMessages
from hardware.recorder import Recorder

DCLAW = load_robot("dclaw")


def text(types: MessageTypes, content: str) -> bytes:
    return types.to_bytes(types.make(TEXT, data=content), TEXT)


def test_a_damaged_bag_is_an_error_of_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    types = MessageTypes()
    writer = BagWriter(tmp_path / "bag", types, {})
    writer.begin("part_00001")
    writer.write("/a", TEXT, 1, text(types, "x" * 1000))
    writer.finish()
    path = tmp_path / "bag" / "part_00001.mcap"
    path.write_bytes(path.read_bytes()[:500])
    assert main(["info", str(path)]) == 2
    assert "part_00001.mcap" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("topic", "content", "said"),
    [
        ("episode", lambda types: text(types, "{"), "Expecting property name"),
        ("episode", lambda types: text(types, "[]"), "is no object with an 'event'"),
        ("episode", lambda types: text(types, '{"event": "begin", "robot": ""}'), "lacks 'number', 'robot_digest'"),
        ("episode", lambda types: text(types, "x" * 50)[:20], "std_msgs/msg/String"),
        ("action", lambda types: PolicyMessages(types)._array(np.zeros(9), 1.0)[:30], "std_msgs/msg/Float64MultiArray"),
        ("action", lambda types: PolicyMessages(types)._array(np.zeros(9), 1.0).replace(b"1.0", b"!.0"), "'!.0"),
    ],
    ids=["no JSON", "no object", "keys", "text cut", "array cut", "stamp"],
)
def test_a_damaged_message_is_told_with_the_bag_it_is_in(
    topic: str, content: Callable[[MessageTypes], bytes], said: str, tmp_path: Path
) -> None:
    types = MessageTypes()
    policy = PolicyMessages(types)
    about = {"event": "begin", "number": 1, "robot": "dclaw", "robot_digest": "", "namespace": ""}
    writer = BagWriter(tmp_path / "bag", types, {})
    writer.begin("episode_00001")
    writer.write("/policy/episode", TEXT, 1, policy.of_episode(about)[1])
    kind = TEXT if topic == "episode" else ARRAY
    writer.write(f"/policy/{topic}", kind, 2, content(types))
    writer.finish()
    with pytest.raises(StorageError, match=re.escape(said)) as raised:
        bag_timing(Bag(tmp_path / "bag"))
    assert str(tmp_path / "bag") in str(raised.value)


def test_whatever_bit_of_a_bag_is_turned_only_our_own_errors_come(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "bag", DCLAW)
    recorder.begin_episode()
    recorder.policy(np.zeros(2), np.zeros(9), DCLAW.home, np.zeros(1), 5.0)
    recorder.end_episode()
    recorder.close()
    (path,) = (tmp_path / "bag").glob("*.mcap")
    whole, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    messages = whole.index(b'{"event"')  # what comes before are definitions
    for place in rng.integers(messages, min(messages + 2000, len(whole)), 60):
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            bag = Bag(path)
            bag.summary()
            joint_logs(bag, DCLAW)
            bag_timing(bag)
        except (StorageError, ConfigurationError) as error:
            refused += isinstance(error, StorageError)
    assert refused > 4
