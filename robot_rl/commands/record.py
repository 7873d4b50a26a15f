"""`robot-rl record`: a robot's ROS topics into a bag, beside whatever commands the robot."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from robot_rl.commands.flags import Parser, positive_number
from robot_rl.commands.output import relative, say
from robot_rl.make import make_recording
from robot_rl.spec_file import load_robot


def run(arguments: Sequence[str]) -> int:
    """Records until Ctrl-C."""
    values = _parser().parse(arguments)
    spec = load_robot(values.robot)
    folder = Path(values.out or Path("bags") / f"{spec.name}_{datetime.now():%Y-%m-%d_%H-%M-%S}")
    recording = make_recording(folder, spec, values.namespace, values.topic, values.all, values.part)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: recording.end())
    say(f"recording {spec.name} into {relative(folder)}; Ctrl-C ends it")
    recording.run(values.seconds)
    for topic, reason in sorted(recording.tap.left_out.items()):
        say(f"left out: {topic}: {reason}")
    if recording.missing:
        say(f"nobody published: {', '.join(recording.missing)}")
    if recording.recorder.lost:
        say(f"lost: {recording.recorder.lost} messages, because the disk or this machine did not keep up")
    print(relative(folder))
    return 0


def _parser() -> Parser:
    parser = Parser("record", "Record a robot's ROS topics into a bag (MCAP) that ROS tools and Foxglove read.")
    parser.add_argument("robot", help="built-in robot or YAML file")
    parser.add_argument("--out", metavar="FOLDER", help="new folder for the bag [bags/ROBOT_TIME]")
    parser.add_argument("--seconds", type=positive_number, default=float("inf"), help="how long [until Ctrl-C]")
    parser.add_argument("--namespace", default="", metavar="NAME", help="of the robot's topics")
    parser.add_argument("--topic", action="append", default=[], metavar="NAME", help="only this one; may be repeated")
    parser.add_argument(
        "--all", action="store_true", help="everything on the network, pictures and point clouds too"
    )
    parser.add_argument(
        "--part", type=positive_number, default=60.0, metavar="S", help="a new file so often; a kill costs one [60]"
    )
    return parser
