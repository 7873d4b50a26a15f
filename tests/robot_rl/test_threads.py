"""What libgomp itself says of the environment that it was loaded in."""

import os
import subprocess
import sys

import pytest

CODE = "from robot_rl.threads import wait_briefly; wait_briefly(); import torch; torch.ones(1)"


def spins(**environment: str) -> str:
    without = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    told = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**without, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_DISPLAY_ENV": "VERBOSE", **environment},
        capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    lines = [line for line in told.splitlines() if "GOMP_SPINCOUNT" in line]
    if not lines:
        pytest.skip("torch computes with another OpenMP than GNU's here")
    return lines[0].split("'")[1]


def test_threads_that_wait_go_to_sleep_soon():
    assert spins() == "2000"


def test_what_the_user_has_set_stays():
    assert spins(GOMP_SPINCOUNT="7") == "7"
    assert spins(OMP_WAIT_POLICY="passive") == "0"
