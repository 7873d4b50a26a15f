"""Whether a policy fits a robot and the observations it will be given."""

from __future__ import annotations

from policies.contract import Contract
from robot_rl.errors import PolicyError, RobotRLError
from robot_rl.observation import ObservationLayout, build_layout
from robot_rl.spec import RobotSpec


def check_robot(contract: Contract, robot: RobotSpec) -> None:
    """Refuses a robot on which the policy would mean something else.

    Compares what matters for running: joints and their order, home, limits, gains, rate, action map, observation. How
    the robot is simulated may differ.

    Raises:
        PolicyError: names the first difference, with both values.
    """
    trained = contract.robot
    whose, here = f"made for robot {trained.name!r}, not for {robot.name!r}", f"on robot {robot.name!r}"
    theirs, ours = contract.joint_names, robot.joint_names
    if set(theirs) != set(ours):
        odd = next((f"{n!r} of the policy is not on the robot" for n in theirs if n not in ours), None)
        odd = odd or next(f"{n!r} of the robot is not in the policy" for n in ours if n not in theirs)
        raise PolicyError(f"{whose}: joint {odd}; the policy's {len(theirs)} joints: {', '.join(theirs)}")
    if theirs != ours:
        at = next(i for i, (a, b) in enumerate(zip(theirs, ours, strict=True)) if a != b)
        raise PolicyError(f"the joint order differs: joint {at} is {theirs[at]!r} in the policy, {ours[at]!r} {here}")
    if trained.control_rate != robot.control_rate:
        raise PolicyError(
            f"control_rate is {trained.control_rate!r} Hz in the policy, {robot.control_rate!r} Hz {here}"
        )
    for index, joint in enumerate(trained.joints):
        for field, unit in _JOINT_UNITS.items():
            given, expected = float(getattr(robot, field)[index]), getattr(joint, field)
            if given != expected:
                raise PolicyError(
                    f"{field} of {joint.name!r} is {expected!r} {unit} in the policy, {given!r} {unit} {here}"
                )
    _check_action(contract, robot)
    _check_observation(contract, robot)
    _check_camera(contract, robot)


def check_layout(trained: ObservationLayout, given: ObservationLayout) -> None:
    """Refuses observations of another meaning.

    What the layout says about typical values may differ: the policy normalises with its own.

    Raises:
        PolicyError: names the first entry that differs.
    """
    for index, (wanted, got) in enumerate(zip(trained.labels, given.labels, strict=False)):
        if wanted != got:
            raise PolicyError(f"another observation layout: entry {index} is {wanted} for the policy, {got} here")
    if trained.size != given.size:
        longer = trained if trained.size > given.size else given
        extra = longer.labels[min(trained.size, given.size)]
        raise PolicyError(
            f"another observation layout: the policy takes {trained.size} numbers, here are {given.size}; "
            f"first one without a partner: {extra}"
        )
    for ours, theirs in zip(trained.entries, given.entries, strict=True):
        if ours.unit != theirs.unit:
            raise PolicyError(
                f"another observation layout: {ours.name} is in {ours.unit} for the policy, in {theirs.unit} here"
            )


_JOINT_UNITS = {
    "home": "rad",
    "lower": "rad",
    "upper": "rad",
    "velocity_limit": "rad/s",
    "effort_limit": "N m",
    "kp": "N m/rad",
    "kd": "N m s/rad",
}


def _check_action(contract: Contract, robot: RobotSpec) -> None:
    trained, given, here = contract.action, robot.action, f"on robot {robot.name!r}"
    if trained.coordinates != given.coordinates:
        raise PolicyError(
            f"the action's components are {', '.join(trained.coordinates)} in the policy, "
            f"{', '.join(given.coordinates)} {here}"
        )
    for column, name in enumerate(trained.coordinates):
        ours, theirs = trained.scale[column], float(given.scale[column])
        if ours != theirs:
            raise PolicyError(f"the action scale of {name!r} is {ours!r} in the policy, {theirs!r} {here}")
        for row, joint in enumerate(contract.joint_names):
            ours, theirs = trained.mixing[row][column], float(given.mixing[row, column])
            if ours != theirs:
                raise PolicyError(
                    f"the action mixing of {name!r} into {joint!r} is {ours!r} in the policy, {theirs!r} {here}"
                )


def _check_camera(contract: Contract, robot: RobotSpec) -> None:
    trained, here = contract.camera, robot.camera
    if trained is None:
        return
    if here is None:
        raise PolicyError(f"the policy looks at a camera, and robot {robot.name!r} has none")
    for name in ("height", "width", "position", "look_at", "field_of_view"):
        if getattr(trained, name) != getattr(here, name):
            raise PolicyError(
                f"the camera's {name} is {getattr(trained, name)!r} in the policy, {getattr(here, name)!r} on robot "
                f"{robot.name!r}"
            )


def _check_observation(contract: Contract, robot: RobotSpec) -> None:
    layout = contract.observation
    try:
        here = build_layout(robot, contract.task.goal_labels, layout.current, layout.history, layout.length)
    except RobotRLError as error:
        raise PolicyError(f"the policy cannot observe robot {robot.name!r}: {error}") from error
    check_layout(layout, here)
