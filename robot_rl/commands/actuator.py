"""`robot-rl actuator`: learns a robot's motors from logs of its joints, for simulation to use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robot_rl.commands.flags import Parser, add_json, whole_number
from robot_rl.commands.output import print_json, relative, say
from robot_rl.commands.writing import make_ready
from robot_rl.errors import ConfigurationError
from robot_rl.joint_log import JointLog, read_joint_log
from robot_rl.make import bag_joint_logs, missing_package, open_bag
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import builtin_robots, load_robot
from robot_rl.training.files import replace_file


def run(arguments: Sequence[str]) -> int:
    """Reads the logs, fits and writes the network."""
    parser = Parser(
        "actuator",
        "Learn a robot's motors from bags or NPZ files with its commands, positions, velocities and efforts; "
        "train on them with a file for --randomize that has the line: actuator_network: FILE.json",
    )
    parser.add_argument("robot", help=f"{', '.join(builtin_robots())}, or the path of a robot's YAML file")
    parser.add_argument("logs", nargs="+", metavar="BAG|FILE.npz", help="what the joints were told and did")
    parser.add_argument("--out", required=True, metavar="FILE.json", help="where the network goes")
    parser.add_argument("--history", type=whole_number(1), default=3, help="samples that it looks at [3]")
    parser.add_argument("--steps", type=whole_number(1), default=3000, help="of the fit [3000]")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the fit [0]")
    add_json(parser)
    values = parser.parse(arguments)
    if not values.out.endswith(".json"):
        raise ConfigurationError(f"--out {values.out}: the name must end in .json")
    spec = load_robot(values.robot)
    logs = [log for path in values.logs for log in _read(path, spec)]
    try:
        from robot_rl.training.actuator_fit import fit_actuator_network
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    make_ready(values.out)
    say(f"fitting {sum(len(log.command) for log in logs):,} samples of {spec.joints} joints")
    network = fit_actuator_network(spec, logs, values.history, steps=values.steps, seed=values.seed)
    replace_file(Path(values.out), network.to_json().encode())
    if values.json:
        print_json({"file": relative(values.out), "robot": spec.name, **network.fit})
    else:
        left, before = network.fit["held_out_rms_N_m"], network.fit["held_out_rms_without_network_N_m"]
        print(
            f"{relative(values.out)}: torque of held-out motion to {left:.3g} N m RMS; the ideal motor: {before:.3g}"
        )
    return 0


def _read(path: str, spec: RobotSpec) -> list[JointLog]:
    return [read_joint_log(path, spec)] if path.endswith(".npz") else bag_joint_logs(open_bag(path), spec)
