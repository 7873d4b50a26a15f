"""Transitions computed from a bag against those of the same run, recorded as they happened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from hardware.bag import Bag
from hardware.bag_replay import transitions
from hardware.bag_writer import BagWriter
from hardware.recorded_env import RecordedEnv
from hardware.recorder import Recorder
from hardware.recorder_process import RecorderProcess
from hardware.ros_robot import RosRobot
from hardware.topic_tap import TopicTap
from robot_rl.cli import main
from robot_rl.errors import ConfigurationError
from robot_rl.make import make_env, make_task
from robot_rl.spec_file import load_robot
from robot_rl.task import Task
from robot_rl.tasks.walk import Walk

TICKS = 40
SECONDS = TICKS / 50.0


class Run(NamedTuple):
    """What one run gave, and the bag of it."""

    bag: Path
    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_observation: np.ndarray
    terminated: np.ndarray
    episode: np.ndarray


LEANING = np.array([1.0, 1, -1, 1, -1, 1, 1, 1, -1, 1, -1, 1])
"""Left legs short, right legs long, hips to one side."""


def careful_walk() -> Task:
    """Walk, for a supervisor that stops Go2 before it leans by half a radian."""
    spec = load_robot("go2")
    spec = replace(spec, safety=replace(spec.safety, tilt_limit=0.4))
    return make_task("walk", spec, {"start_noise": 0.1, "forward": [0.3, 0.9]})


@pytest.fixture(scope="module")
def run(lock_step_twin: RosRobot, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two quiet episodes to the time limit and one that is stopped, in one bag with the robot's topics."""
    folder = tmp_path_factory.mktemp("run") / "bag"
    env = make_env(lock_step_twin, careful_walk(), time_limit=SECONDS)
    recorder = Recorder(
        folder,
        lock_step_twin.spec,
        task="walk",
        policy="noise",
        observation_labels=env.observation_layout.labels,
        goal_labels=env.task.goal_labels,
    )
    assert TopicTap(lock_step_twin.node, recorder, lock_step_twin.spec).wait_ready(20.0)
    rows = _episodes(RecordedEnv(env, recorder), 3)
    recorder.close()
    assert not recorder.fault
    return Run(folder, *(np.array(column) for column in zip(*rows, strict=True)))


def _episodes(recorded: RecordedEnv, count: int) -> list[tuple[Any, ...]]:
    """Observation, action, reward, next observation, terminated, episode of each tick; the third one leans over."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        observation, _ = recorded.reset(seed=number)
        ended = False
        while not ended:
            action = np.clip(rng.normal(scale=0.1, size=12), -1.0, 1.0)
            if number == 2:
                action = LEANING
            after, reward, terminated, truncated, _ = recorded.step(action)
            rows.append((observation, action, reward, after, terminated, number))
            observation, ended = after, terminated or truncated
    return rows


def test_transitions_are_those_of_the_run(run: Run) -> None:
    found, report = transitions([Bag(run.bag)], careful_walk())
    assert np.array_equal(found.episode, run.episode)
    assert np.array_equal(found.terminated, run.terminated)
    assert run.terminated[-1]  # the last episode is one that was stopped
    assert np.array_equal(found.action, run.action)
    assert np.abs(found.observation - run.observation).max() < 1e-5
    assert np.abs(found.next_observation - run.next_observation).max() < 1e-5
    assert np.abs(found.reward - run.reward).max() < 1e-6
    assert (report.episodes, report.left_out) == (3, 0)
    assert report.observation_error < 1e-5
    assert report.command_error < 1e-12
    assert not found.late.any()


@pytest.mark.alone  # of best-effort topics, which lose messages where four tests want two cores
def test_a_recorder_in_its_own_process_sees_the_same(lock_step_twin: RosRobot, tmp_path: Path) -> None:
    task = careful_walk()
    env = make_env(lock_step_twin, task, time_limit=SECONDS)
    labels = {"observation_labels": env.observation_layout.labels, "goal_labels": task.goal_labels}
    recorder = RecorderProcess(tmp_path / "bag", lock_step_twin.spec, task="walk", **labels)
    observation, action, reward, after, _, _ = zip(*_episodes(RecordedEnv(env, recorder), 2), strict=True)
    recorder.close()
    assert (recorder.fault, recorder.lost) == ("", 0)
    found, report = transitions([Bag(tmp_path / "bag")], task)
    assert (report.episodes, report.ticks, report.left_out) == (2, 2 * TICKS, 0)
    assert np.array_equal(found.action, action)
    assert np.abs(found.observation - observation).max() < 1e-5
    assert np.abs(found.next_observation - after).max() < 1e-5
    assert np.abs(found.reward - reward).max() < 1e-6


def test_the_command_line_writes_what_a_replay_takes(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from robot_rl.training.replay import Replay

    out = tmp_path / "walk.npz"
    assert main(["transitions", str(run.bag), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["task"], said["robot"], said["transitions"]) == ("walk", "go2", len(run.reward))
    content = np.load(out)
    replay = Replay(1000, run.observation.shape[1], 12)
    names = ("observation", "action", "reward", "next_observation", "terminated")
    replay.add(*(content[name] for name in names))
    assert len(replay) == len(run.reward)
    returns = [run.reward[run.episode == k].sum() for k in range(3)]
    assert said["return_per_episode"] == pytest.approx(returns, abs=1e-4)


def test_info_lists_the_episodes(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(run.bag), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [episode["ended"] for episode in found["episodes"]] == ["time limit", "time limit", "terminated"]
    assert [episode["ticks"] for episode in found["episodes"]] == [int((run.episode == k).sum()) for k in range(3)]
    assert (found["robot"], found["task"], found["policy"], found["lost"]) == ("go2", "walk", "noise", 0)
    assert main(["info", str(run.bag)]) == 0
    assert "terminated" in capsys.readouterr().out


def test_another_task_learns_from_the_same_bag(run: Run) -> None:
    task = make_task("stand", "go2")
    found, report = transitions([Bag(run.bag)], task)
    assert found.observation.shape == (len(run.reward), task.layout.size)
    assert np.isnan(report.observation_error)  # its observations are others
    # Standing pays at most 1 a tick, and less while it leans over.
    quiet, leaning = (found.reward[found.episode == k].mean() for k in (0, 2))
    assert leaning < quiet <= 1.0


def _copy(source: Path, folder: Path, leave_out: Any) -> Path:
    """The bag without some of its records."""
    bag = Bag(source)
    writer = BagWriter(folder, bag.types, {})
    for path in bag.files:
        writer.begin(path.stem)
        for record in bag.records(files=[path]):
            if not leave_out(record, bag):
                writer.write(record.topic, record.kind, record.time, record.content)
        writer.finish()
    return folder


def test_a_lost_state_costs_the_ticks_whose_observation_it_is_part_of(run: Run, tmp_path: Path) -> None:
    task = make_task("walk", "go2")
    lost = 20  # of the first episode
    stamps, counts = _stamps_of_first_episode(run)

    def leave_out(record: Any, bag: Bag) -> bool:
        if record.topic != "/joint_states":
            return False
        stamp = bag.types.from_bytes(record.content, record.kind).header.stamp
        return abs(stamp.sec + 1e-9 * stamp.nanosec - stamps[lost]) < 1e-6

    found, report = transitions([Bag(_copy(run.bag, tmp_path / "copy", leave_out))], task)
    first = found.stamp[found.episode == 0]
    missing = sorted(set(range(counts)) - {round(stamp * 50.0) for stamp in first})
    # Two need the state itself; walk sees two ticks, so the one after is not whole until the second good state.
    assert missing == [lost - 1, lost, lost + 1, lost + 2]
    assert report.left_out == 4
    assert report.observation_error < 1e-5


def _stamps_of_first_episode(run: Run) -> tuple[list[float], int]:
    bag = Bag(run.bag)
    stamps = [
        float(bag.types.from_bytes(record.content, record.kind).layout.dim[0].label)
        for record in bag.records(["/policy/action"], files=bag.files[:1])
    ]
    return stamps, int((run.episode == 0).sum())


def test_policy_and_topics_may_lie_in_two_bags(run: Run, tmp_path: Path) -> None:
    of_policy = _copy(run.bag, tmp_path / "policy", lambda record, bag: not record.topic.startswith("/policy/"))
    of_robot = _copy(run.bag, tmp_path / "robot", lambda record, bag: record.topic.startswith("/policy/"))
    task = make_task("walk", "go2")
    joined, _ = transitions([Bag(of_policy), Bag(of_robot)], task)
    whole, _ = transitions([Bag(run.bag)], task)
    assert np.array_equal(joined.observation, whole.observation)
    assert np.array_equal(joined.reward, whole.reward)


def test_goals_of_another_kind_have_to_be_given(run: Run) -> None:
    class Backwards(Walk):
        goal_labels = ("backward m/s", "left m/s", "turn rad/s", "cadence Hz")

    task = Backwards(load_robot("go2"))
    with pytest.raises(ConfigurationError, match=r"the recorded goals, forward m/s, .*, are not those of task 'walk'"):
        transitions([Bag(run.bag)], task)
    found, _ = transitions([Bag(run.bag)], task, np.array([0.5, 0.0, 0.0, 2.0]))
    assert (found.observation[:, 0] == 0.5).all()


def test_another_robot_is_refused(run: Run) -> None:
    with pytest.raises(ConfigurationError, match="was recorded with robot 'go2', not 'minitaur'"):
        transitions([Bag(run.bag)], make_task("walk", "minitaur"))


def test_a_bag_without_episodes_is_refused(tmp_path: Path) -> None:
    spec = load_robot("go2")
    recorder = Recorder(tmp_path / "bag", spec)
    recorder.begin_part()
    recorder.close()
    with pytest.raises(ConfigurationError, match=r"no episodes in .*bag: nothing to replay"):
        transitions([Bag(tmp_path / "bag")], make_task("walk", spec))
