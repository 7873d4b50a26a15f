"""What stops a policy node that runs its policy, and what it takes to go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool

from robot_rl.errors import RobotFault
from tests.hardware.policy_nodes import DEPLOY, damped, deployment, go, stand, told, walking


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
