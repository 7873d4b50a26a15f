"""`robot-rl twin`: a simulator that answers on a robot's ROS topics as the robot would."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from robot_rl.commands.flags import Parser, positive_number, whole_number
from robot_rl.commands.output import say
from robot_rl.make import make_twin
from robot_rl.spec_file import load_robot


def run(arguments: Sequence[str]) -> int:
    """Simulates until Ctrl-C."""
    values = _parser().parse(arguments)
    spec = load_robot(values.robot)
    odometry = not values.no_odometry
    twin = make_twin(spec, values.namespace, values.lock_step, values.rate, values.speed, values.seed, odometry)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: twin.end())
    pace = "waits for a command after each reading" if values.lock_step else f"{1.0 / twin.robot.spec.control_dt:g} Hz"
    say(f"twin of {spec.name}: commands on {twin.command_topic}, {pace}; Ctrl-C ends it")
    twin.run()
    return 0


def _parser() -> Parser:
    parser = Parser("twin", "Simulate a robot behind its ROS topics; faults are parameters of its node.")
    parser.add_argument("robot", help="built-in robot or YAML file")
    parser.add_argument("--namespace", default="", metavar="NAME", help="before all relative topic names")
    parser.add_argument(
        "--lock-step", action="store_true", help="wait for a command after each reading, on an own clock"
    )
    parser.add_argument(
        "--rate",
        type=positive_number,
        metavar="HZ",
        help="of the readings; divides the physics rate [the file's, or up to 200]",
    )
    parser.add_argument("--speed", type=positive_number, default=1.0, help="of its clock against the wall's [1]")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of sensor noise and random faults [0]")
    parser.add_argument("--no-odometry", action="store_true", help="leave out that topic, as most robots do")
    return parser
