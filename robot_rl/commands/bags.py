"""What a bag holds, for `robot-rl info`."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from robot_rl.commands.output import duration, relative, say, table
from robot_rl.make import bag_timing, open_bag
from robot_rl.training.files import replace_file


def is_bag(path: Path) -> bool:
    """Whether a path is a bag's folder or a file of one, finished or not."""
    if path.is_dir():
        return any(path.glob("*.mcap")) or any(path.glob("unfinished/*/*.mcap"))
    return path.suffix == ".mcap" and path.is_file()


def bag_content(path: Path) -> dict[str, Any]:
    """Everything that `robot-rl info --json` says of a bag; times in s, rates in Hz."""
    bag = open_bag(path)
    topics, markers = bag.summary(), bag.markers()
    times = [record.time for record in bag.records()]
    about = markers[0][2] if markers else {}
    return {
        "bag": relative(path),
        "robot": about.get("robot"),
        "task": about.get("task") or None,
        "policy": about.get("policy") or None,
        "begins": 1e-9 * min(times) if times else None,
        "duration": 1e-9 * (max(times) - min(times)) if times else 0.0,
        "messages": len(times),
        "lost": sum(int(marker.get("lost", 0)) for _, _, marker in markers),
        "bytes": sum(file.stat().st_size for file in bag.files),
        "files": [file.name for file in bag.files],
        "unfinished": [relative(file) for file in bag.unfinished],
        "topics": [vars(topic) for topic in topics],
        "episodes": [
            {
                "number": episode.about["number"],
                "file": episode.file.name,
                "duration": episode.seconds,
                "ticks": episode.ticks,
                "goal": episode.about.get("goal"),
                "goal_labels": episode.about.get("goal_labels"),
                "ended": episode.ended.get("reason"),
            }
            for episode in bag.episodes()
        ],
    }


def write_timing(path: Path, to: str) -> None:
    """Writes the timing log of a bag, and says what is in it."""
    timing = bag_timing(open_bag(path))
    replace_file(Path(to), timing.trace.to_csv().encode())
    period, age = (1e3 * values for values in (timing.trace.period, timing.trace.state_age))
    clock = "" if timing.same_clock else " beyond the least one (the robot's clock is another)"
    say(
        f"{relative(to)}: {len(period):,} ticks, period p50 {np.median(period):.2f}, max {period.max():.2f} ms, "
        f"age of the state p50 {np.median(age):.2f}, max {age.max():.2f} ms{clock}"
    )


def describe_bag(found: dict[str, Any]) -> str:
    """The same as a page for a person."""
    begins = found["begins"]
    rows = [
        ("robot", found["robot"] or "unknown: not recorded by robot-rl"),
        ("task", found["task"]),
        ("policy", found["policy"]),
        ("begins", datetime.fromtimestamp(begins).strftime("%Y-%m-%d %H:%M:%S") if begins else "-"),
        ("duration", duration(found["duration"])),
        ("messages", f"{found['messages']:,}" + (f", {found['lost']:,} lost while recording" if found["lost"] else "")),
        ("files", f"{len(found['files'])}, {found['bytes'] / 1e6:.1f} MB"),
    ]
    if found["unfinished"]:
        rows.append(("unfinished", f"{', '.join(found['unfinished'])}: cut off while recording, not read"))
    sections = [f"Bag {found['bag']}\n{table((name, value) for name, value in rows if value)}"]
    if found["topics"]:
        head: tuple[str, ...] = ("topic", "type", "messages", "rate", "longest gap", "gaps")
        sections.append(f"Topics\n{table([head, *map(_topic, found['topics'])])}")
    if found["episodes"]:
        head = ("episode", "duration", "ticks", "goal", "ended by")
        sections.append(f"Episodes\n{table([head, *map(_episode, found['episodes'])])}")
    return "\n\n".join(sections)


def _topic(topic: dict[str, Any]) -> tuple[str, ...]:
    rate, gap = topic["rate"], topic["longest_gap"]
    return (
        topic["name"],
        topic["kind"],
        f"{topic['count']:,}",
        "-" if math.isnan(rate) else f"{rate:.1f} Hz",
        "-" if math.isnan(gap) else f"{gap:.3f} s",
        str(topic["gaps"]),
    )


def _episode(episode: dict[str, Any]) -> tuple[str, ...]:
    goal, labels = episode["goal"] or [], episode["goal_labels"] or []
    named = [f"{name} {value:g}" for name, value in zip(labels, goal, strict=False)]
    shown = ", ".join(named or [f"{value:g}" for value in goal]) or "-"
    ended = episode["ended"]
    return (
        str(episode["number"]),
        f"{episode['duration']:.1f} s",
        str(episode["ticks"]),
        shown,
        "cut off" if ended is None else ended or "-",
    )
