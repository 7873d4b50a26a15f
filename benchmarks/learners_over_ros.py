"""Every learner's policy file runs on the ROS 2 twin through the same policy node.

    python benchmarks/learners_over_ros.py [--algorithm td3 ppo] [--steps 400] [--seconds 4] [--out FOLDER]

Each learner trains Go2's walk for a few hundred steps, as `robot-rl train` does, and the file that it leaves is run by
`robot-rl deploy` against the twin in another process. The twin waits for each command and all timeouts are long, so a
busy machine makes it slower and changes nothing else. So few steps teach nobody to walk: what is tried is the way from
the learner to the motors, and neither a fall nor a lean stops the robot.

Prints a line a learner: whether the policy ran to its end, and its return beside that of the same file in the
environment it was trained in (other noise, and the node's slow start, make them differ). The exit code is 4 where one
did not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
# A network of its own: nothing that may listen elsewhere on this machine shall be moved.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ.setdefault("OMP_NUM_THREADS", "1")

import yaml  # noqa: E402
from twin_process import twin  # noqa: E402

from robot_rl.commands.config_files import layered, recipe  # noqa: E402
from robot_rl.commands.configuration import resolve  # noqa: E402
from robot_rl.commands.evaluate import actor, policy_env  # noqa: E402
from robot_rl.commands.policy_files import POLICY  # noqa: E402
from robot_rl.commands.training import start, train_run  # noqa: E402
from robot_rl.errors import CheckFailed  # noqa: E402
from robot_rl.evaluation import evaluate  # noqa: E402
from robot_rl.make import ALGORITHMS  # noqa: E402
from robot_rl.spec_file import BUILTIN  # noqa: E402

PATIENCE = 60.0
"""s that anything may take on a busy machine."""


def patient_robot(folder: Path) -> Path:
    """Go2's file with long timeouts, and without the checks that end a fall."""
    values = yaml.safe_load((BUILTIN / "go2.yaml").read_text())
    values["simulation"]["model"] = str((BUILTIN / values["simulation"]["model"]).resolve())
    timeouts = dict.fromkeys(("state_timeout", "command_timeout", "connect_timeout"), PATIENCE)
    values["ros"] = {**values.get("ros", {}), **timeouts}
    values["safety"] |= {"tilt": "off", "height": "off"}
    path = folder / "go2.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def train(algorithm: str, robot: Path, steps: int, folder: Path) -> tuple[Path, int]:
    """Trains by the learner's own recipe, but for the length and for rollouts that fit into it.

    Returns:
        The policy file, and how many updates were made.
    """
    trainer = {
        "total_steps": steps,
        "start_steps": min(100, steps // 2),
        "log_interval": steps,
        "checkpoint_interval": steps,
        "evaluation_interval": 0,
        "threads": 1,
    }
    given = {"task": {"name": "walk"}, "robot": str(robot), "algorithm": algorithm, "seed": 0}
    values = layered(recipe("walk", "go2", algorithm), given, {"trainer": trainer})
    config = resolve(values, "benchmark")
    if config.algorithm_settings.get("steps", 0) > steps // 4:
        rollout = {"steps": steps // 4, **{name: 50 for name in config.algorithm_settings if "minibatch" in name}}
        config = resolve(layered(values, {algorithm: rollout, "robots": 1}), "benchmark")
    result = train_run(start(config, ["benchmark"], folder), config)
    if result.export is None:
        sys.exit(130)
    return folder / POLICY, result.training.updates


def deploy(policy: Path, robot: Path, seconds: float) -> dict[str, Any]:
    """Runs the file through the policy node; returns its report, with the exit code and what it said last."""
    flags = ["--robot", str(robot), "--lock-step", "--seconds", f"{seconds:g}", "--yes", "--json"]
    command = [sys.executable, "-m", "robot_rl.cli", "deploy", str(policy), *flags]
    with twin(str(robot), "--lock-step"):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout) if done.stdout.strip() else {}
    return {**report, "exit_code": done.returncode, "said": done.stderr.strip().splitlines()[-1:]}


def in_process(policy_file: Path, robot: Path, seconds: float) -> float:
    """The return of the same file in the environment that it was trained in."""
    env, policy = policy_env(policy_file, robot, seconds)
    try:
        return float(evaluate(env, actor(policy), episodes=1).summary()["return"])
    finally:
        env.close()


def try_one(algorithm: str, steps: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Trains, deploys, and compares."""
    folder.mkdir(parents=True, exist_ok=True)
    robot = patient_robot(folder)
    policy, updates = train(algorithm, robot, steps, folder / algorithm)
    found = deploy(policy, robot, seconds)
    ticks = round(seconds * 50.0)
    ran = found["exit_code"] == 0 and found.get("ticks") == ticks and not found.get("stopped")
    return {
        "algorithm": algorithm,
        "ran": ran,
        "updates": updates,
        "ticks": found.get("ticks", 0),
        "wanted_ticks": ticks,
        "return": found.get("figures", {}).get("return"),
        "return_in_process": in_process(policy, robot, seconds),
        "safety": found.get("safety", {}),
        "said": "" if ran else " ".join(found["said"]),
    }


def line(found: dict[str, Any]) -> str:
    """Of one learner, for a person."""
    over = "-" if found["return"] is None else f"{found['return']:.1f}"
    verdict = "ran to its end" if found["ran"] else f"did NOT: {found['said']}"
    return (
        f"{found['algorithm']:<10} {found['updates']:>4} updates, {found['ticks']} of {found['wanted_ticks']} ticks, "
        f"return {over} over ROS, {found['return_in_process']:.1f} in process: {verdict}"
    )


def main() -> int:
    """Reads the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Run every learner's policy file on the ROS 2 twin, in lock step.")
    parser.add_argument("--algorithm", nargs="+", choices=list(ALGORITHMS), default=list(ALGORITHMS), help="learners")
    parser.add_argument("--steps", type=int, default=400, help="of training [400]")
    parser.add_argument("--seconds", type=float, default=4.0, help="of robot time that the policy runs [4]")
    parser.add_argument("--out", type=Path, help="keep the runs in this folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        for algorithm in arguments.algorithm:
            results.append(try_one(algorithm, arguments.steps, arguments.seconds, folder))
            if not arguments.json:
                print(line(results[-1]), flush=True)
    if arguments.json:
        print(json.dumps(results))
    return 0 if all(found["ran"] for found in results) else CheckFailed.exit_code


if __name__ == "__main__":
    sys.exit(main())
