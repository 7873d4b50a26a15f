"""Weights between two processes: never half of one version and half of another."""

import multiprocessing

import numpy as np
import pytest

from robot_rl.training.shared_weights import SharedWeights

SPAWN = multiprocessing.get_context("spawn")
SIZE = 20_000


def write_until(weights: SharedWeights, last: int) -> None:
    """In another process: version k is the vector of k everywhere, written as fast as it goes."""
    for version in range(1, last + 1):
        weights.write(np.full(SIZE, version, dtype=np.float32))


@pytest.fixture
def weights() -> SharedWeights:
    return SharedWeights(SIZE, SPAWN)


def test_the_newest_version_is_read_once(weights: SharedWeights):
    assert weights.read() is None
    weights.write(np.full(SIZE, 1.0))
    weights.write(np.full(SIZE, 2.0))
    found = weights.read(0)
    assert found is not None
    values, version = found
    assert version == 2
    assert (values == 2.0).all()
    assert weights.read(version) is None


def test_what_was_read_does_not_change_with_later_writes(weights: SharedWeights):
    weights.write(np.full(SIZE, 1.0))
    values, _ = weights.read()
    for _ in range(2):
        weights.write(np.full(SIZE, 9.0))
    assert (values == 1.0).all()


def test_half_a_write_is_not_read(weights: SharedWeights):
    weights.write(np.full(SIZE, 1.0))
    weights._values[1, SIZE // 2 :] = 7.0  # version 1 lies in buffer 1
    assert weights.read() is None


def test_a_buffer_that_is_being_written_over_is_not_read(weights: SharedWeights):
    weights.write(np.full(SIZE, 1.0))
    weights._versions[1] = 3
    assert weights.read() is None


def test_a_writer_at_full_speed_never_gives_a_torn_vector(weights: SharedWeights):
    last = 1500
    writer = SPAWN.Process(target=write_until, args=(weights, last))
    writer.start()
    version, reads = 0, 0
    while version < last:
        found = weights.read(version)
        if found is None:
            assert writer.is_alive() or weights.version == last
            continue
        values, newer = found
        assert newer > version
        assert (values == float(newer)).all()
        version, reads = newer, reads + 1
    writer.join()
    assert reads > 10
