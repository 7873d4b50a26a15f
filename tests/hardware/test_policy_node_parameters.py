"""What may be changed while a policy runs: the policy itself, its goal and the weights of its skills."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import Twist
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from std_msgs.msg import Float64MultiArray

from policies.contract import seal, unseal
from robot_rl.errors import InvalidInput
from tests.hardware.policy_nodes import POLICY, deployment, go, walking


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
