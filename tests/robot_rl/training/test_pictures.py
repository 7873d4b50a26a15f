"""Pictures in replay: what comes out is what went in, in bytes and each kept once."""

import numpy as np
import pytest

from robot_rl.errors import StorageError
from robot_rl.training.replay import Replay

STATE, PIXELS = 2, 12
COLUMNS = slice(STATE, STATE + PIXELS)


def stream(copies, ticks, seed=0, last=0.15):
    """Transitions of several environments in step, some of which end at every tick; rows of state, pixels, one more."""
    rng = np.random.default_rng(seed)

    def observe(count):
        rows = rng.standard_normal((count, STATE + PIXELS + 1)).astype(np.float32)
        rows[:, COLUMNS] = rng.integers(0, 256, (count, PIXELS))
        return rows

    now = observe(copies)
    for _ in range(ticks):
        after = observe(copies)
        yield now, rng.uniform(-1, 1, (copies, 1)).astype(np.float32), rng.standard_normal(copies), after
        ended = rng.random(copies) < last
        now = np.where(ended[:, None], observe(copies), after)


def fill(replay, copies, ticks, seed=0):
    kept = []
    for now, action, reward, after in stream(copies, ticks, seed):
        replay.add(now, action, reward, after, np.zeros(copies), environment=np.arange(copies))
        kept += [tuple(part[i].copy() for part in (now, after)) for i in range(copies)]
    return kept


def new(capacity):
    return Replay(capacity, STATE + PIXELS + 1, 1, seed=1, pixels=COLUMNS)


def drawn(replay, count=400):
    batch = replay.sample(count)
    return {(a.tobytes(), b.tobytes()) for a, b in zip(batch.observation, batch.next_observation, strict=True)}


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("ticks", [5, 20, 61])
def test_what_is_drawn_is_what_was_added_last(copies, ticks):
    replay = new(30)
    kept = fill(replay, copies, ticks)[-30:]
    assert drawn(replay) == {(a.tobytes(), b.tobytes()) for a, b in kept}


def test_environments_that_are_not_named_apart_cost_memory_and_nothing_else():
    replay = new(30)
    kept = []
    for now, action, reward, after in stream(2, 25):
        order = np.random.default_rng(len(kept)).permutation(2)
        replay.add(now[order], action[order], reward[order], after[order], np.zeros(2))
        kept += [(now[i], after[i]) for i in order]
    assert drawn(replay) == {(a.tobytes(), b.tobytes()) for a, b in kept[-30:]}


def test_a_picture_is_kept_once_and_in_bytes():
    replay = new(1000)
    ends = 0
    previous = None
    for now, action, reward, after in stream(1, 1000, last=0.02):
        ends += previous is not None and not np.array_equal(previous, now)
        previous = after
        replay.add(now, action, reward, after, np.zeros(1))
    pictures = replay._pictures
    assert pictures._before.dtype == np.uint8
    assert pictures._before.shape == (1000, PIXELS)
    assert len(pictures._after) == ends + 1  # the last picture of each episode, and the newest of all
    assert replay._rows.width == 2 * (STATE + 1) + 3


@pytest.mark.parametrize("saves", [[20, 20], [7, 50, 3], [70]])
def test_a_saved_replay_goes_on_as_it_was(saves, tmp_path):
    replay, again = new(30), new(30)
    for seed, ticks in enumerate(saves):
        fill(replay, 2, ticks, seed)
        reference = replay.save_to(tmp_path)
        Replay.prune(tmp_path, [reference])
    again.load_from(tmp_path, reference)
    for _ in range(3):
        ours, theirs = replay.sample(64), again.sample(64)
        np.testing.assert_array_equal(ours.observation, theirs.observation)
        np.testing.assert_array_equal(ours.next_observation, theirs.next_observation)
    fill(replay, 2, 40, 99)
    fill(again, 2, 40, 99)
    np.testing.assert_array_equal(replay.sample(64).next_observation, again.sample(64).next_observation)


def test_a_damaged_file_of_pictures_is_named(tmp_path):
    replay = new(30)
    fill(replay, 1, 20)
    reference = replay.save_to(tmp_path)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StorageError, match=path.name):
        new(30).load_from(tmp_path, reference)
