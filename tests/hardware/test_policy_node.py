"""The policy node and `robot-rl deploy` against the twin in another process; it waits for commands: time is exact."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import Twist
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool, Float64MultiArray

from hardware.deployment import Deployment
from policies.contract import read_contract, seal, unseal
from robot_rl.commands.evaluate import policy_task
from robot_rl.commands.policy_files import shipped_policies
from robot_rl.errors import InvalidInput, PolicyError, RobotFault
from robot_rl.make import make_deployment
from robot_rl.spec_file import load_robot

POLICY = str(shipped_policies()["go2-walk"])
DEPLOY = ("-m", "robot_rl.cli", "deploy", POLICY, "--robot", "go2", "--lock-step", "--settle-time", "0.1")


@contextmanager
def deployment(**parameters: Any) -> Iterator[Deployment]:
    """A policy node in this process, against the twin in its own."""
    given = {"policy": POLICY, "robot": "go2", "lock_step": True, "settle_time": 0.1, **parameters}
    made = make_deployment(given)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def walking(network: Any, until: Callable[..., None], **parameters: Any) -> Iterator[Deployment]:
    """A node that runs its policy on a twin that stood at home."""
    stand(network.operator)
    with deployment(**parameters) as node:
        go(node, "configure", "activate")
        until(lambda: node.node.loop.ticks > 5, "the policy does not run")
        yield node


def stand(operator: Any) -> None:
    operator.trigger("twin/clear")
    assert operator.trigger("twin/reset").success


def go(node: Deployment, *transitions: str) -> None:
    for name in transitions:
        node.transition(name).result()


def damped(operator: Any) -> bool:
    status = operator.motors.get("twin")
    return status is not None and status.hardware_id == "damp" and bool(status.message)


def told(operator: Any) -> list[str]:
    return [status.message for array in operator.diagnostics for status in array.status]


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


def test_a_second_commander_that_comes_later_stops_it(lock_step_network: Any, until: Callable[..., None]) -> None:
    operator = lock_step_network.operator
    with walking(lock_step_network, until) as node:
        second = operator.node.create_publisher(JointState, "/commands", 1)
        try:
            until(lambda: node.node.label == "inactive", "the node goes on")
            assert node.report.stopped == "somebody else commands the robot too: node 'operator'"
            with pytest.raises(RobotFault, match="is stopped: somebody else"):
                go(node, "activate")
        finally:
            operator.node.destroy_publisher(second)
        assert operator.trigger("policy/reset").success
        stand(operator)
        go(node, "activate")
        until(lambda: node.node.loop.ticks > 5, "the policy does not run again")


def _stop_by_service(operator: Any) -> None:
    assert operator.trigger("policy/stop").success


def _stop_by_topic(operator: Any) -> None:
    operator.publish("estop", Bool(data=True))


def _stop_by_button(operator: Any) -> None:
    operator.publish("joy", Joy(buttons=[0, 1, 0]))


STOPS: Mapping[str, tuple[Callable[[Any], None], Callable[[Any], None] | None]] = {
    "service": (_stop_by_service, None),
    "topic": (_stop_by_topic, lambda operator: operator.publish("estop", Bool(data=False))),
    "joystick": (_stop_by_button, lambda operator: operator.publish("joy", Joy(buttons=[0, 0, 0]))),
}


@pytest.mark.parametrize("way", STOPS)
def test_emergency_stop_latches_until_it_is_reset(way: str, lock_step_network: Any, until: Callable[..., None]) -> None:
    operator = lock_step_network.operator
    stop, let_go = STOPS[way]
    with walking(lock_step_network, until) as node:
        stop(operator)
        until(lambda: node.node.label == "inactive", "the node stays active")
        until(lambda: damped(operator), "the motors are not damped")
        assert f"emergency stop: {'service' if way == 'service' else ''}" in node.report.stopped
        with pytest.raises(RobotFault, match="is stopped: emergency stop"):
            go(node, "activate")
        until(lambda: any("emergency stop" in line for line in told(operator)), "no diagnostics of the stop")
        if let_go is not None:
            answer = operator.trigger("policy/reset")
            assert not answer.success
            assert "still stopped by" in answer.message
            let_go(operator)
            until(lambda: operator.trigger("policy/reset").success, "the reset is refused")
        else:
            assert operator.trigger("policy/reset").success
        stand(operator)
        go(node, "activate")
        until(lambda: node.node.loop.ticks > 5, "the policy does not run again")


def test_a_stop_that_is_held_down_is_not_reset_by_the_program_either(
    lock_step_network: Any, until: Callable[..., None]
) -> None:
    operator = lock_step_network.operator
    with walking(lock_step_network, until) as node:
        _stop_by_topic(operator)
        until(lambda: node.node.label == "inactive", "the node stays active")
        with pytest.raises(RobotFault, match="still stopped by: topic estop"):
            node.node.reset()
        until(lambda: damped(operator) and node.node._side.latched, "the robot's side does not stop")
        assert node.node.supervision.reset()  # whoever ends it past the emergency stop gets nowhere
        stand(operator)
        until(lambda: not node.node._side.latched, "the robot's side stays stopped")
        with pytest.raises(RobotFault, match=r"is stopped: topic estop"):
            go(node, "activate")
        _stop_by_topic(operator)
        until(lambda: node.node.supervision.stopped, "what is held down does not stop it again")


def test_a_stop_outlives_a_cleanup(lock_step_network: Any, until: Callable[..., None]) -> None:
    operator = lock_step_network.operator
    with walking(lock_step_network, until) as node:
        _stop_by_topic(operator)
        until(lambda: node.node.label == "inactive" and damped(operator), "it is not stopped")
        go(node, "cleanup")
        stand(operator)  # so the robot's own side does not stop it any more
        go(node, "configure")
        with pytest.raises(RobotFault, match="is stopped: emergency stop: topic estop; call policy/reset"):
            go(node, "activate")
        assert "still stopped by" in operator.trigger("policy/reset").message
        operator.publish("estop", Bool(data=False))
        until(lambda: operator.trigger("policy/reset").success, "the reset is refused")
        go(node, "activate")
        until(lambda: node.node.loop.ticks > 5, "the policy does not run again")


def test_deploy_does_not_reset_a_stop_that_is_held_down(lock_step_network: Any) -> None:
    operator = lock_step_network.operator
    stand(operator)
    button = operator.node.create_publisher(Bool, "estop", 1)
    timer = operator.node.create_timer(0.1, lambda: button.publish(Bool(data=True)))
    try:
        program = lock_step_network.start(*DEPLOY, "--yes", "--seconds", "0.2", "--reset")
        assert program.wait() == 3
        assert "still stopped by: topic estop" in program.output
    finally:
        operator.node.destroy_timer(timer)
        operator.node.destroy_publisher(button)


def test_emergency_stop_while_ramping_in_prevents_the_policy(
    lock_step_network: Any, until: Callable[..., None]
) -> None:
    operator = lock_step_network.operator
    stand(operator)
    with deployment(settle_time=60.0) as node:
        go(node, "configure", "activate")
        assert node.node.loop.phase == "ramp in"
        _stop_by_service(operator)
        until(lambda: node.node.label == "inactive" and damped(operator), "it is not stopped")
        assert node.report.ticks == 0
    stand(operator)


def test_stop_of_the_robots_own_side_stops_the_policy(lock_step_network: Any, until: Callable[..., None]) -> None:
    operator = lock_step_network.operator
    with walking(lock_step_network, until) as node:
        assert operator.trigger("twin/stop").success
        until(lambda: node.node.label == "inactive", "the policy goes on")
        assert "the robot's side stopped: emergency stop" in node.report.stopped
    program = lock_step_network.start(*DEPLOY, "--yes", "--seconds", "0.2")
    assert program.wait() == 3
    assert re.search(r"robot-rl: .* is stopped: emergency stop \(.*side.*\); .*deploy with --reset", program.output)
    assert "policy/reset" not in program.output  # a service that has ended with the command
    program = lock_step_network.start(*DEPLOY, "--yes", "--seconds", "0.2", "--reset")
    assert program.wait() == 0, program.output


def test_another_policy_takes_over_and_a_bad_one_is_refused(
    lock_step_network: Any, until: Callable[..., None], tmp_path: Path
) -> None:
    operator = lock_step_network.operator
    other = tmp_path / "other.onnx"
    shutil.copy(POLICY, other)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(Path(POLICY).read_bytes()[:-100])
    with walking(lock_step_network, until) as node:
        loop = node.node.loop
        runner = loop._runner
        for bad, why in ((damaged, "damaged"), (tmp_path / "none.onnx", "no policy file"), ("dclaw", "no policy file")):
            result = operator.set("policy", policy=str(bad))
            assert not result.successful
            assert why in result.reason
        assert loop._runner is runner
        assert operator.set("policy", policy=str(other)).successful
        ticks = loop.ticks
        until(lambda: loop._runner is not runner and loop.ticks > ticks + 50, "the other one does not take over")
        assert loop.running
        assert loop.robot.timing.ticks >= loop.ticks


def test_parameters_set_together_count_together_or_not_at_all(
    lock_step_network: Any, until: Callable[..., None], tmp_path: Path
) -> None:
    operator = lock_step_network.operator
    model, contract = unseal(Path(POLICY).read_bytes())
    ranges = {**contract.task.goal_ranges, "forward m/s": (0.4, 0.5)}
    slower = tmp_path / "slower.onnx"
    slower.write_bytes(seal(model, replace(contract, task=replace(contract.task, goal_ranges=ranges))))

    def together(**values: Any) -> Any:
        given = [Parameter(name.replace("__", "."), value=value).to_parameter_msg() for name, value in values.items()]
        request = SetParametersAtomically.Request(parameters=given)
        return operator.call(SetParametersAtomically, "policy/set_parameters_atomically", request).result

    with walking(lock_step_network, until) as node:
        loop = node.node.loop
        runner = loop.runner
        for values, why in (
            ({"policy": str(slower), "goal__forward": 9.0}, "9 is outside of what the policy saw: 0.4 to 0.5"),
            ({"policy": str(slower), "goal__forward": 0.5, "record": "bag"}, "'record' is read at configure"),
            ({"goal__forward": 0.6, "policy": str(slower)}, "0.6 is outside of what the policy saw: 0.4 to 0.5"),
            ({"policy": str(slower)}, f"{slower}: the goal in force does not fit: goal forward m/s: 0.6 is outside"),
        ):
            refused = together(**values)
            assert not refused.successful
            assert why in refused.reason
            ticks = loop.ticks
            until(lambda ticks=ticks: loop.ticks > ticks + 2, "the policy does not go on")
            assert loop.runner is runner
            assert node.node.get_parameter("policy").value == POLICY
        assert operator.set("policy", goal__forward=0.6).successful  # still the ranges of the one that runs
        # While a velocity command rules, what is set is not in force, and the command itself is brought to the ranges.
        loop.goals.command_velocity(0.6, 0.0, 0.0, time.monotonic())
        assert together(policy=str(slower)).successful
        until(lambda: loop.runner is not runner, "the other one does not take over")
        assert loop.goals.now(time.monotonic()).values[0] in (0.5, 0.0)  # it has ceased by then on a slow machine
        assert together(policy=POLICY, goal__forward=0.6).successful
        first = contract.task.goal_ranges
        until(lambda: loop.runner.policy.contract.task.goal_ranges == first, "the first is not back")
        runner = loop.runner
        assert together(goal__forward=0.5, policy=str(slower)).successful
        until(lambda: loop.runner is not runner, "the other one does not take over")
        assert loop.goals.now(0.0).values[0] == 0.5


def test_goal_may_be_changed_to_what_training_saw(lock_step_network: Any, until: Callable[..., None]) -> None:
    operator = lock_step_network.operator
    with walking(lock_step_network, until) as node:
        assert not operator.set("policy", goal__forward=5.0).successful
        refused = operator.set("policy", goal__forward=0.3)
        assert not refused.successful
        assert "outside of what the policy saw: 0.6 to 0.6, or 0 to stand" in refused.reason
        assert operator.set("policy", goal__forward=0.0).successful
        until(lambda: node.node.loop.phase == "stand", "it does not stand")
        assert operator.set("policy", goal__forward=0.6).successful
        until(lambda: node.node.loop.phase == "policy", "it does not walk again")


def test_goal_outside_of_training_is_refused_at_the_start(lock_step_network: Any) -> None:
    with deployment(**{"goal.forward": 5.0}) as node, pytest.raises(InvalidInput, match=r"saw: 0\.6 to 0\.6"):
        go(node, "configure")


def test_velocity_commands_rule_while_they_come(
    lock_step_network: Any, until: Callable[..., None], robot_file: Callable[..., str]
) -> None:
    operator = lock_step_network.operator
    # To stop in the middle of a stride and to walk on at once may throw it; that is not what is asked here.
    robot = robot_file("go2", safety={"tilt": "off", "height": "off"})
    command = Twist()
    command.linear.x = 0.9
    with walking(lock_step_network, until, robot=robot, cmd_vel_timeout=1.0) as node:
        loop = node.node.loop

        def stands() -> bool:
            operator.publish("cmd_vel", Twist())  # again and again: the first may come before its way is known
            return loop.phase == "stand"

        until(stands, "it does not stand")
        sent = 0

        def walks() -> bool:
            nonlocal sent
            sent += 1
            operator.publish("cmd_vel", command)
            return loop.phase == "policy"

        until(walks, "it does not walk")
        assert loop._runner.goal[0] == pytest.approx(0.6)  # the most that training saw
        assert 1 <= loop.supervision.counts["cmd_vel"] <= sent
        until(lambda: loop.phase == "stand", "it walks on after the commands have ceased", timeout=10.0)


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


# -- composed policies -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def composed_file(compose: Callable[..., Path]) -> str:
    """Two skills that hardly move: what is tried here is what turns their weights."""
    return str(compose("one", "two"))


def test_weights_are_turned_by_parameter_and_by_topic_at_a_limited_rate(
    lock_step_network: Any, until: Callable[..., None], composed_file: str
) -> None:
    operator = lock_step_network.operator
    given = {"policy": composed_file, "weights": [1.0, 0.0], "weight_rate": 2.0}
    with walking(lock_step_network, until, **given) as node:
        runner = node.node.loop.runner
        seen = [runner.weights]
        node.node.loop.on_tick = lambda _phase: seen.append(runner.weights)
        assert operator.set("policy", weights=[0.25, 0.75]).successful
        until(lambda: runner.weights.tolist() == [0.25, 0.75], "the weights do not follow the parameter")
        operator.publish("policy/weights", Float64MultiArray(data=[0.0, 1.0]))
        until(lambda: runner.weights.tolist() == [0.0, 1.0], "the weights do not follow the topic")
        refused = operator.set("policy", weights=[0.5, 0.6])
        assert not refused.successful
        assert "sum to 1" in refused.reason
        operator.publish("policy/weights", Float64MultiArray(data=[1.0]))
        until(lambda: node.node.supervision.counts.get("weights"), "bad weights on the topic are not told")
        assert runner.weights.tolist() == [0.0, 1.0]
        assert operator.set("policy", temperature=0.5).successful
        assert not operator.set("policy", temperature=0.0).successful
        assert node.node.label == "active"
    steps = np.abs(np.diff(seen, axis=0)).max(axis=1)
    assert 0 < steps.max() <= 2.0 / 50.0 + 1e-9


def test_weights_that_are_none_are_refused_at_configure(
    lock_step_network: Any, until: Callable[..., None], composed_file: str
) -> None:
    with deployment(policy=composed_file, weights=[0.5, 0.4]) as node:
        with pytest.raises(InvalidInput, match="sum to 1"):
            go(node, "configure")
        assert node.node.label == "unconfigured"
