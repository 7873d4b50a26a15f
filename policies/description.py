"""A policy's contract as a page for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from policies.contract import Contract


def describe(contract: Contract, size: int | None = None) -> str:
    """What a person wants to know of a policy, as aligned lines.

    Args:
        contract: of the policy.
        size: of its file, bytes; left out where unknown.
    """
    sections = [
        _heading(contract, size),
        _goal(contract),
        _mapping("Task settings", contract.task.settings),
        _joints(contract),
        _action(contract),
        _observation(contract),
        _composition(contract),
        _mapping("Training", {"algorithm": contract.algorithm, **contract.training}),
        _mapping(f"Settings of {contract.algorithm}", contract.settings),
        _mapping("Versions", contract.versions),
        _hashes(contract),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _heading(contract: Contract, size: int | None) -> list[str]:
    robot, network = contract.robot, contract.network
    layers = "-".join(map(str, network.sizes))
    facts = {
        "robot": f"{robot.name}, {len(robot.joints)} joints",
        "task": contract.task.name,
        "control rate": f"{robot.control_rate:g} Hz ({1e3 / robot.control_rate:g} ms)",
        "network": f"{layers}, {network.parameters:,} parameters, ONNX opset {network.opset}",
    }
    if size is not None:
        facts["file"] = f"{size / 1e3:,.0f} kB, contract format {contract.format}"
    return [f"Policy {contract.name}", *_pairs(facts)]


def _goal(contract: Contract) -> list[str]:
    task = contract.task
    if not task.goal_labels:
        return []
    rows = [("goal", "trained from", "to")]
    for label in task.goal_labels:
        low, high = task.goal_ranges.get(label, (None, None))
        rows.append((label, _number(low), _number(high)))
    return ["Goal", *_table(rows)]


def _joints(contract: Contract) -> list[str]:
    rows: list[Sequence[str]] = [("joint", "home", "lower", "upper", "velocity", "effort", "kp", "kd")]
    units = contract.units
    position, velocity, effort = units["joint_position"], units["joint_velocity"], units["joint_effort"]
    rows.append(("", position, position, position, velocity, effort, f"{effort}/rad", f"{effort} s/rad"))
    for joint in contract.robot.joints:
        numbers = (joint.home, joint.lower, joint.upper, joint.velocity_limit, joint.effort_limit, joint.kp, joint.kd)
        rows.append((joint.name, *map(_number, numbers)))
    return ["Joints, in the order of the command", *_table(rows)]


def _action(contract: Contract) -> list[str]:
    action, names = contract.action, contract.joint_names
    lines = ["Action", "  command = home + mixing (scale * action), clipped to the joint limits"]
    if action.stepping:
        highest = np.abs(action.stepping).max()
        lines = [lines[0], f"{lines[1]}; the joints step by themselves, up to {highest:.3g} rad"]
    if action.coordinates == names and len(set(action.scale)) == 1:
        return [*lines, f"  one component per joint, each scaled by {action.scale[0]:g} rad"]
    rows = [("component", "scale", "moves")]
    for column, name in enumerate(action.coordinates):
        weights = [(row[column], joint) for row, joint in zip(action.mixing, names, strict=True) if row[column]]
        moves = ", ".join(f"{weight:+g} {joint}" for weight, joint in weights)
        rows.append((name, _number(action.scale[column]), moves))
    return [*lines, *_table(rows, left=(0, 2))]


def _observation(contract: Contract) -> list[str]:
    layout, normalizer = contract.observation, contract.normalizer
    rows = [("entries", "quantity", "unit", "age", "components")]
    for entry in layout.entries:
        last = entry.start + entry.size - 1
        span = f"{entry.start}-{last}" if entry.size > 1 else f"{entry.start}"
        rows.append((span, entry.name, entry.unit, f"{entry.age}", _components(entry.labels)))
    camera = contract.camera
    picture = [f"  beside it a picture, {camera.height} x {camera.width} pixels, red, green, blue"] if camera else []
    clip = f"clipped to +-{normalizer.clip:g}" if normalizer.clip < float("inf") else "not clipped"
    return [
        f"Observation, {layout.size} numbers; age in control ticks",
        *_table(rows, left=(0, 1, 2, 4)),
        *picture,
        f"  inside the graph: (observation - offset) / scale, {clip}",
    ]


def _composition(contract: Contract) -> list[str]:
    part = contract.composition
    if part is None:
        return []
    rows = [("skill", "weight", "alpha", "trained on")]
    for skill, weight in zip(part.skills, part.weights, strict=True):
        settings = _text(skill.task.settings)
        rows.append((skill.name, _number(weight), _number(skill.alpha), f"{skill.task.name} {settings}".strip()))
    corrected = ", less a learnt divergence correction" if part.corrected else ""
    corrected += ", with a policy learnt for all weights" if part.joint else ""
    return [
        f"Composition: {part.kind}{corrected}; weights and temperature may change at every tick",
        *_table(rows, left=(0, 3)),
        f"  temperature {_number(part.temperature)}; the best of {part.points} candidates of the skills, "
        + (f"moved up the gradient of Q in {part.refinement} steps, " if part.refinement else "")
        + f"a sample from {part.draws} draws",
        *(f"  warning: {line}" for line in part.report.get("warnings", ())),
    ]


def _components(labels: Sequence[str]) -> str:
    joined = ", ".join(labels)
    return joined if len(joined) <= 32 else f"{labels[0]} ... {labels[-1]}"


def _hashes(contract: Contract) -> list[str]:
    checked = f"{len(contract.golden.observation)} observations with the learner's own answers"
    hashes = {"robot": contract.robot.digest, "graph": contract.graph_sha256, "golden": checked}
    return ["Checked at load", *_pairs(hashes)]


def _mapping(title: str, values: Mapping[str, Any]) -> list[str]:
    return [title, *_pairs({name: _text(value) for name, value in values.items()})] if values else []


def _pairs(values: Mapping[str, str]) -> list[str]:
    width = max(map(len, values))
    return [f"  {name:<{width}}  {value}" for name, value in values.items()]


def _table(rows: Sequence[Sequence[str]], left: Iterable[int] = (0,)) -> list[str]:
    left = set(left)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (f"{c:<{w}}" if i in left else f"{c:>{w}}" for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def _text(value: Any) -> str:
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (list, tuple)):
        return " ".join(map(_text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    return "-" if value is None else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
