"""Writes the tables of the docs that come from `benchmarks/results`.

    python benchmarks/pages.py

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. A test notices where a page says something else than
the results.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import learners
import returns
import sample_efficiency
import update_speed
from tables import read_lines

from robot_rl.training.metrics import read_metrics

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "learners.md")
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _update_speed() -> str:
    return update_speed.table(read_metrics(RESULTS / "update_speed.jsonl"), update_speed.OURS)


def _steps_to_walk() -> str:
    return sample_efficiency.walking_table(sample_efficiency.read_results(RESULTS / "steps_to_walk.jsonl"))


def _few_steps() -> str:
    found = sample_efficiency.read_results(RESULTS / "few_steps.jsonl")
    return sample_efficiency.returns_table(found, marks=(50_000, 100_000))


def _returns_on_policy() -> str:
    found = returns.read_results(RESULTS / "returns.jsonl")
    return returns.table([line for line in found if not line["uncounted"]], marks=(300_000,))


def _returns_from_a_replay() -> str:
    found = returns.read_results(RESULTS / "returns.jsonl")
    return returns.table([line for line in found if line["uncounted"]], marks=(100_000, 300_000))


def _learners() -> str:
    return learners.table(read_lines(RESULTS / "learners.jsonl"), steps=20_000, seconds=90.0)


TABLES: Mapping[str, Callable[[], str]] = {
    "update_speed": _update_speed,
    "steps_to_walk": _steps_to_walk,
    "few_steps": _few_steps,
    "learners": _learners,
    "returns_on_policy": _returns_on_policy,
    "returns_from_a_replay": _returns_from_a_replay,
}
"""By the name that stands in a page."""


def filled(page: str) -> str:
    """A page with every table as the results have it.

    Raises:
        KeyError: if the page asks for a table that there is none of.
    """
    return MARKED.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", page)


def main() -> None:
    """Writes the pages whose tables are not as the results have them."""
    for path in PAGES:
        page = path.read_text()
        if filled(page) != page:
            path.write_text(filled(page))
            print(f"{path.relative_to(ROOT)}: written")


if __name__ == "__main__":
    main()
