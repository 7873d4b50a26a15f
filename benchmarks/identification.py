"""Identification of simulated robots whose numbers are hidden: errors, and how often the stated intervals hold.

Each draw is a robot of its own: friction, damping, armature, gains of every joint, a payload and where it sits, delays.
It is moved while it is held and while it stands, with its sensors' noise, and identified from the two logs alone.

    python benchmarks/identification.py --robot go2 --draws 10
    python benchmarks/identification.py --draws 10 --effort-noise 0.5    # torques with noise; the file has none
    python benchmarks/identification.py --draws 10 --without-effort      # as for a robot that measures no torques
    python benchmarks/identification.py --draws 2 --far --retrain 25000  # and what a policy gains by it

Asked for: masses within 5 %, damping and friction within 15 %, delays within 2 ms.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from robot_rl.commands.policy_files import POLICY
from robot_rl.make import IdentifiedRobot, excitation, excited_robot, identify_robot
from robot_rl.motion_recording import record_motion
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import builtin_robots, load_robot
from sim.mujoco_model import compile_model, held_spec

Ranges = Mapping[str, tuple[float, float]]
NEAR: Ranges = {
    "damping": (0.5, 2.0),
    "friction_loss": (0.5, 2.0),
    "armature": (0.7, 1.4),
    "actuation_delay": (0.0, 0.025),
    "observation_delay": (0.0, 0.008),
    "kp": (0.9, 1.1),
    "kd": (0.85, 1.15),
    "payload": (0.05, 0.25),
    "center_of_mass": (-0.02, 0.02),
}
"""What is hidden is drawn from these: ratios to the robot's file, delays in s, payload as a share of the mass, m."""
FAR: Ranges = {
    **NEAR,
    "damping": (1.5, 3.0),
    "friction_loss": (1.5, 3.0),
    "actuation_delay": (0.02, 0.04),
    "kp": (0.75, 0.9),
    "kd": (0.75, 0.95),
    "payload": (0.1, 0.2),
    "center_of_mass": (-0.03, 0.03),
}
"""A robot on which a policy that was trained on its file does badly: late, worn, weak and loaded."""
ASKED = {
    "payload.kg": (0.05, "relative"),
    "damping": (0.15, "relative"),
    "friction_loss": (0.15, "relative"),
    "actuation_delay.delay": (2e-3, "s"),
    "observation_delay.delay": (2e-3, "s"),
}
"""Largest error by kind, of the true value or in s."""


def hidden(spec: RobotSpec, rng: np.random.Generator, gains: bool, ranges: Ranges = NEAR) -> dict[str, Any]:
    """Terms with the single numbers of one hidden robot."""
    model = compile_model(spec)
    joints = spec.joint_names

    def drawn(name: str, count: int | None = None) -> Any:
        return rng.uniform(*ranges[name], count)

    def of_joints(name: str, field: str) -> dict[str, Any]:
        nominal = [float(getattr(model, field)[model.joint(name).dofadr[0]]) for name in joints]
        values = np.array(nominal) * drawn(name, len(joints))
        return {"value": dict(zip(joints, values.tolist(), strict=True))}

    terms: dict[str, Any] = {
        "damping": of_joints("damping", "dof_damping"),
        "friction_loss": of_joints("friction_loss", "dof_frictionloss"),
        "armature": of_joints("armature", "dof_armature"),
        "actuation_delay": {"delay": drawn("actuation_delay")},
        "observation_delay": {"delay": drawn("observation_delay")},
    }
    if gains:
        terms["gains"] = {
            gain: dict(zip(joints, drawn(gain, len(joints)).tolist(), strict=True)) for gain in ("kp", "kd")
        }
    if spec.base == "floating":
        total = float(model.body_mass.sum())
        base = spec.simulation.base_body
        terms["payload"] = {"kg": drawn("payload") * total}
        terms["center_of_mass"] = {"meters": {f"{base}.{axis}": drawn("center_of_mass") for axis in "xy"}}
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
    spec: RobotSpec, ranges: Ranges, seed: int, seconds: float, effort: bool, noise: float, threads: int
) -> tuple[dict[str, Any], IdentifiedRobot]:
    """One hidden robot, moved and identified: its terms, and what was found; `noise` in N m is added to its efforts."""
    rng = np.random.default_rng(seed)
    terms = hidden(spec, rng, effort, ranges)
    logs = []
    for base in ("held", "standing") if spec.base == "floating" else ("held",):
        of_base = {k: v for k, v in terms.items() if base == "standing" or k not in ("payload", "center_of_mass")}
        robot = excited_robot(spec, base, randomize=of_base)
        log = record_motion(robot, excitation(spec, base, seconds, seed=seed), base, rng)
        measured = None
        if effort:
            assert log.effort is not None
            measured = log.effort + noise * rng.standard_normal(log.effort.shape)
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


def retrain(
    spec: RobotSpec, terms: Mapping[str, Any], found: IdentifiedRobot, seed: int, training: Sequence[str], out: Path
) -> dict[str, Any]:
    """Trains on the robot's file, and from there as long again on what was identified.

    Args:
        spec: the robot.
        terms: of the hidden one.
        found: what was identified of it.
        seed: of the draw.
        training: flags of each.
        out: folder of runs and files; what was trained there already is not trained again.

    Returns:
        Returns of both policies, each on the robot of the file and on the hidden one.
    """
    folder = out / f"{spec.name}_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    hidden_file, identified_file = folder / "hidden.yaml", folder / "identified.yaml"
    hidden_file.write_text(yaml.safe_dump(dict(terms)))
    identified_file.write_text(found.yaml)
    first = out / f"{spec.name}_file"
    runs: dict[str, tuple[Path, list[str]]] = {
        "robot file": (first, []),
        "identified": (folder / "run", ["--begin-with", str(first), "--randomize", str(identified_file)]),
    }
    returns: dict[str, dict[str, float]] = {}
    for label, (run, flags) in runs.items():
        if not (run / POLICY).is_file():
            _robot_rl("train", "walk", "--robot", spec.name, *training, "--out", str(run), *flags)
        returns[label] = {
            on: json.loads(_robot_rl("evaluate", str(run), "--json", *where))["return"]
            for on, where in (("robot file", []), ("hidden robot", ["--randomize", str(hidden_file)]))
        }
    own, lost = returns["robot file"]["robot file"], returns["robot file"]["hidden robot"]
    closed = (returns["identified"]["hidden robot"] - lost) / (own - lost) if own > lost else float("nan")
    return {"seed": seed, "returns": returns, "gap_closed": closed}


def retrained(rows: list[dict[str, Any]]) -> list[str]:
    """Lines for a person."""
    lines = []
    for row in rows:
        plain, identified = row["returns"]["robot file"], row["returns"]["identified"]
        lines.append(
            f"  draw of seed {row['seed']}: trained on the robot's file, {plain['robot file']:.0f} there and "
            f"{plain['hidden robot']:.0f} on the hidden robot; retrained on what was identified, "
            f"{identified['hidden robot']:.0f} on the hidden robot: {row['gap_closed']:.0%} of the gap closed"
        )
    return lines or ["  retrained policy: not run (--retrain STEPS)"]


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
    parser.add_argument("--far", action="store_true", help="hide robots that are far from the file: late, worn, loaded")
    parser.add_argument("--retrain", type=int, metavar="STEPS", help="train to walk with and without what was found")
    parser.add_argument("--out", type=Path, default=Path("runs/identification"), help="of --retrain")
    parser.add_argument("flags", nargs="*", help="of robot-rl train, with --retrain, after --")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    given = parser.parse_args()
    spec = load_robot(given.robot)
    effort = not given.without_effort and "joint_effort" in held_spec(spec).sensors
    rows: list[dict[str, Any]] = []
    validation: list[dict[str, Any]] = []
    gained: list[dict[str, Any]] = []
    for draw in range(given.draws):
        began = time.process_time()
        seed, ranges = given.seed + draw, FAR if given.far else NEAR
        terms, found = trial(spec, ranges, seed, given.seconds, effort, given.effort_noise, given.threads)
        new = rows_of(terms, found)
        rows += [{"draw": draw, **row} for row in new]
        validation += [{"draw": draw, **vars(one)} for one in found.identification.validation]
        worst = ", ".join(f"{row['kind']} {row['worst']:.3g}" for row in summary(new))
        print(f"draw {draw}, {time.process_time() - began:.0f} s of CPU: {worst}", file=sys.stderr)
        if given.retrain:
            training = ["--steps", str(given.retrain), *given.flags]
            gained.append(retrain(spec, terms, found, seed, training, given.out))
            print(*retrained(gained[-1:]), sep="\n", file=sys.stderr)
    table = summary(rows)
    covered = [row["covered"] for row in rows if row["identified"]]
    if given.json:
        print(json.dumps({"kinds": table, "rows": rows, "validation": validation, "retrain": gained}, indent=1))
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
    print("\n".join(retrained(gained)))


if __name__ == "__main__":
    main()
