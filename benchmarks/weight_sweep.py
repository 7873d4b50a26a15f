"""A composed policy walks over ROS 2 on the twin while its weights are swept from one skill to another and back.

    python benchmarks/weight_sweep.py COMPOSED.onnx [--seconds 20] [--lock-step] [--json]

The weights come as an operator's would, on the topic `policy/weights` ten times a second; twin and policy node are
processes of their own. Prints how punctual the loop was, and the figures of the task by the weight of the last skill.
With --lock-step the twin waits for each command, so that a busy machine changes nothing but the punctuality.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
# A network of its own: nothing that may listen elsewhere on this machine shall be moved.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)

from std_msgs.msg import Float64MultiArray  # noqa: E402
from twin_process import twin  # noqa: E402

from hardware.session import RosSession  # noqa: E402
from policies.contract import read_contract  # noqa: E402
from robot_rl.make import make_deployment  # noqa: E402

PUBLISHED = 0.1
"""s between two messages of the operator."""


def swept(share: float, skills: int) -> list[float]:
    """The weights at a share of the run: the first skill, along a straight line to the last, and back."""
    last = 1.0 - abs(2.0 * share - 1.0)
    return [1.0 - last, *([0.0] * (skills - 2)), last]


def run(path: Path, seconds: float, lock_step: bool) -> dict[str, Any]:
    """One sweep."""
    contract = read_contract(path)
    assert contract.composition is not None, f"{path} is a plain policy"
    skills, robot = len(contract.composition.skills), contract.robot.name
    given = {"policy": str(path), "robot": robot, "lock_step": lock_step, "pause_collector": True}
    seen: list[tuple[float, float]] = []
    with twin(robot, *(["--lock-step"] if lock_step else [])):
        operator = RosSession("operator")
        publisher = operator.node.create_publisher(Float64MultiArray, "policy/weights", 1)
        operator.start()
        deployment = make_deployment({**given, "weights": swept(0.0, skills), "weight_rate": 1.0})
        try:
            deployment.transition("configure").result()
            loop = deployment.node.loop
            assert loop is not None
            loop.limit = round(seconds * contract.robot.control_rate)
            loop.on_tick = lambda phase: _note(seen, loop, phase)
            deployment.transition("activate").result()
            while loop.running:
                share = min(1.0, loop.ticks / loop.limit)
                publisher.publish(Float64MultiArray(data=swept(share, skills)))
                time.sleep(PUBLISHED if not lock_step else PUBLISHED / 10)
            while deployment.report is None or deployment.node.label == "active":
                time.sleep(PUBLISHED)  # it ramps out and becomes inactive by itself
            report = deployment.report.to_dict()
        finally:
            deployment.close()
            operator.close()
    weights, total = np.array(seen).T if seen else np.zeros((2, 0))
    velocity = np.diff(total, prepend=0.0)
    edges = np.linspace(0.0, 1.0, 6)
    bins = np.clip(np.digitize(weights, edges) - 1, 0, 4)
    names = [f"{low:.1f} to {high:.1f}" for low, high in itertools.pairwise(edges)]
    by_weight = {name: float(velocity[bins == k].mean()) for k, name in enumerate(names) if (bins == k).any()}
    steps = np.abs(np.diff(weights)) if len(weights) > 1 else np.zeros(1)
    return {
        "policy": contract.name,
        "skills": skills,
        "report": report,
        "least_weight_of_last": float(weights.min(initial=1.0)),
        "greatest_weight_of_last": float(weights.max(initial=0.0)),
        "greatest_step": float(steps.max()),
        "forward_velocity_by_weight_of_last": by_weight,
    }


def _note(seen: list[tuple[float, float]], loop: Any, phase: str) -> None:
    """Keeps the weight of the last skill and the sum of the velocities so far."""
    if phase == "policy":
        total = loop.figures.get("forward_velocity", float("nan")) * loop.ticks
        seen.append((float(loop.runner.weights[-1]), total))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Sweep the weights of a composed policy while the twin walks.")
    parser.add_argument("file", type=Path, help="composed policy file")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the policy")
    parser.add_argument("--lock-step", action="store_true", help="the twin waits for each command")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = run(arguments.file, arguments.seconds, arguments.lock_step)
    if arguments.json:
        print(json.dumps(result))
        return
    report = result["report"]
    print(f"{result['policy']}, {result['skills']} skills: {report['seconds']:.1f} s, {report['ticks']} ticks")
    stopped, safety = report["stopped"] or "no", report["safety"] or "nothing"
    print(f"  overruns {report['overruns']}, stopped: {stopped}, safety: {safety}")
    period = report["timing_s"].get("period")
    if period is None:
        sys.exit("  the policy did not run")
    print(f"  period p50 {1e3 * period['p50']:.2f} ms, p99 {1e3 * period['p99']:.2f} ms")
    low, high = result["least_weight_of_last"], result["greatest_weight_of_last"]
    print(f"  weight of the last skill from {low:.2f} to {high:.2f}, at most {result['greatest_step']:.3f} a tick")
    for name, value in result["forward_velocity_by_weight_of_last"].items():
        print(f"    weight {name}: forward {value:.3f} m/s")


if __name__ == "__main__":
    main()
