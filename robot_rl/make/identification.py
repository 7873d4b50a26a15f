"""Moving a robot to learn what it is made of, and fitting its simulation to what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_rl.make.packages import missing_package
from robot_rl.make.robots import load_randomization, make_robot
from robot_rl.motion_log import MotionLog
from robot_rl.robot import Robot
from robot_rl.ros_spec import RosSettings
from robot_rl.spec import RobotSpec
from robot_rl.training.files import finite

if TYPE_CHECKING:
    from sim.identified import Identification


def excitation(spec: RobotSpec, base: str, seconds: float, amplitude: float | None = None, seed: int = 0) -> Any:
    """Commands that show what a robot is made of, (K, n) rad, one row a control tick; see `sim.excitation`.

    Args:
        spec: the robot.
        base: held or standing.
        seconds: how long.
        amplitude: rad held, ratio standing; the usual by default.
        seed: of the motion.
    """
    from sim import excitation

    kind = {"held": excitation.held_motion, "standing": excitation.standing_motion}[base]
    return kind(spec, seconds, seed=seed, **({} if amplitude is None else {"amplitude": amplitude}))


def excited_robot(
    spec: RobotSpec,
    base: str,
    backend: str = "mujoco",
    randomize: str | Mapping[str, Any] | None = None,
    ros: RosSettings | None = None,
) -> Robot:
    """A robot to be moved for an identification: held, it has no floating base, whichever its file says.

    Args:
        spec: the robot.
        base: held or standing.
        backend: see `make_robot`.
        randomize: how a simulated robot differs from its file; see `load_randomization`.
        ros: see `make_robot`.
    """
    try:
        from sim.mujoco_model import held_spec
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    spec = held_spec(spec) if base == "held" else spec
    return make_robot(spec, backend, ros=ros, randomization=load_randomization(randomize, spec) if randomize else None)


@dataclass(frozen=True)
class IdentifiedRobot:
    """What logs tell of a robot, and the file that training reads."""

    identification: Identification
    terms: Mapping[str, Any]
    yaml: str

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values; null for the numbers of what is not identified."""
        found = self.identification
        names, correlation = found.correlation
        values = {
            "robot": found.robot,
            "seconds": found.seconds,
            "parameters": [{**vars(one), "identified": one.identified} for one in found.found],
            "validation": [vars(one) for one in found.validation],
            "correlation": {"names": list(names), "matrix": correlation.tolist()},
            "randomize": dict(self.terms),
        }
        return {name: finite(value) for name, value in values.items()}


def identify_robot(
    spec: RobotSpec,
    logs: Sequence[MotionLog],
    kinds: Sequence[str] | None = None,
    threads: int = 1,
    fixed: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> IdentifiedRobot:
    """Fits a robot's simulation to logs; see `sim.identification.identify`.

    Args:
        spec: the robot.
        logs: of it.
        kinds: what to identify; all that the logs may show by default.
        threads: simulations at once.
        fixed: whether the file has single numbers instead of distributions.
        progress: told what is done.
    """
    try:
        from sim.identification import identify
        from sim.identified_terms import terms_of, to_yaml
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    found = identify(spec, logs, kinds, threads, progress)
    sources = ", ".join(Path(log.source).name for log in logs)
    return IdentifiedRobot(found, terms_of(found, spec, fixed), to_yaml(found, spec, sources, fixed))
