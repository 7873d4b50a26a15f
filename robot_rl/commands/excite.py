"""`robot-rl excite`: moves a robot so that its motion shows what it is made of, and records that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot_rl.commands.asking import ask, check_can_ask
from robot_rl.commands.flags import Parser, add_json, positive_number, whole_number
from robot_rl.commands.output import print_json, relative, say
from robot_rl.commands.writing import make_ready
from robot_rl.errors import ConfigurationError
from robot_rl.make import excitation, excited_robot
from robot_rl.motion_log import BASES
from robot_rl.motion_recording import record_motion
from robot_rl.ros_spec import RosSettings
from robot_rl.spec_file import builtin_robots, load_robot
from robot_rl.training.files import replace_file


def run(arguments: Sequence[str]) -> int:
    """Asks, moves, and writes the log."""
    values = _parser().parse(arguments)
    if not values.out.endswith(".npz"):
        raise ConfigurationError(f"--out {values.out}: the name must end in .npz")
    if values.on == "ros" and values.randomize:
        raise ConfigurationError("--randomize is for a robot in simulation, not for --on ros")
    spec = load_robot(values.robot)
    base = values.base or "held"
    commands = excitation(spec, base, values.seconds, values.amplitude, values.seed)
    path = Path(values.out)
    make_ready(path)
    if values.on == "ros":
        check_can_ask(values.yes)
        way = np.ptp(commands, axis=0).max()
        where = "held with its feet in the air" if base == "held" else "on its feet, with room around it"
        if not (values.yes or ask(f"{spec.name} will move its joints by up to {way:.2f} rad. Is it {where}? Go on?")):
            say("nothing was moved")
            return 0
    ros = RosSettings(namespace=values.namespace, lock_step=values.lock_step) if values.on == "ros" else None
    robot = excited_robot(spec, base, values.on, values.randomize, ros)
    try:
        say(f"{spec.name}, {base}: {len(commands) * spec.control_dt:.0f} s")
        log = record_motion(robot, commands, base, np.random.default_rng(values.seed), values.lock_step)
    finally:
        robot.stop()
        robot.close()
    replace_file(path, log.to_npz())
    drawn = dict(getattr(robot, "drawn", {}))
    if values.json:
        result: dict[str, Any] = {"file": relative(path), "robot": spec.name, "base": base, "seconds": log.seconds}
        print_json({**result, "readings": len(log.time), "randomization": drawn})
    else:
        print(f"{relative(path)}: {len(log.time):,} readings in {log.seconds:.1f} s, {base}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        "excite",
        "Move a robot within its limits so that its motion shows what it is made of, and record it for "
        "robot-rl identify: each joint about its home while it is held, or its body over its feet.",
    )
    parser.add_argument("robot", help=f"{', '.join(builtin_robots())}, or the path of a robot's YAML file")
    parser.add_argument("--out", required=True, metavar="FILE.npz", help="where the log goes")
    parser.add_argument("--base", choices=BASES, help="held with the feet in the air, or standing [held]")
    parser.add_argument("--seconds", type=positive_number, default=30.0, help="how long [30]")
    parser.add_argument(
        "--amplitude", type=positive_number, help="rad of each joint, held [0.3]; ratio of the usual, standing [1]"
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the motion and of simulated noise [0]")
    parser.add_argument("--on", choices=("mujoco", "ros"), default="mujoco", help="where the robot is [mujoco]")
    parser.add_argument("--randomize", metavar="NAME|FILE.yaml", help="how the simulated robot differs from its file")
    parser.add_argument("--namespace", default="", metavar="NAME", help="before all relative topic names")
    parser.add_argument("--lock-step", action="store_true", help="for a twin that waits for commands")
    parser.add_argument("--yes", action="store_true", help="move a robot without asking")
    add_json(parser)
    return parser
