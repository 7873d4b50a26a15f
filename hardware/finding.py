"""What a check of the doctor says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

VERDICTS = ("ok", "note", "warn", "fail", "unknown")
"""note: worth knowing; warn: look at it; fail: do not run a policy; unknown: could not be told, and why."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    check: str
    found: str
    expected: str
    verdict: str
    advice: str = ""
    blocks: bool = False
    """Whether moving would be unwise before this is put right."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def failed(findings: Iterable[Finding]) -> bool:
    """Whether a check failed."""
    return any(finding.verdict == "fail" for finding in findings)


def judged(good: bool, check: str, found: str, expected: str, advice: str, verdict: str = "fail") -> Finding:
    """ok without advice, or the verdict given with it."""
    return Finding(check, found, expected, "ok" if good else verdict, "" if good else advice)


def joints_named(names: Iterable[str], limit: int = 4) -> str:
    """`a, b, c and 9 more`."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more
