"""The certificate of transfer as a drawing, and as one page of HTML that needs nothing else."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from robot_rl.certificate import FAIL, NOMINAL_SHARE, PASS, UNSURE, Finding, Share
from robot_rl.make import missing_package

COLORS = {PASS: "#2b7a4b", FAIL: "#b3372f", UNSURE: "#b7791f"}
_OTHER = "#6b7280"


def plot(findings: Sequence[Finding], title: str) -> tuple[bytes, bytes]:
    """Share of the nominal return under each condition, with its interval, threshold and single episodes.

    Returns:
        The drawing as SVG and as PNG.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error

    nominal = findings[0]
    mean = sum(nominal.returns) / len(nominal.returns)
    shown = [one for one in findings[1:] if one.kept is not None]
    figure = Figure(figsize=(8.2, 1.3 + 0.42 * max(len(shown), 1)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row, one in enumerate(shown):
        assert one.kept is not None
        color = COLORS[one.verdict]
        if mean > 0.0:
            axes.plot(
                [value / mean for value in one.returns], [row + 0.22] * len(one.returns), "|", color=color, alpha=0.35
            )
        axes.plot([one.kept.low, one.kept.high], [row, row], color=color, linewidth=3, solid_capstyle="butt")
        axes.plot(one.kept.value, row, "o", color=color, markersize=7)
        axes.plot([one.threshold] * 2, [row - 0.36, row + 0.36], color="black", linewidth=1.2)
        axes.text(
            1.01, row, f"{one.kept.value:.0%} {one.verdict}", transform=axes.get_yaxis_transform(), va="center",
            color=color, fontsize=9,
        )  # fmt: skip
    axes.axvline(1.0, color="#9ca3af", linewidth=1.0, linestyle=":")
    axes.set_yticks(range(len(shown)), [one.name.replace("_", " ") for one in shown])
    axes.invert_yaxis()
    axes.set_xlim(min(0.0, *(one.kept.low for one in shown if one.kept), 0.0), None)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_xlabel("share of the nominal return: mean with 95 % interval, single episodes, threshold (black)")
    axes.set_title(title, fontsize=11)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    drawing, picture = io.BytesIO(), io.BytesIO()
    with rc_context({"svg.hashsalt": "certificate", "svg.fonttype": "none"}):
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    figure.savefig(picture, format="png")
    return drawing.getvalue(), picture.getvalue()


def page(about: Mapping[str, Any], findings: Sequence[Finding], given: bool, drawing: str) -> str:
    """The certificate as a page.

    Args:
        about: what was certified, and how.
        findings: of the nominal condition, then of the others.
        given: whether the policy passes.
        drawing: SVG.
    """
    rows = "\n".join(_row(one) for one in findings)
    facts = "\n".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>" for name, value in _facts(about)
    )
    terms = "\n".join(
        f"<h3>{html.escape(one.name.replace('_', ' '))}</h3><pre>{html.escape(_terms(one))}</pre>"
        for one in findings
        if one.terms
    )
    return _PAGE.format(
        title=html.escape(f"{about['policy']}: certificate of transfer"),
        policy=html.escape(str(about["policy"])),
        summary=html.escape(_summary(findings, given)),
        verdict="passes" if given else "does not pass",
        color=COLORS[PASS] if given else COLORS[FAIL],
        facts=facts,
        rows=rows,
        svg=drawing[drawing.index("<svg") :],
        share=f"{NOMINAL_SHARE:.0%}",
        terms=terms,
    )


def _summary(findings: Sequence[Finding], given: bool) -> str:
    if given:
        return "Every condition that applies to this robot was run, and the policy keeps what is asked for."
    parts = []
    for verdict, words in ((FAIL, "fails"), (UNSURE, "not shown to hold (more episodes would tell)")):
        names = [one.name.replace("_", " ") for one in findings if one.verdict == verdict]
        if names:
            parts.append(f"{words}: {', '.join(names)}")
    missing = [one.name.replace("_", " ") for one in findings if one.verdict == "not run"]
    if missing:
        parts.append(f"not run: {', '.join(missing)}")
    return "; ".join(parts).capitalize() + "."


def _facts(about: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("task", about["task"]),
        ("robot", f"{about['robot']} (file {str(about['robot_digest'])[:12]})"),
        ("policy file", f"{about['file']} (SHA-256 {str(about['sha256'])[:16]})"),
        ("episodes", f"{about['episodes']} a condition, seeds from {about['seed']}, the same starts and goals in all"),
        ("trained in", about["engine"]),
        ("made", f"{about['made']}, robot_rl {about['version']}"),
        ("command", about["command"]),
        ("left out", ", ".join(about["left_out"]) or "nothing"),
        *([("only", ", ".join(about["only"]))] if about["only"] else []),
    ]


def _row(one: Finding) -> str:
    name = html.escape(one.name.replace("_", " "))
    what = html.escape(one.description)
    color = COLORS.get(one.verdict, _OTHER)
    badge = f'<span style="color:{color}">{html.escape(one.verdict)}</span>'
    if one.kept is None:
        reason = html.escape(one.reason)
        return f'<tr><td>{name}<br><small>{what}</small></td><td colspan="5">{reason}</td><td>{badge}</td></tr>'
    engine = f" ({html.escape(one.engine)})" if one.name in ("nominal", "other_engine") else ""
    mean = sum(one.returns) / len(one.returns)
    if one.reason:
        badge += f"<br><small>{html.escape(one.reason)}</small>"
    return (
        f"<tr><td>{name}{engine}<br><small>{what}</small></td><td>{mean:.1f}</td><td>{_share(one.kept)}</td>"
        f"<td>{one.threshold:.0%}</td><td>{_share(one.completed)}</td><td>{_share(one.success)}</td><td>{badge}</td></tr>"
    )


def _share(share: Share | None) -> str:
    if share is None:
        return "-"
    return f"{share.value:.0%} <small>{share.low:.0%} to {share.high:.0%}</small>"


def _terms(one: Finding) -> str:
    return yaml.safe_dump(dict(one.terms or {}), sort_keys=False, default_flow_style=None).strip()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #1f2937; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; margin-bottom: .2rem; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
.verdict {{ display: inline-block; color: white; background: {color}; padding: .15rem .6rem; border-radius: .3rem; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }}
dt {{ color: #6b7280; }} dd {{ margin: 0; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; width: 100%; }} small {{ color: #6b7280; }}
th, td {{ text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #e5e7eb; }}
svg {{ max-width: 100%; height: auto; }} pre {{ background: #f3f4f6; padding: .6rem; overflow-x: auto; }}
h3 {{ font-size: .95rem; margin: 1rem 0 .2rem; }}
</style></head><body>
<h1>{policy} <span class="verdict">{verdict}</span></h1>
<p>{summary}</p>
<dl>
{facts}
</dl>
<h2>Conditions</h2>
<table><thead><tr><th>condition</th><th>return</th><th>kept</th><th>at least</th><th>to the end</th><th>success</th>
<th>verdict</th></tr></thead><tbody>
{rows}
</tbody></table>
<p><small>Kept is the share of the nominal return, with its 95 % interval (bootstrap over seeds); of the nominal row
it is the share of episodes that went well, whose interval must lie above {share}. A condition passes where the
whole interval is at or above its threshold, fails where it is below, and is unsure in between; an episode in which
the simulation diverged counts as a failure and fails the condition. To the end and success have Wilson's
intervals.</small></p>
{svg}
<h2>What each condition changes</h2>
{terms}
</body></html>
"""
