"""What `robot-rl info` says of a robot: its file in short, and how it holds its home pose in simulation."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from robot_rl.commands.output import table
from robot_rl.filming import filming
from robot_rl.make import hold_home
from robot_rl.spec_file import builtin_robots, load_robot

NEAR = 0.8
"""Share of an effort limit that leaves little for anything but standing."""


def is_robot(name: str) -> bool:
    """Whether this names a built-in robot, or a YAML file."""
    return name in builtin_robots() or (Path(name).suffix in (".yaml", ".yml") and Path(name).is_file())


def robot_content(name: str, video: str | None = None) -> dict[str, Any]:
    """Everything that `robot-rl info --json` says of a robot.

    Args:
        name: built in, or of its file.
        video: MP4 file to film it to, at home.

    Raises:
        ConfigurationError: the file or the model is wrong.
    """
    spec = load_robot(name)
    with filming(video, spec.control_rate) if video else nullcontext() as after_tick:
        found = hold_home(spec, after_tick)
    reach = np.abs(spec.action.mixing * spec.action.scale).sum(axis=1)
    return {
        "robot": spec.name,
        "description": spec.description,
        "digest": spec.digest,
        "base": spec.base,
        "control_rate": spec.control_rate,
        "physics_rate": 1.0 / spec.simulation.physics_dt,
        "joints": list(spec.joint_names),
        "feet": list(spec.feet),
        "legs": spec.legs is not None,
        "sensors": list(spec.sensors),
        "objects": list(spec.objects),
        "at_home": {
            **asdict(found),
            "sag": dict(zip(spec.joint_names, found.sag.tolist(), strict=True)),
            "effort": dict(zip(spec.joint_names, found.effort.tolist(), strict=True)),
            "reach": dict(zip(spec.joint_names, reach.tolist(), strict=True)),
        },
    }


def describe_robot(found: dict[str, Any]) -> str:
    """The same for a person."""
    home = found["at_home"]
    rows = [
        ("base", found["base"] + f", {home['mass']:.1f} kg in all that moves"),
        ("joints", f"{len(found['joints'])}: {', '.join(found['joints'])}"),
        ("feet", ", ".join(found["feet"])),
        ("legs", "" if found["legs"] or not found["feet"] else "not in the file; --legs prints what to add"),
        ("sensors", ", ".join(found["sensors"])),
        ("objects", ", ".join(found["objects"])),
        ("rates", f"policy {found['control_rate']:g} Hz, physics {found['physics_rate']:g} Hz"),
    ]
    sagging, straining = (max(home[what], key=home[what].__getitem__) for what in ("sag", "effort"))
    sag, reach, effort = home["sag"][sagging], home["reach"][sagging], home["effort"][straining]
    held = [
        ("holds out", f"no: stopped after {home['seconds']:.2f} s, {home['stopped']}" if home["stopped"] else "yes"),
        ("largest sag", f"{sag:.3f} of the {reach:.3f} that an action moves: {sagging}"),
        ("largest effort", f"{effort:.0%} of the limit: {straining}"),
    ]
    if home["heights"] is not None:
        first, last = home["heights"]
        height = f"{first:.3f} m high in the beginning, {last:.3f} m in the end"
        held.insert(1, ("base", f"{height}, tilted by {home['tilt']:.2f} rad"))
    sections = [
        f"Robot {found['robot']}: {found['description']}\n{table(row for row in rows if row[1])}",
        f"Told to stay at home, in MuJoCo, without a policy\n{table(held)}",
    ]
    if advice := _advice(home):
        sections.append("\n".join(advice))
    return "\n\n".join(sections)


def _advice(home: dict[str, Any]) -> list[str]:
    found = []
    if home["stopped"]:
        found.append(
            "A policy would begin with a fall: look at home, gains, simulation.base_height and the limits of safety."
        )
    weak = [name for name, sag in home["sag"].items() if sag > home["reach"][name]]
    if weak:
        found.append(
            f"Weight alone moves joints further than an action could: {', '.join(weak)}. Raise their kp (and kd), or "
            "action.scale."
        )
    strained = [name for name, share in home["effort"].items() if share > NEAR]
    if strained:
        found.append(f"Near their effort limit at rest: {', '.join(strained)}.")
    return found
