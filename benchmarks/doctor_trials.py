"""How often the doctor finds what is wrong, and how often it finds what is not.

    python benchmarks/doctor_trials.py [--robot go2] [--trials 20] [--only swap flip ...] [--json]

Each trial is one examination over DDS of the twin in lock step, in another process, with one fault drawn by its seed. A
trial is a hit where a check fails and says what is wrong: the joints' names where the fault has joints, the rate, the
delay, the unit otherwise. Faults of one way are in the motors or in the readings alone. Left and right hips, exchanged
on both ways, are drawn like any other joints although a standing robot does not show them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("ROS_DOMAIN_ID", "38")
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

from hardware.doctor import Doctor, DoctorSettings  # noqa: E402
from hardware.finding import Finding  # noqa: E402
from hardware.session import RosSession  # noqa: E402
from hardware.simulator_client import SimulatorClient  # noqa: E402
from robot_rl.robot import Start  # noqa: E402
from robot_rl.spec import RobotSpec  # noqa: E402
from robot_rl.spec_file import load_robot  # noqa: E402

KINDS = ("healthy", "swap", "swap, one way", "flip", "flip, one way", "degrees", "missing", "half rate", "delay")
HEALTHY = {
    "swap": [""],
    "flip": [""],
    "missing": [""],
    "way": "both",
    "degrees": False,
    "slow": 1,
    "state_delay": 0.0,
    "command_delay": 0.0,
}
"""The twin's faults that trials set; an empty name is no joint."""


class Patient:
    """The twin, and a way to spoil it."""

    def __init__(self, spec: RobotSpec, seed: int) -> None:
        """Starts it."""
        self.spec = spec
        command = [sys.executable, "-m", "robot_rl.cli", "twin", spec.name, "--lock-step", "--seed", str(seed)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        self._session = RosSession("trials")
        self._simulator = SimulatorClient(self._session.node)
        self._session.start()
        deadline = time.monotonic() + 30.0
        while not self._simulator.present:
            if time.monotonic() > deadline:
                raise SystemExit("the twin did not come up")
            time.sleep(0.05)

    def prepare(self, faults: dict[str, Any], seed: int) -> None:
        """At home, with these faults."""
        self._simulator.spoil({**HEALTHY, **faults})
        self._simulator.reset(Start(self.spec.home), seed, self.spec)

    def close(self) -> None:
        """Ends it."""
        self._session.close()
        self._process.terminate()
        self._process.wait()


def draw(kind: str, spec: RobotSpec, rng: np.random.Generator) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The twin's faults for one trial, and the words of which a failed check must name all."""
    names = [str(name) for name in rng.permutation(spec.joint_names)]
    way = str(rng.choice(["readings", "motors"])) if kind.endswith("one way") else "both"
    if kind.startswith("swap"):
        return {"swap": names[:2], "way": way}, tuple(names[:2])
    if kind.startswith("flip"):
        return {"flip": names[:1], "way": way}, tuple(names[:1])
    if kind == "missing":
        return {"missing": names[:1]}, ("missing", names[0])
    if kind == "delay":
        return {str(rng.choice(["state_delay", "command_delay"])): 0.2}, ("delay",)
    others: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
        "healthy": ({}, ()),
        "degrees": ({"degrees": True}, ("degrees",)),
        "half rate": ({"slow": 2}, ("rate of", spec.ros.joint_states)),
    }
    return others[kind]


def examine(spec: RobotSpec) -> list[Finding]:
    """One examination."""
    doctor = Doctor(spec, DoctorSettings(lock_step=True, seconds=1.0))
    try:
        findings = doctor.look()
        if not any(finding.blocks for finding in findings):
            findings += doctor.bend()
        return findings
    finally:
        doctor.close()


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(description="Hits and false alarms of the doctor.")
    parser.add_argument("--robot", default="go2")
    parser.add_argument("--trials", type=int, default=20, help="of each kind [20]")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, metavar="KIND", help=f"of: {KINDS}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    spec = load_robot(arguments.robot)
    result = {kind: trials(kind, spec, arguments.trials) for kind in arguments.only}
    if arguments.json:
        print(json.dumps(result))
        return
    for kind, rows in result.items():
        hits = sum(row["hit"] for row in rows)
        print(f"{kind:<14} {hits} of {len(rows)} {'without a false alarm' if kind == 'healthy' else 'found'}")
        for row in rows:
            if not row["hit"]:
                print(f"    seed {row['seed']}: {row['fault']}; failed: {'; '.join(row['failed']) or 'nothing'}")


def trials(kind: str, spec: RobotSpec, count: int) -> list[dict[str, Any]]:
    """All trials of one kind."""
    patient = Patient(spec, KINDS.index(kind))
    rows = []
    try:
        for seed in range(count):
            faults, words = draw(kind, spec, np.random.default_rng([KINDS.index(kind), seed]))
            patient.prepare(faults, seed)
            findings = [finding for finding in examine(spec) if finding.verdict == "fail"]
            said = [f"{f.check}: {f.found} -> {f.advice}" for f in findings]
            named = any(all(word in line for word in words) for line in said)
            rows.append({"seed": seed, "fault": faults, "hit": named if words else not said, "failed": said})
            verdict = "hit" if rows[-1]["hit"] else f"miss; failed: {'; '.join(said) or 'nothing'}"
            print(f"{kind} {seed}: {faults} {verdict}", file=sys.stderr, flush=True)
    finally:
        patient.close()
    return rows


if __name__ == "__main__":
    main()
