"""Transitions of a recording are those of the very task that was recorded: its settings, observation, strides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from hardware import policy_topics
from hardware.bag import Bag
from hardware.bag_replay import transitions
from hardware.bag_writer import BagWriter
from hardware.policy_topics import PolicyMessages, about_task
from hardware.recorded_env import RecordedEnv
from hardware.recorder import Recorder
from hardware.ros_robot import RosRobot
from hardware.topic_tap import TopicTap
from policies.composed_runtime import load_policy
from policies.contract import read_policy, seal
from policies.runtime import PolicyRunner
from robot_rl.cli import main
from robot_rl.commands.policy_files import shipped_policies
from robot_rl.make import make_env, make_task
from robot_rl.safety import SafetySupervisor
from robot_rl.spec_file import load_robot
from robot_rl.tasks.walk import WalkSettings

SHIPPED = shipped_policies()["go2-walk"]
OLD = ("task_settings", "observation_settings", "blend_time")
"""What a bag did not say of its task in former times."""


def file_of(
    bag: Path, folder: Path, capsys: Any, *more: str
) -> tuple[Mapping[str, Any], str, Mapping[str, np.ndarray]]:
    """What the command reports, what it says besides, and the transitions that it writes."""
    capsys.readouterr()
    assert main(["transitions", str(bag), "--out", str(folder / "x.npz"), "--json", *more]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err, dict(np.load(folder / "x.npz"))


def older(source: Path, folder: Path, **other: Any) -> Path:
    """The bag as it was recorded when markers did not tell the task's settings; or with something else in them."""
    bag = Bag(source)
    writer, policy = BagWriter(folder, bag.types, {}), PolicyMessages(bag.types)
    for path in bag.files:
        writer.begin(path.stem)
        for record in bag.records(files=[path]):
            content = record.content
            if record.topic.endswith(policy_topics.EPISODE):
                about = policy.read_episode(content)
                kept = {name: value for name, value in about.items() if name not in OLD}
                content = policy.of_episode({**kept, **(other if about["event"] == "begin" else {})})[1]
            writer.write(record.topic, record.kind, record.time, content)
        writer.finish()
    return folder


# A recorder that does not get to run in time loses messages.
@pytest.mark.alone
def test_a_deployment_is_paid_as_it_reported(lock_step_network: Any, tmp_path: Path, capsys: Any) -> None:
    model, contract = read_policy(SHIPPED)
    settings = {**contract.task.settings, "pursue": "forward"}  # paid otherwise than by default
    policy, bag = tmp_path / "policy.onnx", tmp_path / "bag"
    policy.write_bytes(seal(model, replace(contract, task=replace(contract.task, settings=settings))))
    lock_step_network.operator.trigger("twin/clear")
    assert lock_step_network.operator.trigger("twin/reset").success
    deploy = ("-m", "robot_rl.cli", "deploy", str(policy), "--robot", "go2", "--lock-step", "--settle-time", "0.1")
    program = lock_step_network.start(*deploy, "--seconds", "2", "--yes", "--json", "--record", str(bag))
    assert program.wait() == 0, program.output
    report = json.loads(program.output[program.output.index("{") : program.output.rindex("}") + 1])
    reported = pytest.approx(report["figures"]["return"], abs=1e-3)

    said, err, content = file_of(bag, tmp_path, capsys)
    assert said["return_per_episode"] == [reported]
    assert said["observation_error"] < 1e-5
    assert said["command_error"] < 1e-4
    assert said["blended"] == 14  # ticks of 0.02 s before 0.3 s are over
    assert (said["warnings"], content["reward"].shape) == ([], (report["ticks"],))

    # Nothing in an older bag tells the settings; a policy file does.
    old = older(bag, tmp_path / "old")
    said, err, _ = file_of(old, tmp_path, capsys)
    assert said["return_per_episode"] != [reported]
    assert "does not say the settings of task 'walk'" in err
    assert "--policy FILE" in err
    assert "the recorded commands differ by up to" in err  # its strides are the settings' too
    said, err, _ = file_of(old, tmp_path, capsys, "--policy", str(policy))
    assert said["return_per_episode"] == [reported]
    assert (said["warnings"], said["blended"]) == ([], 14)


@pytest.fixture(scope="module")
def long_memory(lock_step_twin: RosRobot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag of an environment that observes three ticks and pays for the forward velocity alone."""
    folder = tmp_path_factory.mktemp("run") / "bag"
    settings = {"pursue": "forward", "forward": [0.3, 0.9], "start_noise": 0.1}
    task = make_task("walk", lock_step_twin.spec, settings, {"history": 3})
    recorder = Recorder(
        folder, task.spec, task="walk", observation_labels=task.layout.labels, goal_labels=task.goal_labels
    )
    assert TopicTap(lock_step_twin.node, recorder, task.spec).wait_ready(20.0)
    env = RecordedEnv(make_env(lock_step_twin, task, time_limit=0.8), recorder)
    env.reset(seed=1)
    rewards, rng = [], np.random.default_rng(1)
    for _ in range(40):
        rewards.append(env.step(np.clip(rng.normal(scale=0.1, size=12), -1.0, 1.0))[1])
    recorder.close()
    np.save(folder.parent / "reward.npy", rewards)
    return folder


def test_an_environment_is_recorded_with_its_settings(long_memory: Path, tmp_path: Path, capsys: Any) -> None:
    said, err, content = file_of(long_memory, tmp_path, capsys)
    recorded = _observations(long_memory)
    assert content["observation"].shape == recorded.shape
    assert np.abs(content["observation"] - recorded).max() < 1e-5
    assert np.abs(content["reward"] - np.load(long_memory.parent / "reward.npy")).max() < 1e-6
    assert said["command_error"] < 1e-9
    assert (said["blended"], err) == (0, "")


def _observations(path: Path) -> np.ndarray:
    bag = Bag(path)
    policy = PolicyMessages(bag.types)
    return np.array([policy.read_array(record.content)[0] for record in bag.records(["/policy/observation"])])


def test_observations_of_other_settings_are_told(long_memory: Path, tmp_path: Path, capsys: Any) -> None:
    said, err, content = file_of(older(long_memory, tmp_path / "old"), tmp_path, capsys)
    assert content["observation"].shape[1] == make_task("walk", "go2").layout.size
    assert "the recorded observations have other entries (132 numbers, not 90)" in err
    assert said["warnings"] == err.splitlines()
    # Another task is what was asked for.
    _, err, _ = file_of(long_memory, tmp_path, capsys, "--task", "stand")
    assert err == ""


def test_what_a_bag_says_of_its_task_may_be_of_another_version(long_memory: Path, tmp_path: Path, capsys: Any) -> None:
    newer = older(long_memory, tmp_path / "newer", task_settings={"swagger": 1.0})
    assert main(["transitions", str(newer), "--out", str(tmp_path / "x.npz")]) == 2
    said = capsys.readouterr().err
    assert "swagger" in said
    assert "give --policy FILE" in said
    damaged = older(long_memory, tmp_path / "damaged", task_settings=3)
    assert main(["transitions", str(damaged), "--out", str(tmp_path / "x.npz")]) == 2
    assert "'task_settings' of the marker of a beginning" in capsys.readouterr().err


def test_task_and_policy_exclude_each_other(long_memory: Path, tmp_path: Path, capsys: Any) -> None:
    command = ["transitions", str(long_memory), "--out", str(tmp_path / "x.npz")]
    assert main([*command, "--task", "walk", "--policy", "go2-walk"]) == 2
    assert "--policy" in capsys.readouterr().err
    assert main([*command, "--policy", "minitaur-walk"]) == 2
    assert "was made for robot 'minitaur', not for 'go2'" in capsys.readouterr().err


def test_recordings_of_topics_alone_have_no_transitions(tmp_path: Path, capsys: Any) -> None:
    recorder = Recorder(tmp_path / "bag", load_robot("go2"))
    recorder.begin_part()
    recorder.close()
    assert main(["transitions", str(tmp_path / "bag"), "--out", str(tmp_path / "x.npz")]) == 2
    said = capsys.readouterr().err
    assert "no episodes of a policy" in said
    assert "robot-rl deploy POLICY --record FOLDER" in said
    assert "--task" not in said


def test_strides_go_on_where_the_cadence_changes(lock_step_twin: RosRobot, tmp_path: Path) -> None:
    robot, policy = lock_step_twin, load_policy(SHIPPED)
    contract = policy.contract
    task = make_task("walk", robot.spec, contract.task.settings, contract.observation_settings)
    recorder = Recorder(
        tmp_path / "bag", robot.spec, task="walk",
        observation_labels=task.layout.labels, goal_labels=task.goal_labels,
    )  # fmt: skip
    assert TopicTap(robot.node, recorder, robot.spec).wait_ready(20.0)
    runner = PolicyRunner(policy)
    make_env(robot, task).reset(seed=0)
    state, applied, supervisor = robot.begin(), robot.spec.home, SafetySupervisor(robot.spec)
    runner.reset(np.array([0.6, 0.0, 0.0, 2.0]))
    recorder.begin_episode(runner.goal, applied, blend_time=0.0, **about_task(task))
    for tick in range(30):
        if tick == 15:
            runner.goal = np.array([0.6, 0.0, 0.0, 1.5])
        applied, _ = supervisor.limit(runner.step(state).position, applied)
        recorder.policy(runner.observation, runner.action, applied, runner.goal, robot.robot_time)
        robot.send(applied)
        state = robot.next_state()
    recorder.end_episode("done", robot.robot_time)
    recorder.close()
    found, report = transitions([Bag(tmp_path / "bag")], task)
    assert len(found) == 30 - task.layout.length
    assert report.observation_error < 1e-4
    assert report.command_error < 1e-4


def test_a_task_says_its_settings_in_a_marker() -> None:
    task = make_task("walk", "go2", {"pursue": "forward"}, {"history": 3})
    about = json.loads(json.dumps(about_task(task)))
    assert about["task_settings"]["pursue"] == "forward"
    again = make_task("walk", "go2", about["task_settings"], about["observation_settings"])
    assert again.layout == task.layout
    assert again.settings == task.settings
    assert isinstance(again.settings, WalkSettings)
    assert about_task(make_task("stand", "go2"))["task_settings"] == {}
