"""Recordings, read with the MCAP project's own reader and decoder."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from robot_rl.cli import main
from robot_rl.errors import ConfigurationError
from robot_rl.spec_file import load_robot

mcap_reader = pytest.importorskip("mcap.reader", reason="mcap is not installed (extra 'dev')")
mcap_ros2 = pytest.importorskip("mcap_ros2.decoder", reason="mcap-ros2-support is not installed (extra 'dev')")
pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from hardware import recorder_process  # noqa: E402
from hardware.bag import Bag  # noqa: E402
from hardware.bag_writer import BagWriter  # noqa: E402
from hardware.message_types import MessageTypes  # noqa: E402
from hardware.recorder import Recorder  # noqa: E402
from hardware.recorder_process import RecorderProcess  # noqa: E402

DCLAW = load_robot("dclaw")
TEXT = "std_msgs/msg/String"


def text(types: MessageTypes, content: str) -> bytes:
    return types.to_bytes(types.make(TEXT, data=content), TEXT)


def read(path: Path) -> list[tuple[str, int, Any]]:
    """Topic, log time in ns, and decoded message of everything in an MCAP file."""
    with path.open("rb") as file:
        reader = mcap_reader.make_reader(file, decoder_factories=[mcap_ros2.DecoderFactory()])
        return [(channel.topic, message.log_time, decoded) for _, channel, message, decoded in
                reader.iter_decoded_messages()]  # fmt: skip


def of(topic: str, found: list[tuple[str, int, Any]]) -> list[Any]:
    return [message for name, _, message in found if name == topic]


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path / "bag", DCLAW)
    yield recorder
    recorder.close()


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_policy_inputs_and_outputs_read_back_exactly(kind: str, tmp_path: Path) -> None:
    labels: dict[str, Any] = {"observation_labels": ["a", "b"], "goal_labels": ["angle rad"]}
    recorder: Recorder | RecorderProcess
    if kind == "thread":
        recorder = Recorder(tmp_path / "bag", DCLAW, task="turn_valve", **labels)
    else:
        recorder = RecorderProcess(tmp_path / "bag", DCLAW, task="turn_valve", topics=False, **labels)
    rng = np.random.default_rng(0)
    goal = np.array([1.5])
    ticks = [
        (rng.normal(size=2).astype(np.float32), rng.uniform(-1, 1, 9), rng.normal(size=9), goal, 10 + 0.1 * k)
        for k in range(20)
    ]
    recorder.begin_episode(goal, DCLAW.home, weather="dry")
    for tick in ticks:
        recorder.policy(*tick)
    recorder.end_episode("time limit", 12.0)
    recorder.close()
    assert (recorder.fault, recorder.lost) == ("", 0)
    found = read(tmp_path / "bag" / "episode_00001.mcap")
    for column, topic in enumerate(("observation", "action", "command", "goal")):
        got = of(f"/policy/{topic}", found)
        assert len(got) == 20
        for message, tick in zip(got, ticks, strict=True):
            values = message.position if topic == "command" else message.data
            assert np.array_equal(values, tick[column])
            stamp = message.header.stamp if topic == "command" else None
            told = stamp.sec + 1e-9 * stamp.nanosec if stamp else float(message.layout.dim[0].label)
            assert told == pytest.approx(tick[4], abs=1e-9)
    assert of("/policy/command", found)[0].name == list(DCLAW.joint_names)
    begin, end = (json.loads(message.data) for message in of("/policy/episode", found))
    assert (begin["robot"], begin["task"], begin["goal"], begin["weather"]) == ("dclaw", "turn_valve", [1.5], "dry")
    assert (end["event"], end["reason"], end["stamp"]) == ("end", "time limit", 12.0)


def test_the_file_is_marked_as_ros_2_with_its_definitions(recorder: Recorder, tmp_path: Path) -> None:
    recorder.begin_episode()
    recorder.close()
    with (tmp_path / "bag" / "episode_00001.mcap").open("rb") as file:
        reader = mcap_reader.make_reader(file)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
    (schema,), (channel,) = summary.schemas.values(), summary.channels.values()
    assert (schema.name, schema.encoding, channel.message_encoding) == (TEXT, "ros2msg", "cdr")
    assert b"string data" in schema.data


def test_a_bag_of_several_files_says_so_as_rosbag2_does(recorder: Recorder, tmp_path: Path) -> None:
    from rosbags.rosbag2 import Reader

    for _ in range(3):
        recorder.begin_episode()
        recorder.end_episode()
    recorder.close()
    head = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert head["relative_file_paths"] == [f"episode_0000{k}.mcap" for k in (1, 2, 3)]
    assert head["custom_data"]["robot"] == "dclaw"
    assert sorted(path.name for path in (tmp_path / "bag").iterdir()) == [*head["relative_file_paths"], "metadata.yaml"]
    with Reader(tmp_path / "bag") as reader:
        assert reader.message_count == 6
        assert sum(1 for _ in reader.messages()) == 6


def test_what_came_just_before_an_episode_belongs_to_it(recorder: Recorder, tmp_path: Path) -> None:
    recorder.message("/latched", TEXT, text(recorder.types, "old"))
    time.sleep(1.1)
    recorder.message("/state", TEXT, text(recorder.types, "a second before"))
    time.sleep(0.05)
    recorder.begin_episode()
    recorder.end_episode()
    recorder.message("/state", TEXT, text(recorder.types, "just after"))
    recorder.close()
    found = read(tmp_path / "bag" / "episode_00001.mcap")
    assert [m.data for m in of("/latched", found)] == ["old"]
    assert [m.data for m in of("/state", found)] == ["a second before", "just after"]


def test_messages_that_two_files_share_are_read_once(recorder: Recorder, tmp_path: Path) -> None:
    recorder.begin_episode()
    recorder.message("/state", TEXT, text(recorder.types, "end of the first"))
    recorder.begin_episode()
    recorder.close()
    assert [len(of("/state", read(tmp_path / "bag" / f"episode_0000{k}.mcap"))) for k in (1, 2)] == [1, 1]
    bag = Bag(tmp_path / "bag")
    assert sum(1 for _ in bag.records(["/state"])) == 1
    assert {topic.name: topic.count for topic in bag.summary()}["/state"] == 1


def test_a_clock_that_is_set_back_between_two_files_hides_nothing(tmp_path: Path) -> None:
    types = MessageTypes()
    writer = BagWriter(tmp_path / "bag", types, {})
    second = 1_000_000_000
    for name, begin in (("episode_00001", 100), ("episode_00002", 50), ("episode_00003", 51)):
        writer.begin(name)
        for number in range(5):
            # The last file begins with what the one before it ended with.
            writer.write("/state", TEXT, (begin + number) * second, text(types, str(begin + number)))
        writer.finish()
    bag = Bag(tmp_path / "bag")
    assert [record.time // second for record in bag.records()] == [*range(100, 105), *range(50, 55), 55]
    (summary,) = bag.summary()
    assert (summary.count, summary.gaps) == (11, 0)
    assert summary.longest_gap == pytest.approx(1.0)


def test_memory_is_bounded_and_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "bag", DCLAW, memory=100_000)
    recorder.begin_episode()
    content = text(recorder.types, "x" * 1000)
    for _ in range(2000):
        recorder.message("/flood", TEXT, content)
    recorder.close()
    written = len(of("/flood", read(tmp_path / "bag" / "episode_00001.mcap")))
    assert recorder.lost > 0
    assert written >= 100_000 // len(content)
    assert written + recorder.lost == 2000
    _, end = (json.loads(m.data) for m in of("/policy/episode", read(tmp_path / "bag" / "episode_00001.mcap")))
    assert end["lost"] == recorder.lost


@pytest.mark.alone
def test_recording_a_tick_takes_next_to_no_time(recorder: Recorder) -> None:
    observation, nine = np.zeros(200, dtype=np.float32), np.zeros(9)
    recorder.begin_episode()
    taken = []
    for _ in range(300):
        began = time.perf_counter()
        recorder.policy(observation, nine, nine, nine[:1], 0.0)
        taken.append(time.perf_counter() - began)
        time.sleep(0.001)
    assert np.median(taken) < 0.0005


def test_a_recording_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "note.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="is not empty; a recording never overwrites another"):
        Recorder(tmp_path / "bag", DCLAW)


EPISODES = """
import sys, time
import numpy as np
from hardware.recorder import Recorder
from robot_rl.spec_file import load_robot
spec = load_robot("dclaw")
recorder = Recorder(sys.argv[1], spec)
def episode(ticks):
    recorder.begin_episode()
    for _ in range(ticks):
        recorder.policy(np.zeros(50), np.zeros(9), spec.home, np.zeros(1), 0.0)
"""


PROCESS = """
from hardware.recorder_process import RecorderProcess
recorder = RecorderProcess(sys.argv[1], spec, topics=False)"""


def test_a_kill_costs_the_episode_in_hand_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], until: Callable[..., None]
) -> None:
    script, folder = EPISODES + "episode(10); episode(20); episode(30); time.sleep(60)", tmp_path / "bag"
    with subprocess.Popen([sys.executable, "-c", script, folder]) as process:
        # One file is begun when the one before it is complete.
        until(lambda: list(folder.rglob("episode_00003.mcap")), "the third episode is not begun")
        process.send_signal(signal.SIGKILL)
    bag = Bag(folder)
    assert [episode.ticks for episode in bag.episodes()] == [10, 20]
    assert [path.name for path in bag.unfinished] == ["episode_00003.mcap"]
    assert main(["info", str(tmp_path / "bag")]) == 0
    assert "episode_00003.mcap: cut off while recording" in capsys.readouterr().out


def test_a_recorder_in_its_own_process_survives_the_program(tmp_path: Path) -> None:
    script = EPISODES.replace("recorder = Recorder(sys.argv[1], spec)", PROCESS)
    script += "episode(10); episode(20)\nprint('ready', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script, tmp_path / "bag"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    bag = tmp_path / "bag"
    deadline = time.monotonic() + 20.0
    while len(list(bag.glob("*.mcap"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [episode.ticks for episode in Bag(bag).episodes()] == [10, 20]


def test_a_recorder_process_that_dies_does_not_take_the_program_along(tmp_path: Path) -> None:
    recorder = RecorderProcess(tmp_path / "bag", DCLAW, topics=False)
    recorder.begin_episode()
    recorder._process.kill()
    recorder._process.wait()
    for _ in range(3):
        recorder.policy(np.zeros(2), np.zeros(9), DCLAW.home, np.zeros(1))
    recorder.end_episode()
    recorder.close()
    assert "the recorder's process is gone" in recorder.fault
    assert recorder.lost >= 3


def test_an_episode_that_a_recorder_process_takes_to_its_grave_is_told(tmp_path: Path) -> None:
    recorder = RecorderProcess(tmp_path / "bag", DCLAW, topics=False)
    recorder._process.send_signal(signal.SIGSTOP)  # what it is told now, it never reads
    recorder.begin_episode()
    recorder.end_episode()
    recorder._process.kill()
    recorder.close()
    assert "the recorder's process was ended by signal 9 before its files were complete" in recorder.fault
    assert str(tmp_path / "bag") in recorder.fault


def test_a_recorder_process_that_does_not_complete_its_files_in_time_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = RecorderProcess(tmp_path / "bag", DCLAW, topics=False)
    recorder.begin_episode()
    recorder._process.send_signal(signal.SIGSTOP)  # as a disk would that hangs
    recorder.end_episode()
    monkeypatch.setattr(recorder_process, "_END", 0.3)
    recorder.close()
    assert "the recorder's process did not complete its files within 0.3 s" in recorder.fault


def test_what_ends_a_recorder_process_unforeseen_is_told(tmp_path: Path) -> None:
    recorder = RecorderProcess(tmp_path / "bag", DCLAW, topics=False)
    recorder.begin_episode()
    recorder.policy(np.zeros(2), np.zeros(9), DCLAW.home, np.zeros(1), stamp=1e12)  # no ROS stamp can be that late
    recorder.end_episode()
    recorder.close()
    assert "the recorder's process ended with exit code 1 before its files were complete" in recorder.fault
    assert "error: 'i' format requires" in recorder.fault


def test_a_recording_that_is_complete_has_no_fault(tmp_path: Path) -> None:
    recorder = RecorderProcess(tmp_path / "bag", DCLAW, topics=False)
    recorder.begin_episode()
    recorder.close()
    recorder.close()
    assert (recorder.fault, recorder.lost) == ("", 0)
    assert len(Bag(tmp_path / "bag").episodes()) == 1


def test_a_recorder_process_refuses_what_a_recorder_refuses(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="is not empty; a recording never overwrites another"):
        RecorderProcess(tmp_path, DCLAW, topics=False)


def test_a_full_disk_costs_the_episode_in_hand_only(tmp_path: Path) -> None:
    # The kernel refuses to write beyond this size, as it would on a full disk.
    script = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))" + EPISODES
    script += "episode(10); episode(3000)\nwhile not recorder.fault: time.sleep(0.02)\n"
    script += "episode(30); recorder.close(); print(recorder.fault)"
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "bag"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "could not write" in done.stdout
    bag = Bag(tmp_path / "bag")
    assert [(episode.about["number"], episode.ticks) for episode in bag.episodes()] == [(1, 10), (3, 30)]
    assert not bag.unfinished


def test_info_tells_rates_and_gaps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    types = MessageTypes()
    writer = BagWriter(tmp_path / "bag", types, {})
    second = 10**9
    writer.begin("part_00001")
    for k in range(301):
        if not 100 < k < 150:  # a pause of half a second
            writer.write("/hundred", TEXT, 1_700_000_000 * second + k * second // 100, text(types, str(k)))
    writer.write("/once", TEXT, 1_700_000_000 * second, text(types, ""))
    writer.finish()
    assert main(["info", str(tmp_path / "bag"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    hundred, once = found["topics"]
    assert (hundred["count"], hundred["gaps"], once["count"]) == (252, 1, 1)
    assert hundred["rate"] == pytest.approx(251 / 3.0)
    assert hundred["longest_gap"] == pytest.approx(0.5)
    assert found["duration"] == pytest.approx(3.0)
    assert once["rate"] is None


def test_a_bag_is_read_without_ros(recorder: Recorder, tmp_path: Path) -> None:
    recorder.begin_episode()
    recorder.close()
    script = "import sys; from hardware.bag import Bag; print(len(Bag(sys.argv[1]).episodes()), 'rclpy' in sys.modules)"
    command = [sys.executable, "-c", script, tmp_path / "bag"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["1", "False"]


def test_a_robots_own_message_types_are_found_where_they_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "share" / "leg_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Leg.msg").write_text("std_msgs/Header header\nMotor[3] motors\n")
    (folder / "Motor.msg").write_text("float32 q\nfloat32 tau\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    types = MessageTypes()
    definition, digest = types.definition("leg_msgs/msg/Leg")
    assert "float32 tau" in definition
    assert digest.startswith("RIHS01_")
    with pytest.raises(ConfigurationError, match="message type leg_msgs/msg/Arm is not installed here"):
        types.definition("leg_msgs/msg/Arm")


# -- over DDS ----------------------------------------------------------------------------------------------------------


def test_record_writes_the_bytes_that_went_over_the_wire(
    start: Callable[..., Any], tmp_path: Path, domain: int
) -> None:
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray

    from hardware.session import RosSession

    process = start("-m", "robot_rl.cli", "record", "dclaw", "--out", str(tmp_path / "bag"), "--part", "1")
    session = RosSession("robot")
    joints = session.node.create_publisher(JointState, "joint_states", 10)
    commands = session.node.create_publisher(Float64MultiArray, "commands", 10)
    session.start()
    try:
        process.wait_for("recording dclaw")
        deadline = time.monotonic() + 20.0
        while (joints.get_subscription_count() < 1 or commands.get_subscription_count() < 1) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.05)
        rng = np.random.default_rng(1)
        sent = rng.normal(size=(100, 9))
        for row in sent:
            message = JointState(name=list(DCLAW.joint_names), position=array("d", row), velocity=array("d", row))
            message.header.frame_id = "odd"  # a length that makes the wire pad
            joints.publish(message)
            commands.publish(Float64MultiArray(data=array("d", -row)))
            time.sleep(0.015)
        time.sleep(0.5)
    finally:
        session.close()
    assert process.end(signal.SIGTERM) == 0
    files = sorted((tmp_path / "bag").glob("*.mcap"))
    assert len(files) >= 2
    found = [message for path in files for message in read(path)]
    assert np.array_equal([message.position for message in of("/joint_states", found)], sent)
    assert np.array_equal([message.data for message in of("/commands", found)], -sent)


@pytest.mark.alone
def test_record_follows_a_twin_in_its_namespace(
    twin: Callable[..., Any], start: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin("go2", "--namespace", "left")
    flags = ("--namespace", "left", "--seconds", "3", "--out", str(tmp_path / "bag"))
    process = start("-m", "robot_rl.cli", "record", "go2", *flags)
    assert process.wait() == 0
    assert "nobody published: /left/commands" in process.output
    assert main(["info", str(tmp_path / "bag"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    counts = {topic["name"]: topic["count"] for topic in found["topics"]}
    assert found["robot"] == "go2"
    assert {"/left/joint_states", "/left/imu", "/left/odom", "/left/contacts/FL_foot"} <= set(counts)
    assert counts["/left/joint_states"] > 50
    joints = of("/left/joint_states", [m for path in (tmp_path / "bag").glob("*.mcap") for m in read(path)])
    stamps = [message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec for message in joints]
    assert (np.diff(stamps) > 0).all()


def test_nothing_to_record_is_an_error(start: Callable[..., Any], tmp_path: Path) -> None:
    process = start("-m", "robot_rl.cli", "record", "go2", "--seconds", "1", "--out", str(tmp_path / "bag"))
    assert process.wait() == 3
    assert "nothing to record: robot 'go2' was not there; no topics seen" in process.output
