"""The policy node and `robot-rl deploy` against the twin in another process; it waits for commands: time is exact."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.srv import ChangeState, GetState

from policies.contract import read_contract
from robot_rl.commands.evaluate import policy_task
from robot_rl.commands.policy_files import shipped_policies
from robot_rl.errors import PolicyError
from robot_rl.spec_file import load_robot
from tests.hardware.policy_nodes import DEPLOY, POLICY, deployment, go, stand, walking


def test_deployed_policy_walks_as_fast_as_it_is_told(lock_step_network: Any) -> None:
    stand(lock_step_network.operator)
    program = lock_step_network.start(*DEPLOY, "--seconds", "4", "--yes", "--json")
    assert program.wait() == 0, program.output
    report = json.loads(program.output[program.output.index("{") : program.output.rindex("}") + 1])
    assert report["seconds"] == pytest.approx(4.0)
    assert report["ticks"] == 200
    assert report["figures"]["forward_velocity"] == pytest.approx(0.6, rel=0.15)  # it starts at 0
    assert report["figures"]["distance"] == pytest.approx(0.6 * 4, rel=0.15)
    assert report["timing_s"]["period"]["p50"] > 0
    assert report["simulated"] is True
    assert report["stopped"] == ""


# A recorder that does not get to run in time loses messages. In CI tests/hardware/test_recorded_tasks.py has the like.
@pytest.mark.alone
@pytest.mark.long
def test_a_recorded_deployment_becomes_transitions(lock_step_network: Any, tmp_path: Path) -> None:
    pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")
    from hardware.bag import Bag
    from hardware.bag_replay import transitions

    stand(lock_step_network.operator)
    bag = tmp_path / "bag"
    program = lock_step_network.start(*DEPLOY, "--seconds", "2", "--yes", "--json", "--record", str(bag))
    assert program.wait() == 0, program.output
    assert "recording" not in program.output  # nothing was lost
    (episode,) = Bag(bag).episodes()
    assert (episode.about["policy"], episode.about["task"]) == ("go2-walk", "walk")
    found, report = transitions([Bag(bag)], policy_task(read_contract(Path(POLICY)), load_robot("go2")))
    # The last tick's answer comes when the episode is over.
    assert 99 - report.left_out <= len(found.action) <= 100
    assert report.left_out < 10
    assert report.observation_error < 1e-5

    program = lock_step_network.start(*DEPLOY, "--seconds", "2", "--yes", "--record", str(bag))
    assert program.wait() == 2
    assert f"{bag}" in program.output.splitlines()[-1]


def test_policy_for_another_robot_is_refused(lock_step_network: Any) -> None:
    program = lock_step_network.start(
        "-m", "robot_rl.cli", "deploy", "dclaw-turn_valve", "--robot", "go2", "--yes", "--lock-step"
    )
    assert program.wait() == 4
    assert "made for robot 'dclaw', not for 'go2'" in program.output


def test_without_a_terminal_nothing_moves_unasked(lock_step_network: Any) -> None:
    program = lock_step_network.start(*DEPLOY)
    assert program.wait() == 2
    assert "agree with --yes" in program.output


@pytest.mark.alone
def test_robot_that_is_not_there_ends_within_ten_seconds(
    start: Callable[..., Any], robot_file: Callable[..., str]
) -> None:
    path = robot_file("go2", ros={"connect_timeout": 1.0})
    program = start("-m", "robot_rl.cli", "deploy", POLICY, "--robot", path, "--yes")
    program.wait_for("looking for the robot")
    began = time.monotonic()
    assert program.wait() == 3
    assert time.monotonic() - began < 10.0
    assert re.search(r"robot-rl: robot 'go2' did not answer within 1 s: .*no topics seen at all", program.output)


def test_a_twin_that_waits_for_commands_is_told_from_a_deaf_one(
    lock_step_network: Any, robot_file: Callable[..., str]
) -> None:
    path = robot_file("go2", ros={"connect_timeout": 3.0})
    program = lock_step_network.start("-m", "robot_rl.cli", "deploy", POLICY, "--robot", path, "--yes")
    assert program.wait() == 3
    line = program.wait_for("^robot-rl: ")
    assert line.count("repeats the stamp") == 1
    assert line.count("--lock-step") == 1


def test_second_policy_node_is_refused_and_the_first_goes_on(
    lock_step_network: Any, until: Callable[..., None]
) -> None:
    with walking(lock_step_network, until) as first:
        program = lock_step_network.start(*DEPLOY, "--yes")
        assert program.wait() == 3
        assert "is commanded already: node 'policy_io' publishes /commands" in program.output
        ticks = first.node.loop.ticks
        until(lambda: first.node.loop.ticks > ticks + 5, "the first one does not go on")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly_at_any_moment(number: int, lock_step_network: Any) -> None:
    stand(lock_step_network.operator)
    for moment in ("looking for the robot", "configured", "command_step"):
        program = lock_step_network.start(*DEPLOY, "--yes")
        program.wait_for(moment)
        assert program.end(number) == 130, program.output
        assert "Traceback" not in program.output


def test_lifecycle_is_driven_over_services_and_survives_wrong_wishes(
    lock_step_network: Any, until: Callable[..., None]
) -> None:
    operator = lock_step_network.operator
    stand(operator)
    values = {"policy": POLICY, "robot": "go2", "lock_step": "true", "settle_time": "0.1"}
    flags = [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]
    program = lock_step_network.start("-m", "hardware.policy_node", "--ros-args", *flags)

    def state() -> str:
        answer = operator.call(GetState, "policy/get_state", GetState.Request(), tries=9)
        return answer.current_state.label

    def change(name: str, then: str) -> None:
        request = _transition({"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}[name])
        with suppress(AssertionError):  # an answer may be lost; the state tells
            operator.call(ChangeState, "policy/change_state", request, timeout=8.0)
        until(lambda: state() == then, f"not {then} after {name}")

    assert state() == "unconfigured"
    change("configure", then="inactive")
    change("activate", then="active")
    # To a transition that does not exist here rclpy gives no answer; the node must live on.
    operator.send(ChangeState, "policy/change_state", _transition(1))
    change("deactivate", then="inactive")
    change("cleanup", then="unconfigured")
    change("configure", then="inactive")
    assert program.end(signal.SIGINT) == 0, program.output
    assert "a callback failed" in program.output


def test_a_parameter_of_the_wrong_type_at_the_start_is_an_error_of_one_line(start: Callable[..., Any]) -> None:
    program = start("-m", "hardware.policy_node", "--ros-args", "-p", "settle_time:=1")
    assert program.wait() == 2, program.output
    assert "policy node: Trying to set parameter 'settle_time' to '1' of type 'INTEGER'" in program.output
    assert "Traceback" not in program.output


def _transition(number: int) -> ChangeState.Request:
    request = ChangeState.Request()
    request.transition.id = number
    return request


def test_policy_of_the_wrong_robot_leaves_the_node_unconfigured(lock_step_network: Any) -> None:
    with deployment(policy=str(shipped_policies()["dclaw-turn_valve"])) as node:
        with pytest.raises(PolicyError, match="made for robot 'dclaw'"):
            go(node, "configure")
        assert node.node.label == "unconfigured"
