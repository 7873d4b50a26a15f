"""`robot-rl doctor`: whether a robot's names, signs, units, rates and limits are right."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from robot_rl.commands.asking import ask, check_can_ask
from robot_rl.commands.flags import Parser, add_json, positive_number
from robot_rl.commands.output import print_json, say
from robot_rl.make import make_doctor
from robot_rl.spec_file import load_robot

CHECK_FAILED = 4


def run(arguments: Sequence[str]) -> int:
    """Examines and prints; 4 where a check failed, or kept the joints from being bent."""
    values = _parser().parse(arguments)
    spec = load_robot(values.robot)
    if not values.passive:
        check_can_ask(values.yes)
    doctor = make_doctor(spec, values.namespace, values.lock_step, values.seconds, values.amplitude)
    try:
        say(f"{spec.name}: listening")
        findings = doctor.look()
        moved = False
        blocking = [finding.check for finding in findings if finding.blocks]
        if values.passive:
            why = "only listened"
        elif blocking:
            why = f"nothing moved: first put right {', '.join(dict.fromkeys(blocking))}"
        elif not (values.yes or ask(_question(spec.joints, values.amplitude))):
            why = "nothing moved: not agreed to"
        else:
            moved, why = True, ""
            findings += doctor.bend(lambda what: say(f"  {what}"))
    finally:
        doctor.close()
    failures = sum(finding.verdict == "fail" for finding in findings)
    if values.json:
        rows = [finding.to_dict() for finding in findings]
        print_json({"robot": spec.name, "moved": moved, "failures": failures, "why": why, "findings": rows})
    else:
        print(report(findings))
        print(f"\n{failures} of {len(findings)} checks failed" + (f"; {why}" if why else ""))
    return CHECK_FAILED if failures or (blocking and not values.passive) else 0


def report(findings: Sequence[Any]) -> str:
    """A table: check, found, expected, verdict; under each that is not ok, what to do."""
    heads = ("check", "found", "expected", "verdict")
    rows = [(f.check, f.found, f.expected, f.verdict) for f in findings]
    limits = (34, 40, 26, 7)
    widths = [min(limit, max(len(row[k]) for row in [heads, *rows])) for k, limit in enumerate(limits)]
    lines = []
    for row, advice in zip([heads, *rows], ["", *(f.advice for f in findings)], strict=True):
        cells = [wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for k in range(max(map(len, cells))):
            parts = [(cell[k] if k < len(cell) else "").ljust(width) for cell, width in zip(cells, widths, strict=True)]
            lines.append("  ".join(parts).rstrip())
        lines += [f"    -> {line}" if k == 0 else f"       {line}" for k, line in enumerate(wrap(advice, 100))]
    return "\n".join(lines)


def _question(joints: int, amplitude: float) -> str:
    return (
        f"This bends each of {joints} joints by {amplitude:g} rad, one after the other; afterwards commands end, and "
        "the robot does what it does without them. Is it on its feet, with room around it? Go on?"
    )


def _parser() -> Parser:
    parser = Parser("doctor", "Check names, signs, units, rates and limits of whatever answers on a robot's topics.")
    parser.add_argument("robot", help="built-in robot or YAML file")
    parser.add_argument("--passive", action="store_true", help="listen only; nothing moves")
    parser.add_argument("--yes", action="store_true", help="move without asking")
    parser.add_argument("--namespace", default="", metavar="NAME", help="before all relative topic names")
    parser.add_argument(
        "--lock-step",
        action="store_true",
        help="for a twin that waits for commands; with --passive it is told to stay where it is",
    )
    parser.add_argument("--seconds", type=positive_number, default=2.0, help="of listening, s [2]")
    parser.add_argument("--amplitude", type=positive_number, default=0.08, help="of each bend, rad [0.08]")
    add_json(parser)
    return parser
