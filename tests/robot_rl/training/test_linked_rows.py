"""Rows that hold each observation once against rows that hold everything."""

import numpy as np
import pytest

from robot_rl.training.linked_rows import LinkedRows

SIZE, REST = 3, 2
WIDTH = 2 * SIZE + REST
OBSERVATION, NEXT = slice(0, SIZE), slice(SIZE + 1, 2 * SIZE + 1)


class Plain:
    """The same ring as one matrix."""

    def __init__(self, capacity: int) -> None:
        self.rows = np.full((capacity, WIDTH), np.nan, dtype=np.float32)

    def write(self, start: int, rows: np.ndarray) -> None:
        for index, row in enumerate(rows):
            self.rows[(start + index) % len(self.rows)] = row


class Walkers:
    """Environments that step in turns, whose episodes end now and then; a row of those that are not resetting."""

    def __init__(self, count: int, end: float, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.now = self._start(count)
        self.end = end
        self.resting = np.zeros(count, dtype=bool)

    def _start(self, count: int) -> np.ndarray:
        # Few different starts, so that episodes of two environments can begin, and end, with the same observation.
        return self.rng.integers(0, 3, (count, SIZE)).astype(np.float32)

    def step(self) -> np.ndarray:
        count = len(self.now)
        following = self.rng.integers(0, 3, (count, SIZE)).astype(np.float32)
        rows = np.concatenate(
            [self.now, self.rng.random((count, 1)), following, self.rng.random((count, 1))], axis=1, dtype=np.float32
        )
        kept = ~self.resting
        ended = kept & (self.rng.random(count) < self.end)
        self.now = np.where(self.resting[:, None], self._start(count), following)
        self.resting = ended
        return rows[kept]


@pytest.mark.parametrize("environments", [1, 2, 5])
@pytest.mark.parametrize("capacity", [7, 40, 301])
@pytest.mark.parametrize("at_once", [1, 3])
def test_every_row_comes_back_whole_whatever_was_written(environments: int, capacity: int, at_once: int):
    walkers = Walkers(environments, 0.15, seed=environments)
    plain, ours = Plain(capacity), LinkedRows(capacity, WIDTH, OBSERVATION, NEXT)
    total = 0
    rng = np.random.default_rng(0)
    for _ in range(200):
        rows = np.concatenate([walkers.step() for _ in range(at_once)])[:capacity]
        for ring in (plain, ours):
            ring.write(total % capacity, rows)
        total += len(rows)
        indices = rng.integers(0, min(total, capacity), 20)
        if total:
            np.testing.assert_array_equal(ours.take(indices), plain.rows[indices])
    everything = np.arange(min(total, capacity))
    np.testing.assert_array_equal(ours.take(everything), plain.rows[everything])


def test_rows_that_nothing_connects_come_back_too():
    rng = np.random.default_rng(1)
    plain, ours = Plain(3000), LinkedRows(3000, WIDTH, OBSERVATION, NEXT)
    for start in range(0, 9000, 900):
        rows = rng.random((900, WIDTH), dtype=np.float32)
        for ring in (plain, ours):
            ring.write(start % 3000, rows)
    np.testing.assert_array_equal(ours.take(np.arange(3000)), plain.rows)


@pytest.mark.parametrize("environments", [1, 8])
def test_a_million_transitions_of_go2_fit_into_400_megabytes(environments: int):
    # 48 observations, 12 actions, a reward, whether terminated. Memory per row does not depend on how many there are.
    size, width, capacity = 48, 2 * 48 + 12 + 2, 20_000
    ring = LinkedRows(capacity, width, slice(0, size), slice(size + 13, 2 * size + 13))
    rng = np.random.default_rng(0)
    now = rng.random((environments, size), dtype=np.float32)
    for step in range(2 * capacity // environments):
        rows = rng.random((environments, width), dtype=np.float32)
        rows[:, :size] = now
        now = rows[:, size + 13 : 2 * size + 13].copy()
        if step % 500 == 499:  # an episode ends: the next one starts elsewhere
            now = rng.random((environments, size), dtype=np.float32)
        ring.write(step * environments % capacity, rows)
    assert ring.memory / capacity * 1_000_000 < 300e6
