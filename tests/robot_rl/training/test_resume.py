"""A run killed by SIGKILL, many times and at every stage of a save, ends where an uninterrupted one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


KINDS = ["snapshots", "episodes", "vector"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the runs of every kind."""
    folder = tmp_path_factory.mktemp("runs")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("killable_run.py")
    subprocess.run([sys.executable, str(script), str(folder), *KINDS], check=True, env=environment, timeout=280)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_again_and_again_ends_bit_for_bit_like_an_uninterrupted_one(kind: str, runs: Path):
    outcome = json.loads((runs / kind / "outcome.json").read_text())
    assert outcome["kills"] >= 8
    assert outcome["killed"]["sha256"] == outcome["whole"]["sha256"]
    assert outcome["killed"]["metrics"] == outcome["whole"]["metrics"]
    steps = [line["step"] for line in outcome["killed"]["metrics"]]
    assert steps == sorted(set(steps))
    # Nothing half-written and nothing that no checkpoint refers to is left behind.
    left = [path.name for path in (runs / kind / "killed").rglob("*") if path.name.endswith(".tmp")]
    assert left == []
