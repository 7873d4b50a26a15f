"""`robot-rl identify`: what logs of a robot's motion tell of it, as a file that training reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robot_rl.commands.bags import is_bag
from robot_rl.commands.flags import Parser, add_json, whole_number
from robot_rl.commands.output import print_json, relative, say, table
from robot_rl.commands.writing import make_ready
from robot_rl.errors import CheckFailed, ConfigurationError
from robot_rl.make import bag_motion_logs, identify_robot, open_bag
from robot_rl.motion_log import BASES, MotionLog, read_motion_log
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import builtin_robots, load_robot
from robot_rl.training.files import replace_file, to_json

_SLACK = 1.02
"""By how much held-out motion may be simulated worse than with the robot's file; below the spread of noise."""
_LOST = 0.05
"""rad beyond the sensor's noise, RMS, from which the simulation does not follow the log at all."""


def run(arguments: Sequence[str]) -> int:
    """Reads, fits, writes and reports; exit code 4 where what was asked for cannot be told, or does not help."""
    values = _parser().parse(arguments)
    if values.out and not values.out.endswith((".yaml", ".yml")):
        raise ConfigurationError(f"--out {values.out}: the name must end in .yaml")
    spec = load_robot(values.robot)
    logs = [log for given in values.logs for log in _read(given, spec, values.base)]
    if values.out:
        make_ready(values.out)
    result = identify_robot(spec, logs, values.parameters, values.threads, values.fixed, say)
    found = result.identification
    written = [relative(path) for path in _write(values.out, result.yaml, result.to_dict())]
    failures = _failures(found, values.parameters)
    if values.json:
        print_json({**result.to_dict(), "files": written, "failures": failures})
    else:
        print(report(found))
        for failure in failures:
            print(f"  does not pass: {failure}")
        if written:
            print(f"  {written[0]}  (train with: robot-rl train TASK --robot {values.robot} --randomize {written[0]})")
        else:
            print(result.yaml, end="")
    return CheckFailed.exit_code if failures else 0


def report(found: Any) -> str:
    """Tables of what was found, of what was not and why, and of motion that nothing was fitted to."""
    head: tuple[str, ...] = ("parameter", "robot file", "found", "95 % interval", "unit", "")
    known = [
        (
            one.name,
            f"{one.nominal:.4g}",
            f"{one.value:.4g}",
            f"{one.low:.4g} to {one.high:.4g}",
            one.unit,
            one.note,
        )
        for one in found.found
        if one.identified
    ]
    origin = f"{found.seconds:.0f} s of motion" if found.seconds else "the stamps of the readings"
    sections = [f"{found.robot}: {len(known)} numbers from {origin}", table([head, *known])]
    unknown = [(one.name, one.reason) for one in found.found if not one.identified]
    if unknown:
        sections += ["Not identified, left as in the robot's file", table([("parameter", "why"), *unknown])]
    rows = [
        (Path(one.source).name, one.sensor, f"{one.before:.4g}", f"{one.after:.4g}", f"{one.noise:.4g}", one.unit)
        for one in found.validation
    ]
    names = ("log", "held-out motion, RMS error", "robot file", "identified", "sensor noise", "unit")
    sections += [table([names, *rows])] if rows else []
    return "\n".join(sections)


def _failures(found: Any, asked: Sequence[str] | None) -> list[str]:
    """What makes the exit code 4."""
    lost = [one for one in found.validation if one.sensor == "joint_position" and one.after > _LOST + one.noise]
    failures = [
        f"the simulation does not follow {Path(one.source).name}, by {one.after:.2g} rad RMS: does the robot walk, or "
        "touch something? Logs are of a robot that is held, or that keeps its feet where they are"
        for one in lost
    ]
    failures += [
        f"{one.name} was asked for and is not identified: {one.reason}"
        for one in found.found
        if asked and not one.identified
    ]
    return failures + [
        f"{one.sensor} of {Path(one.source).name} is simulated worse than with the robot's file: {one.after:.4g} "
        f"instead of {one.before:.4g} {one.unit}"
        for one in found.validation
        if one.after > max(_SLACK * one.before, one.floor)
    ]


def _read(given: str, spec: RobotSpec, base: str | None) -> list[MotionLog]:
    path = Path(given)
    if given.endswith(".npz"):
        return [read_motion_log(path, spec, base)]
    if is_bag(path):
        return bag_motion_logs(open_bag(path), spec, base)
    inside = [*sorted(path.glob("*.npz")), *(folder for folder in sorted(path.glob("*")) if is_bag(folder))]
    if path.is_dir() and inside:
        logs = [log for one in inside for log in _read(str(one), spec, base)]
        return logs
    what = "a folder without bags or NPZ logs" if path.is_dir() else "no bag, run or NPZ log"
    raise ConfigurationError(
        f"{given} is {what}; expected an NPZ file of robot-rl excite, a bag (a folder of MCAP files), or a run's "
        "folder with some of them"
    )


def _write(out: str | None, text: str, result: dict[str, Any]) -> list[Path]:
    if out is None:
        return []
    path = Path(out)
    replace_file(path, text.encode())
    beside = path.with_suffix(".json")
    replace_file(beside, to_json(result))
    return [path, beside]


def _parser() -> Parser:
    parser = Parser(
        "identify",
        "Identify a robot's simulation from logs of its motion: friction, damping, armature, gains, payload, centre of "
        "mass, delays, with their uncertainty, as a file for --randomize. Exit code 4 where the logs do not tell what "
        "--parameters asks for, or anything at all.",
    )
    parser.add_argument("robot", help=f"{', '.join(builtin_robots())}, or the path of a robot's YAML file")
    parser.add_argument("logs", nargs="+", metavar="BAG|RUN|FILE.npz", help="motion, as robot-rl excite records it")
    parser.add_argument("--out", metavar="FILE.yaml", help="where the terms go, a JSON file beside [stdout]")
    parser.add_argument(
        "--parameters",
        nargs="+",
        metavar="NAME",
        help="what to identify, where not all that the logs may show: friction_loss, damping, armature, gains, "
        "motor_strength, torque_speed, payload, mass, center_of_mass, actuation_delay, observation_delay",
    )
    parser.add_argument("--base", choices=BASES, help="how the base was, for logs that do not say")
    parser.add_argument("--fixed", action="store_true", help="write single numbers instead of distributions")
    cores = os.cpu_count() or 1
    parser.add_argument("--threads", type=whole_number(1), default=cores, help=f"simulations at once [{cores}]")
    add_json(parser)
    return parser
