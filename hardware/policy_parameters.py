"""The parameters of the policy node: those read at configure, and goals, knobs and policy, which may change later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node
from rclpy.parameter import Parameter

from hardware import guard
from hardware.goals import VELOCITIES, Goals
from hardware.knobs import KNOBS, Knobs
from hardware.policy_loop import LoopSettings, PolicyLoop
from policies.composed_runtime import WEIGHT_RATE, AnyPolicy, load_policy
from policies.seeing_runtime import SeeingPolicy
from robot_rl.errors import ConfigurationError, InvalidInput, PolicyError, RobotRLError
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import load_robot

PARAMETERS: Mapping[str, tuple[Any, str]] = {
    "policy": ("", "policy file; set while active, another one takes over between two ticks"),
    "robot": ("", "built-in robot or YAML file"),
    "autostart": (False, "configure and activate at the start"),
    "lock_step": (False, "the other side is a simulator that waits for each command"),
    "through_guard": (False, "send commands through the guard node"),
    "settle_time": (LoopSettings.settle_time, "s of standing at rest before the policy takes over"),
    "blend_time": (LoopSettings.blend_time, "s in which the policy's commands grow from rest to full size"),
    "weight_rate": (WEIGHT_RATE, "1/s, by which a weight of a composed policy changes at most"),
    "cmd_vel_timeout": (0.5, "s for which a velocity command counts"),
    "estop_button": (1, "index of the joystick button that stops; -1 for none"),
    "priority": (0, "of the control thread under SCHED_FIFO; 0 for none"),
    "lock_memory": (False, "keep the process in memory"),
    "pause_collector": (False, "let Python's garbage collector rest while active"),
    "record": ("", "new folder for a bag of the robot's topics and of what the policy sees and does"),
}
"""Default and meaning of each; goals come beside them as `goal.NAME` once a policy is loaded, and for a composed policy
`weights` and `temperature`."""

_GOAL = "goal."


class PolicyParameters:
    """Declares and reads them, and takes what is set, in the thread of the node.

    Attributes:
        loop: what a change is for, while configured; before, anything may be set, and is checked at configure.
        goals: of that loop, declared as `goal.NAME`.
        knobs: of its policy; declared where it is a composed one.
    """

    def __init__(self, node: Node, parameters: Mapping[str, tuple[Any, str]]) -> None:
        """Declares what is there from the start.

        Args:
            node: that has the parameters.
            parameters: default and meaning, by name.
        """
        self.loop: PolicyLoop | None = None
        self.goals: Goals | None = None
        self.knobs: Knobs | None = None
        self._node = node
        for name, (default, meaning) in parameters.items():
            limits = [IntegerRange(from_value=0, to_value=99)] if name == "priority" else []
            node.declare_parameter(name, default, ParameterDescriptor(description=meaning, integer_range=limits))
        node.add_on_set_parameters_callback(self._take)

    # -- what is read at configure ------------------------------------------------------------------------------------

    def value(self, name: str) -> Any:
        """What a parameter is set to."""
        return self._node.get_parameter(name).value

    def robot_spec(self) -> RobotSpec:
        """Of the robot that is named, as commands reach it."""
        if not self.value("robot") or not self.value("policy"):
            raise ConfigurationError("the policy node needs the parameters 'policy' and 'robot'")
        spec = load_robot(self.value("robot"))
        if self.value("through_guard"):
            spec = replace(spec, ros=replace(spec.ros, command_topic=guard.COMMANDS))
        return spec

    def policy(self, spec: RobotSpec) -> AnyPolicy:
        """The policy that is named, checked against the robot."""
        return _load(self.value("policy"), spec)

    # -- what a policy brings -----------------------------------------------------------------------------------------

    def declare_goals(self, goals: Goals) -> None:
        """Declares each part of the goal, and takes the values that were given for it."""
        for name, label, middle in zip(goals.names, goals.labels, goals.now(0.0).values.tolist(), strict=True):
            # The range is a text: another policy may bring another range, and our own refusal says more.
            saw = "training saw {:g} to {:g}".format(*goals.ranges[label]) if label in goals.ranges else ""
            self._declare(f"{_GOAL}{name}", middle, f"goal: {label}", saw)
            goals.set(name, self.value(f"{_GOAL}{name}"))

    def declare_knobs(self, knobs: Knobs) -> None:
        """Declares the knobs of a composed policy, and takes the values that were given for them."""
        self.knobs = knobs
        if not knobs.composed:
            return
        meanings = {
            "weights": f"of the skills {', '.join(knobs.skills)}: >= 0, sum 1",
            "temperature": "of the composed policy, reward units per nat; moves the action only with --refine",
        }
        for name in KNOBS:
            self._declare(name, knobs.now(name), meanings[name])
            knobs.begin(name, self.value(name))

    def forget(self) -> None:
        """Takes back what the policy brought."""
        goals: Iterable[str] = self.goals.names if self.goals else ()
        for name in (*(f"{_GOAL}{name}" for name in goals), *KNOBS):
            if self._node.has_parameter(name):
                self._node.undeclare_parameter(name)
        self.loop = self.goals = self.knobs = None

    def _declare(self, name: str, default: Any, meaning: str, constraints: str = "") -> None:
        descriptor = ParameterDescriptor(description=meaning, additional_constraints=constraints)
        try:
            self._node.declare_parameter(name, default, descriptor)
        except InvalidParameterTypeException as error:
            raise ConfigurationError(str(error)) from error

    # -- what is set --------------------------------------------------------------------------------------------------

    def _take(self, parameters: list[Parameter]) -> SetParametersResult:
        """Takes all of them or none: whatever may be refused is refused before anything changes."""
        goals, loop, knobs = self.goals, self.loop, self.knobs
        if goals is None or loop is None or knobs is None:
            return SetParametersResult(successful=True)  # before configure: everything is read there
        given = {parameter.name: parameter.value for parameter in parameters}
        try:
            policy = self._checked(given, goals, loop, knobs)
        except RobotRLError as error:
            return SetParametersResult(successful=False, reason=" ".join(str(error).split()))
        if policy is not None:
            runner = knobs.follow(policy, given["policy"])
            goals.retrain(policy.contract.task.goal_ranges)
            loop.swap(runner)
            self._node.get_logger().info(f"policy {policy.contract.name} from {given['policy']} takes over")
        for name, value in given.items():
            if name.startswith(_GOAL):
                goals.set(name.removeprefix(_GOAL), value)
            elif name in KNOBS:
                knobs.set(name, value)
        return SetParametersResult(successful=True)

    def _checked(self, given: Mapping[str, Any], goals: Goals, loop: PolicyLoop, knobs: Knobs) -> AnyPolicy | None:
        """The policy that shall take over, if one shall; raises where one of the values, or the policy, does not fit.

        Loaded here, in the thread of parameters, so that a bad file is refused while the old policy goes on.
        """
        for name in given:
            if not name.startswith(_GOAL) and name not in (*KNOBS, "policy"):
                raise ConfigurationError(f"parameter {name!r} is read at configure; clean the node up first")
        policy, allowed = None, goals
        if "policy" in given:
            path = given["policy"]
            policy = _load(path, loop.robot.spec)
            knobs.check(policy, path)
            allowed = self._allowed(policy, path, goals, given)
        for name, value in given.items():
            if name.startswith(_GOAL):
                allowed.checked(name.removeprefix(_GOAL), value)
            elif name in KNOBS:
                knobs.checked(name, value)
        return policy

    def _allowed(self, policy: AnyPolicy, path: str, goals: Goals, given: Mapping[str, Any]) -> Goals:
        """What goals another policy may have; refuses one that never saw the goal it would take over."""
        labels = policy.contract.task.goal_labels
        if labels != goals.labels:
            raise PolicyError(
                f"{path}: its goal is ({', '.join(labels)}), the one that runs has ({', '.join(goals.labels)})"
            )
        allowed = Goals(labels, policy.contract.task.goal_ranges, 0.0)
        for label, name in zip(labels, goals.names, strict=True):
            # A velocity command is brought to what the other policy saw, so nothing is wrong with it.
            ruled = goals.steered and label in VELOCITIES
            if f"{_GOAL}{name}" not in given and not ruled:
                try:
                    allowed.checked(name, self.value(f"{_GOAL}{name}"))
                except InvalidInput as error:
                    raise PolicyError(f"{path}: the goal in force does not fit: {error}; set both together") from error
        return allowed


def _load(path: str, spec: RobotSpec) -> AnyPolicy:
    if not Path(path).is_file():
        raise ConfigurationError(f"there is no policy file at {path}")
    policy = load_policy(path, robot=spec)
    if isinstance(policy, SeeingPolicy):
        raise ConfigurationError(
            f"{path} looks at a camera, and over ROS no pictures are read; a program of your own can run it with "
            "policies.seeing_runtime.SeeingRunner"
        )
    return policy
