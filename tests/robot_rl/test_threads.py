"""What libgomp itself says of the environment that it was loaded in."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = "from robot_rl.threads import wait_briefly; wait_briefly(); import ctypes, sys; ctypes.CDLL(sys.argv[1])"


def libgomp() -> str:
    """The one that torch computes with, found without the seconds that loading torch takes."""
    torch = importlib.util.find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    return str(next((Path(torch.origin).parent / "lib").glob("libgomp*"), "libgomp.so.1"))


def spins(**environment: str) -> str:
    without = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    told = subprocess.run(
        [sys.executable, "-c", CODE, libgomp()],
        env={**without, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_DISPLAY_ENV": "VERBOSE", **environment},
        capture_output=True, text=True,
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
