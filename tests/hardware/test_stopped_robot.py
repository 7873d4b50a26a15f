"""What a stopped robot is sent whose own side takes no stop: motors that follow commands, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray

from hardware import messages
from hardware.goals import Goals
from hardware.policy_loop import LoopSettings, PolicyLoop
from hardware.robot_side import RobotSide
from hardware.ros_robot import RosRobot
from hardware.session import RosSession
from hardware.supervision import Supervision
from policies.composed_runtime import load_policy, new_runner
from robot_rl.commands.policy_files import shipped_policies
from robot_rl.errors import RobotTimeout
from robot_rl.spec import RobotSpec

POLICY = str(shipped_policies()["go2-walk"])
AWAY = 0.3
"""rad by which the joints are away from home, so that a program that wants them there shows by what it sends."""


class BareMotors:
    """Go2's topics without anything on the robot's side that could be told to stop."""

    def __init__(self, spec: RobotSpec) -> None:
        """Args: spec: the robot."""
        self.spec, self.position = spec, np.array(spec.home) + AWAY
        self.tells = {"joint_states", "imu", "odom"}
        """Topics that are alive."""
        self.ahead = 0.0
        """s by which its clock has been set."""
        self.commands: list[np.ndarray] = []
        self._session = RosSession("motors")
        node = self._session.node
        kinds = {"joint_states": JointState, "imu": Imu, "odom": Odometry}
        self._publishers = {name: node.create_publisher(kind, name, 1) for name, kind in kinds.items()}
        node.create_subscription(
            Float64MultiArray, "commands", lambda message: self.commands.append(np.array(message.data)), 10
        )
        self._session.start()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell)
        self._thread.start()

    def _tell(self) -> None:
        rng, nothing = np.random.default_rng(0), np.zeros(self.spec.joints)
        while not self._ended.wait(0.01):
            now = time.monotonic() + self.ahead
            odometry, imu = Odometry(), Imu()
            odometry.header.stamp = imu.header.stamp = messages.stamp_of(now)
            odometry.pose.pose.position.z, odometry.pose.pose.orientation.w = 0.3, 1.0
            imu.orientation.w = 1.0
            imu.angular_velocity.x = float(rng.normal(0.0, 0.01))  # it never rests
            joints = messages.write_joints(now, self.spec.joint_names, self.position, nothing, nothing)
            for name, message in (("joint_states", joints), ("imu", imu), ("odom", odometry)):
                if name in self.tells:
                    self._publishers[name].publish(message)

    def heard(self, seconds: float) -> list[np.ndarray]:
        """What is commanded from now on, for a while."""
        self.commands.clear()
        time.sleep(seconds)
        return list(self.commands)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._session.close()


@contextmanager
def robot_of(spec: RobotSpec) -> Iterator[tuple[BareMotors, RosRobot]]:
    motors = BareMotors(spec)
    session = RosSession("commander")
    try:
        yield motors, RosRobot(spec, None, session)
    finally:
        session.close()
        motors.close()


@contextmanager
def loop_on(spec: RobotSpec, until: Callable[..., None]) -> Iterator[tuple[BareMotors, PolicyLoop]]:
    """A loop that has brought the joints to rest, as far as it can tell them to, and keeps them there."""
    with robot_of(spec) as (motors, robot):
        side = RobotSide(robot.node)
        runner = new_runner(load_policy(POLICY))
        supervision = Supervision(spec, lambda *_: None)
        loop = PolicyLoop(robot, runner, Goals((), {}, 0.5), supervision, side, LoopSettings(settle_time=100.0))
        loop.start()
        try:
            until(lambda: np.abs(robot._applied - spec.home).max() < 1e-6, "it does not ramp to rest")
            until(lambda: motors.commands, "nothing is commanded")
            yield motors, loop
        finally:
            loop.end()


@pytest.fixture
def spec_of(robot_spec: Callable[..., RobotSpec], removed: object) -> Callable[..., RobotSpec]:
    def spec(control_rate: float = 50.0, **ros: Any) -> RobotSpec:
        changes = {f"ros.{name}": value for name, value in ros.items()}
        return robot_spec("go2", {"control_rate": control_rate, "sensors.contacts": removed, **changes})

    return spec


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["effort", pytest.param("velocity", marks=pytest.mark.long)])
def test_without_a_readable_state_nothing_is_sent_though_joints_are_heard(
    kind: str, spec_of: Callable[..., RobotSpec], domain: int, until: Callable[..., None]
) -> None:
    with loop_on(spec_of(command=kind, state_timeout=0.5), until) as (motors, loop):
        motors.tells.remove("imu")
        until(lambda: loop.phase == "stopped", "it goes on")
        assert "imu" in loop.supervision.stopped
        time.sleep(0.1)
        assert motors.heard(0.5) == []


def step_in_vain(robot: RosRobot) -> None:
    with pytest.raises(RobotTimeout):
        robot.next_state()


@pytest.mark.alone
@pytest.mark.parametrize("end", [RosRobot.stop, pytest.param(step_in_vain, marks=pytest.mark.long)])
def test_robot_that_cannot_be_read_is_let_go(
    end: Callable[[RosRobot], None], spec_of: Callable[..., RobotSpec], domain: int, until: Callable[..., None]
) -> None:
    with robot_of(spec_of(command="effort", state_timeout=0.5)) as (motors, robot):
        robot.send(robot.spec.home)
        until(lambda: motors.commands, "nothing is commanded")
        robot.stop()
        time.sleep(0.1)
        held = motors.heard(0.3)
        assert len(held) > 5
        assert np.abs(held).max() < 1e-6  # where it is
        motors.tells.remove("imu")
        time.sleep(1.0)
        end(robot)
        time.sleep(0.1)
        assert motors.heard(0.3) == []


@pytest.mark.alone
def test_a_stop_does_not_wait_for_the_next_tick_of_a_robot_that_follows_efforts(
    spec_of: Callable[..., RobotSpec], domain: int, until: Callable[..., None]
) -> None:
    with loop_on(spec_of(control_rate=1.0, command="effort"), until) as (motors, loop):
        assert np.abs(motors.commands[-1]).max() > 10.0
        loop.stop("emergency_stop", "a person")
        time.sleep(0.1)  # what was on its way
        held = motors.heard(0.5)
        assert len(held) > 5
        assert np.abs(held).max() < 1e-6  # where it is


@pytest.mark.alone
@pytest.mark.parametrize("command_timeout", [5.0, 0.5])
def test_after_a_silence_joints_are_held_where_they_are_then_or_not_at_all(
    command_timeout: float, spec_of: Callable[..., RobotSpec], domain: int, until: Callable[..., None]
) -> None:
    spec = spec_of(state_timeout=0.5, command_timeout=command_timeout)
    with loop_on(spec, until) as (motors, loop):
        loop.stop("emergency_stop", "a person")
        until(lambda: np.abs(motors.commands[-1] - motors.position).max() < 1e-6, "it is not held")
        alive, motors.tells = motors.tells, set()
        until(lambda: motors.heard(0.2) == [], "it is commanded though nothing is known of it")
        time.sleep(1.0)
        motors.position = motors.position - 0.5  # sunk, by its own watchdog
        motors.tells = alive
        time.sleep(0.3)
        held = motors.heard(0.5)
        if command_timeout < 1.0:  # its own side stopped it, and has to be told before it is moved again
            assert held == []
        else:
            assert held[0] == pytest.approx(np.clip(motors.position, spec.lower, spec.upper))
            assert np.ptp(held, axis=0).max() == 0.0


@pytest.mark.alone
@pytest.mark.parametrize("step", [3.0, pytest.param(-3.0, marks=pytest.mark.long)])
def test_robot_whose_clock_is_set_stops_and_may_be_started_again(
    step: float, spec_of: Callable[..., RobotSpec], domain: int, until: Callable[..., None]
) -> None:
    with loop_on(spec_of(state_timeout=0.5), until) as (motors, loop):
        motors.ahead = step
        until(lambda: loop.phase == "stopped", "it goes on")
        loop.robot.receiver.wait_new(10.0)
        assert "last refused" in loop.supervision.stopped
        assert motors.heard(0.3) == []  # the stop stays
        loop.supervision.reset()
        loop.start()
        until(lambda: motors.commands, "it is not commanded again")
        assert loop.phase == "ramp in"
