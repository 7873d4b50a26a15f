"""Page faults, counted by the kernel in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_COUNT = """
import resource
import numpy as np
import torch
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.sac import SAC
from robot_rl.training.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        learner.update(batch)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10

torch.set_num_threads(1)
learner = SAC(17, 6)
rows = lambda *shape: np.zeros((256, *shape), dtype=np.float32)
batch = Batch(rows(17), rows(6), rows(), rows(17), rows())
faults()
before = faults()
taken = keep_freed_memory()
faults()
print(taken, before, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these options")
def test_an_update_takes_its_memory_without_page_faults() -> None:
    output = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True).stdout
    taken, before, after = output.split()
    assert taken == "True"
    assert float(before) > 100, "malloc keeps the memory by itself here: this test shows nothing"
    assert float(after) < 0.1 * float(before)
