"""Identification of simulated robots whose numbers are hidden: errors, and how often the stated intervals hold.

Each draw is a robot of its own: friction, damping, armature, gains of every joint, a payload and where it sits, delays.
It is moved while it is held and while it stands, with its sensors' noise, and identified from the two logs alone.

    python benchmarks/identification.py --robot go2 --draws 10
    python benchmarks/identification.py --draws 10 --effort-noise 0.5    # torques with noise; the file has none
    python benchmarks/identification.py --draws 10 --without-effort      # as for a robot that measures no torques
    python benchmarks/identification.py --draws 1 --retrain 300000       # and what a policy gains by it

Asked for: masses within 5 %, damping and friction within 15 %, delays within 2 ms.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from robot_rl.make import IdentifiedRobot, excitation, excited_robot, identify_robot
from robot_rl.motion_recording import record_motion
from robot_rl.spec import RobotSpec, builtin_robots, load_robot
from sim.mujoco_model import compile_model, held_spec

ASKED = {
    "payload.kg": (0.05, "relative"),
    "damping": (0.15, "relative"),
    "friction_loss": (0.15, "relative"),
    "actuation_delay.delay": (2e-3, "s"),
    "observation_delay.delay": (2e-3, "s"),
}
"""Largest error by kind, of the true value or in s."""


def hidden(spec: RobotSpec, rng: np.random.Generator, gains: bool) -> dict[str, Any]:
    """Terms with the single numbers of one hidden robot."""
    model = compile_model(spec)
    joints = spec.joint_names

    def of_joints(field: str, low: float, high: float) -> dict[str, Any]:
        nominal = [float(getattr(model, field)[model.joint(name).dofadr[0]]) for name in joints]
        ratios = rng.uniform(low, high, len(joints))
        return {"value": {name: float(n * r) for name, n, r in zip(joints, nominal, ratios, strict=True)}}

    terms: dict[str, Any] = {
        "damping": of_joints("dof_damping", 0.5, 2.0),
        "friction_loss": of_joints("dof_frictionloss", 0.5, 2.0),
        "armature": of_joints("dof_armature", 0.7, 1.4),
        "actuation_delay": {"delay": float(rng.uniform(0.0, 0.025))},
        "observation_delay": {"delay": float(rng.uniform(0.0, 0.008))},
    }
    if gains:
        terms["gains"] = {
            gain: dict(zip(joints, rng.uniform(low, high, len(joints)).tolist(), strict=True))
            for gain, low, high in (("kp", 0.9, 1.1), ("kd", 0.85, 1.15))
        }
    if spec.base == "floating":
        total = float(model.body_mass.sum())
        base = spec.simulation.base_body
        terms["payload"] = {"kg": float(rng.uniform(0.05, 0.25) * total)}
        terms["center_of_mass"] = {"meters": {f"{base}.{axis}": float(rng.uniform(-0.02, 0.02)) for axis in "xy"}}
    return terms


def truth(terms: Mapping[str, Any]) -> dict[str, float]:
    """The hidden numbers by name."""
    found: dict[str, float] = {}

    def walk(prefix: str, of: Any) -> None:
        for key, value in of.items():
            name = prefix if key in ("value", "ratio", "meters") else f"{prefix}.{key}"
            if isinstance(value, Mapping):
                walk(name, value)
            else:
                found[name] = float(value)

    for term, settings in terms.items():
        walk(term, settings)
    return found


def trial(
    spec: RobotSpec, seed: int, seconds: float, effort: bool, noise: float, threads: int
) -> tuple[dict[str, Any], IdentifiedRobot]:
    """One hidden robot, moved and identified: its terms, and what was found; `noise` in N m is added to its efforts."""
    rng = np.random.default_rng(seed)
    terms = hidden(spec, rng, gains=effort)
    logs = []
    for base in ("held", "standing") if spec.base == "floating" else ("held",):
        of_base = {k: v for k, v in terms.items() if base == "standing" or k not in ("payload", "center_of_mass")}
        robot = excited_robot(spec, base, randomize=of_base)
        log = record_motion(robot, excitation(spec, base, seconds, seed=seed), base, rng)
        measured = log.effort + noise * rng.standard_normal(log.effort.shape) if effort else None
        logs.append(replace(log, source=base, effort=measured))
    return terms, identify_robot(spec, logs, threads=threads)


def rows_of(terms: Mapping[str, Any], found: IdentifiedRobot) -> list[dict[str, Any]]:
    """Error and interval of every number."""
    true, rows = truth(terms), []
    for one in found.identification.found:
        value = true.get(one.name, one.nominal)
        kind = one.name if one.name.count(".") < 2 and one.name.split(".")[0] in _SINGLE else one.name.rsplit(".", 1)[0]
        row = {"name": one.name, "kind": kind, "true": value, "identified": one.identified, "reason": one.reason}
        if one.identified:
            error = one.value - value
            row |= {
                "value": one.value,
                "error": error,
                "relative": error / value if value else float("nan"),
                "deviation": one.deviation,
                "covered": bool(one.low - 1e-9 <= value <= one.high + 1e-9),
            }
        rows.append(row)
    return rows


_SINGLE = ("payload", "actuation_delay", "observation_delay")


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By kind: worst and root-mean-square error, coverage, and how many were not identified."""
    found = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        of = [row for row in rows if row["kind"] == kind]
        known = [row for row in of if row["identified"]]
        limit, measure = ASKED.get(kind, (float("nan"), "s" if kind.startswith("center") else "relative"))
        errors = np.abs([row["relative" if measure == "relative" else "error"] for row in known])
        found.append(
            {
                "kind": kind,
                "numbers": len(of),
                "identified": len(known),
                "rms": float(np.sqrt(np.mean(errors**2))) if known else float("nan"),
                "worst": float(errors.max()) if known else float("nan"),
                "unit": measure if not kind.startswith("center") else "m",
                "asked": limit,
                "within": float(np.mean(errors <= limit)) if known and np.isfinite(limit) else float("nan"),
                "coverage": float(np.mean([row["covered"] for row in known])) if known else float("nan"),
            }
        )
    return found


def retrain(spec: RobotSpec, terms: Mapping[str, Any], found: IdentifiedRobot, steps: int, folder: Path) -> list[str]:
    """Trains with and without what was identified; returns of both, and of the first, on the hidden robot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hidden.yaml").write_text(yaml.safe_dump(dict(terms)))
    (folder / "identified.yaml").write_text(found.yaml)
    lines = []
    for label, flags in (("robot file", []), ("identified", ["--randomize", str(folder / "identified.yaml")])):
        run = folder / label.replace(" ", "_")
        command = ["train", "walk", "--robot", spec.source or spec.name, "--steps", str(steps), "--out"]
        _robot_rl(*command, str(run), *flags)
        for where in ([], ["--randomize", str(folder / "hidden.yaml")]):
            told = json.loads(_robot_rl("evaluate", str(run), "--json", *where))
            on = "hidden robot" if where else "robot file"
            lines.append(f"  trained on {label:<11} return on {on:<12} {told['return']:.1f}")
    return lines


def _robot_rl(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "robot_rl.cli", *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def main() -> None:
    """Draws, identifies and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robot", choices=builtin_robots(), default="go2")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the first draw")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each of the two motions")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--without-effort", action="store_true", help="the joints' torques are not measured")
    parser.add_argument("--effort-noise", type=float, default=0.0, help="standard deviation, N m, beyond the file's")
    parser.add_argument("--retrain", type=int, metavar="STEPS", help="train with and without what the first draw tells")
    parser.add_argument("--out", default="runs/identification", help="of --retrain")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    given = parser.parse_args()
    spec = load_robot(given.robot)
    effort = not given.without_effort and "joint_effort" in held_spec(spec).sensors
    rows: list[dict[str, Any]] = []
    validation: list[dict[str, Any]] = []
    lines: list[str] = []
    for draw in range(given.draws):
        began = time.process_time()
        terms, found = trial(spec, given.seed + draw, given.seconds, effort, given.effort_noise, given.threads)
        new = rows_of(terms, found)
        rows += [{"draw": draw, **row} for row in new]
        validation += [{"draw": draw, **vars(one)} for one in found.identification.validation]
        worst = ", ".join(f"{row['kind']} {row['worst']:.3g}" for row in summary(new))
        print(f"draw {draw}, {time.process_time() - began:.0f} s of CPU: {worst}", file=sys.stderr)
        if given.retrain and draw == 0:
            lines = retrain(spec, terms, found, given.retrain, Path(given.out))
    table = summary(rows)
    covered = [row["covered"] for row in rows if row["identified"]]
    if given.json:
        print(json.dumps({"kinds": table, "rows": rows, "validation": validation, "retrain": lines}, indent=1))
        return
    read = f"read with {given.effort_noise:g} N m of noise" if effort else "not read"
    print(f"{spec.name}, {given.draws} draws, {given.seconds:g} s of each motion, efforts {read}")
    print(f"  {'':<24} {'found':>9} {'rms':>8} {'worst':>8} {'asked':>8} {'within':>7} {'coverage of 95 %':>17}")
    for row in table:
        share = f"{row['identified']}/{row['numbers']}"
        within = f"{row['within']:.0%}" if np.isfinite(row["within"]) else "-"
        asked = f"{row['asked']:.3g}" if np.isfinite(row["asked"]) else "-"
        print(
            f"  {row['kind']:<24} {share:>9} {row['rms']:>8.3g} {row['worst']:>8.3g} {asked:>8} {within:>7} "
            f"{row['coverage']:>16.0%}  {row['unit']}"
        )
    print(f"  intervals that hold the truth: {np.mean(covered):.1%} of {len(covered)}")
    for sensor in dict.fromkeys(one["sensor"] for one in validation):
        of = [one for one in validation if one["sensor"] == sensor]
        before, after = (float(np.sqrt(np.mean([one[key] ** 2 for one in of]))) for key in ("before", "after"))
        print(f"  held-out {sensor}: RMS {before:.4g} with the robot's file, {after:.4g} identified, {of[0]['unit']}")
    print("\n".join(lines) if lines else "  retrained policy: not run (--retrain STEPS)")


if __name__ == "__main__":
    main()
