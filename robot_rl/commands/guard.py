"""`robot-rl guard`: a watchdog between a policy and a motor controller that has none."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from robot_rl.commands.flags import Parser
from robot_rl.commands.output import say
from robot_rl.make import make_guard
from robot_rl.spec_file import load_robot


def run(arguments: Sequence[str]) -> int:
    """Passes commands on until Ctrl-C."""
    parser = Parser("guard", "Pass a policy's commands on to a robot, and stop the robot when they cease.")
    parser.add_argument("robot", help="built-in robot or YAML file")
    parser.add_argument("--namespace", default="", metavar="NAME", help="before all relative topic names")
    button = "joystick button that stops; -1 for none [1]"
    parser.add_argument("--estop-button", type=int, default=1, metavar="N", help=button)
    values = parser.parse(arguments)
    spec = load_robot(values.robot)
    guard = make_guard(spec, values.namespace, values.estop_button)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: guard.end())
    say(f"guard of {spec.name}: from guard/commands to {spec.ros.command_topic}; Ctrl-C ends it")
    guard.run()
    return 0
