"""What was identified as terms of randomisation: the file that `--randomize` reads."""

from __future__ import annotations

import math
from typing import Any

import yaml

from robot_rl.spec import RobotSpec
from sim.distributions import read_distribution
from sim.identification_parameters import OBSERVATION_DELAY
from sim.identified import Found, Identification
from sim.randomization import Randomization

_CUT = 3.0
"""Standard deviations that a normal distribution reaches to either side."""
_SMALLEST_JITTER = 1e-4
"""s; less is no jitter."""
_NOMINAL = {"gains": {"kp": 1.0, "kd": 1.0}, "torque_speed": {}}
"""What a term needs beside what was identified."""


def terms_of(found: Identification, spec: RobotSpec, fixed: bool = False) -> dict[str, Any]:
    """The terms, checked as `--randomize` checks them.

    Args:
        found: what logs told.
        spec: the robot.
        fixed: whether each number is written as such; otherwise it is a normal distribution of its uncertainty, or a
            range over its interval where the normal one would reach what cannot be.
    """
    terms: dict[str, Any] = {}
    for one in found.found:
        if not one.identified:
            continue
        kind, _, rest = one.name.partition(".")
        if kind == OBSERVATION_DELAY and one.value == 0.0 and found.jitter <= _SMALLEST_JITTER:
            continue  # nothing is late, and simulating late readings costs time
        value = _number(one.value) if fixed else _distribution(one)
        term = terms.setdefault(kind, {})
        if kind in ("damping", "friction_loss", "armature"):
            term.setdefault("value", {})[rest] = value
        elif kind in ("motor_strength", "mass"):
            term.setdefault("ratio", {})[rest] = value
        elif kind == "gains":
            gain, _, joint = rest.partition(".")
            term.setdefault(gain, {})[joint] = value
        elif kind == "center_of_mass":
            term.setdefault("meters", {})[rest] = value
        else:  # a single number of its own name: payload.kg, torque_speed.stall, actuation_delay.delay
            term[rest] = value
        if kind == OBSERVATION_DELAY and found.jitter > _SMALLEST_JITTER and not fixed:
            term["jitter"] = {"normal": [0.0, _number(found.jitter)]}
    for kind, needed in _NOMINAL.items():
        if kind in terms:
            terms[kind] = needed | terms[kind]
    if set(terms.get("torque_speed", ("stall", "no_load"))) != {"stall", "no_load"}:
        del terms["torque_speed"]  # half a curve limits nothing
    return Randomization(terms, spec, "identified").settings


def to_yaml(found: Identification, spec: RobotSpec, about: str, fixed: bool = False) -> str:
    """The terms as a file, with what is known of each number in the comments at its head."""
    lines = [f"# Identified of robot {found.robot} from {about}. Terms: docs/sim_to_real.md."]
    for one in found.found:
        if one.identified:
            interval = f"95 % {one.low:.4g} to {one.high:.4g} {one.unit}, robot file {one.nominal:.4g}"
            lines.append(f"#   {one.name}: {one.value:.4g} +- {one.deviation:.2g}, {interval}")
        else:
            lines.append(f"#   {one.name}: not identified, as in the robot's file: {one.reason}")
    return "\n".join(lines) + "\n" + yaml.safe_dump(terms_of(found, spec, fixed), sort_keys=False, width=120)


def _distribution(one: Found) -> Any:
    reach = one.value - _CUT * one.deviation
    if one.deviation <= 1e-6 * max(abs(one.value), 1e-9):
        return _number(one.value)
    # What is bounded below is so by its interval as well.
    least = -math.inf if one.low < 0.0 else 0.0
    if reach <= least:
        return [_number(max(one.low, 0.0)), _number(one.high)]
    given = {"normal": [_number(one.value), _number(one.deviation)]}
    read_distribution(given, one.name)
    return given


def _number(value: float) -> float:
    """Five digits: what is known of a robot has fewer."""
    return float(f"{value:.5g}")
