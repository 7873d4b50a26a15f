"""`robot-rl compose`: several runs' policies as one whose weights are turned while the robot moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from policies.contract import COMPOSITIONS
from robot_rl.algorithms.tabular.composition import skill_weights
from robot_rl.commands.flags import Parser, add_json, positive_number, whole_number
from robot_rl.commands.output import print_json, relative, say, table
from robot_rl.commands.policy_files import POLICY
from robot_rl.commands.writing import make_ready
from robot_rl.errors import ConfigurationError, RunExists
from robot_rl.make import missing_package

DISTILLED = "distilled.onnx"
"""Name of the plain policy file in the folder."""


def run(arguments: Sequence[str]) -> int:
    """Composes, reports, writes the folder and its policy file."""
    values = _parser().parse(arguments)
    weights = tuple(map(float, skill_weights(values.weights, len(values.runs))))
    for given, flag in ((values.correct, "--correct"), (values.joint, "--joint")):
        if given is not None and values.kind != "conjunction":
            raise ConfigurationError(f"{flag} belongs to the conjunction, not to {values.kind!r}")
    if values.joint is not None:
        for given, flag in ((values.correct, "--correct"), (values.points, "--points")):
            if given is not None:
                raise ConfigurationError(f"{flag} has no place beside --joint, which learns both value and action")
    if values.out and Path(values.out).exists():
        raise RunExists(f"{values.out} exists already and is left as it is; choose another folder")
    try:
        from policies.composed_q import ComposedQ
        from policies.composition_report import OBSERVATIONS, composition_report
        from policies.correction import CorrectionSettings
        from policies.joint import JointSettings
        from robot_rl.commands import composing
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error

    sources = composing.skill_sources(values.runs, values.names)
    loaded = [composing.load_skill(source) for source in sources]
    skills, replays = [one.skill() for one in loaded], [one.replay for one in loaded]
    composed = ComposedQ(skills, values.kind)
    for given, flag in ((values.correct, "--correct"), (values.joint, "--joint")):
        if given is not None and composed.energies:
            raise ConfigurationError(f"{flag} is for Gaussian skills, not for those of {skills[0].algorithm!r}")
    # Whatever can be refused is refused before anything is learnt or written.
    points = values.points or composing.POINTS
    composing.candidates(composed, points, values.draws, values.refine)
    for steps, what in ((values.correct, "a divergence correction"), (values.distil, "a distilled actor")):
        if steps is not None:
            composing.union_of(replays, what)
    if values.share is not None or values.joint is not None:
        composing.check_experience(loaded)
    out = Path(values.out) if values.out else _new_folder(skills[0].task.spec.name, values.kind)
    make_ready(out)
    if values.share is not None:
        composing.share_experience(loaded, values.share, say)
        skills = [one.skill() for one in loaded]
        composed = ComposedQ(skills, values.kind)
    correction, settings, joint, together = None, None, None, None
    if values.correct is not None:
        settings = CorrectionSettings(steps=values.correct)
        say(f"learning the divergence correction, {values.correct:,} steps")
        correction = composing.learn(skills, replays, settings, lambda step, loss: say(f"  {step:>7,}  {loss:.4g}"))
    if values.joint is not None:
        together = JointSettings(updates=values.joint)
        joint = composing.learn_together(loaded, together, say)
    composition = composing.Composition(
        skills=sources,
        kind=values.kind,
        weights=weights,
        temperature=values.temperature or composed.alpha,
        points=points,
        draws=values.draws,
        refine=values.refine,
        correction=None if settings is None else asdict(settings),
        joint=None if together is None else asdict(together),
        shared_updates=values.share or 0,
    )
    policy = composing.new_policy(composition, skills, correction, joint)
    rows = [composing.observations(replay, OBSERVATIONS) for replay in replays]
    report = composition_report(policy, weights, composition.temperature, rows)
    composing.save(out, composition, skills, correction, joint, report)
    exported = replace(composing.export_composition(out, out / POLICY, policy), path=relative(out / POLICY))
    found = {"folder": relative(out), **report, "export": asdict(exported)}
    if values.distil is not None:
        say(f"distilling one actor at these weights, {values.distil:,} steps")
        plain = composing.distil_policy(policy, composition, replays, values.distil, out / DISTILLED, say)
        found["distilled"] = asdict(replace(plain, path=relative(out / DISTILLED)))
    if values.json:
        print_json(found)
    else:
        print(describe(found))
    return 0


def _new_folder(robot: str, kind: str) -> Path:
    """Where a composition goes unless told otherwise."""
    return Path("runs") / f"composed-{robot}" / f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}_{kind}"


def _parser() -> Parser:
    parser = Parser(
        "compose",
        "Put several trained policies together without a step in the world: one policy file whose weights and "
        "temperature may be turned while the robot moves, and a report on how far the skills disagree.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a finished run, or of one of its checkpoints")
    parser.add_argument(
        "--weights", type=float, nargs="+", metavar="W", help="of the runs, >= 0, sum 1; never rescaled [all alike]"
    )
    parser.add_argument("--names", nargs="+", metavar="NAME", help="of the skills [the folders']")
    parser.add_argument(
        "--kind",
        choices=COMPOSITIONS,
        default="conjunction",
        help="conjunction: all at once; or: any of them; gpi: the best policy of several for one task [conjunction]",
    )
    parser.add_argument(
        "--temperature", type=positive_number, metavar="T", help="reward units per nat [the skills' own]"
    )
    parser.add_argument(
        "--correct",
        type=whole_number(1),
        metavar="STEPS",
        help="learn the divergence correction from the skills' replay, in so many gradient steps [none]",
    )
    share = (
        "first let every skill learn from the experience of all, paid by its own weights of the reward's terms, in so "
        "many updates; for runs with trainer.keep_terms [none]"
    )
    parser.add_argument("--share", type=whole_number(1), metavar="UPDATES", help=share)
    joint = (
        "learn policy and Q of all skills together, for all weights, from their replay, paid by the weights of the "
        "reward's terms, in so many updates; for runs with trainer.keep_terms [none]"
    )
    parser.add_argument("--joint", type=whole_number(1), metavar="UPDATES", help=joint)
    points = "between the skills' means, the best by Q acts; 1 for the mean of the product, whatever Q says [16]"
    parser.add_argument("--points", type=whole_number(1), help=points)
    refine = "move the best point up the gradient of Q in so many steps, not far from the skills' own actions [none]"
    parser.add_argument("--refine", type=whole_number(1), default=0, metavar="STEPS", help=refine)
    parser.add_argument("--draws", type=whole_number(1), default=48, help="of a sampled action [48]")
    parser.add_argument(
        "--distil",
        type=whole_number(1),
        metavar="STEPS",
        help=f"also fit one plain actor to it at these weights, {DISTILLED} in the folder, in so many steps [none]",
    )
    parser.add_argument("--out", metavar="FOLDER", help="where to write it [runs/composed-ROBOT/TIME_KIND]")
    add_json(parser)
    return parser


def describe(found: Mapping[str, Any]) -> str:
    """The report as lines for a person."""
    rows = [
        ("weights", ", ".join(f"{n} {w:g}" for n, w in zip(found["skills"], found["weights"], strict=True))),
        ("temperature", f"{found['temperature']:.4g} (skills: {_each(found['alpha'], '{:.4g}')})"),
    ]
    if "bound" in found:
        apart, size, bound = found["disagreement_nats"], found["effective_sample_size"], found["bound"]
        rows += [
            ("disagreement", f"{apart['mean']:.3g} nats, {apart['low']:.3g} to {apart['high']:.3g} over the replay"),
            *(("  of two", f"{value:.3g} nats  {pair}") for pair, value in found["disagreement_of_pairs_nats"].items()),
            (
                "promised too much",
                f"at most about {bound['mean']:.3g}, {bound['high']:.3g} where they disagree most (bound C); "
                f"Q itself varies by {found['spread_of_q']:.3g}",
            ),
            *([("correction", f"{found['correction']['mean']:.3g} learnt")] if "correction" in found else []),
            ("draws that count", f"{size['median']:.1f} of {size['draws']} (median), {size['low']:.1f} at the low end"),
            ("action's std", _each(found["action_std"], "{:.3g}")),
            *(
                ("replay overlap", f"{100 * share:.0f} % of {one} lies near {other}")
                for one, others in found["overlap"].items()
                for other, share in others.items()
            ),
        ]
    rows.append(("policy file", f"{found['export']['path']}, {found['export']['size'] / 1e3:.0f} kB"))
    if "distilled" in found:
        rows.append(("distilled", f"{found['distilled']['path']}, {found['distilled']['size'] / 1e3:.0f} kB, plain"))
    lines = [f"{found['kind']} of {len(found['skills'])} skills, in {found['folder']}", table(rows)]
    if "samplers" in found:
        head = ("sampler", "best action", "+-", "sampled", "+-", "ms in torch")
        body = [
            (name, *(f"{row[key]:+.2f}" if "error" not in key else f"{row[key]:.2f}" for key in list(row)[:4]),
             f"{row['milliseconds']:.1f}")
            for name, row in found["samplers"].items()
        ]  # fmt: skip
        lines += ["", "Q above that of the product's mean, nats", table([head, *body])]
    lines += [f"warning: {line}" for line in found["warnings"]]
    return "\n".join(lines)


def _each(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {form.format(value)}" for name, value in values.items())
