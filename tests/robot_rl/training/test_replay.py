"""The ring in memory against a plain list, and its segments on the disk."""

from pathlib import Path

import numpy as np
import pytest

from robot_rl.errors import ConfigurationError, InvalidInput, StorageError
from robot_rl.training.replay import Replay
from robot_rl.training.state import State


def rows(first: int, count: int) -> dict[str, np.ndarray]:
    """Transitions whose every number tells which transition it is."""
    index = np.arange(first, first + count, dtype=np.float32)
    return {
        "observation": np.stack([index, index + 0.1], axis=1),
        "action": index[:, None] + 0.2,
        "reward": index + 0.3,
        "next_observation": np.stack([index + 0.4, index + 0.5], axis=1),
        "terminated": index % 3 == 0,
    }


def held(replay: Replay) -> set[int]:
    return {round(float(r)) for r in replay.sample(2000).observation[:, 0]}


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
def test_ring_holds_the_newest_transitions_whole_after_wrapping_around(at_once: int):
    replay = Replay(10, 2, 1)
    for first in range(0, 35, at_once):
        replay.add(**rows(first, at_once))
        total = first + at_once
        assert len(replay) == min(total, 10)
        assert held(replay) == set(range(max(0, total - 10), total))
    batch = replay.sample(500)
    index = np.round(batch.observation[:, 0])
    np.testing.assert_allclose(batch.observation[:, 1], index + 0.1, atol=1e-5)
    np.testing.assert_allclose(batch.action[:, 0], index + 0.2, atol=1e-5)
    np.testing.assert_allclose(batch.reward, index + 0.3, atol=1e-5)
    np.testing.assert_allclose(batch.next_observation, np.stack([index + 0.4, index + 0.5], 1), atol=1e-5)
    np.testing.assert_array_equal(batch.terminated, (index % 3 == 0).astype(np.float32))


def test_batches_are_float32_of_the_documented_shapes():
    replay = Replay(10, 2, 1)
    replay.add(**rows(0, 4))
    batch = replay.sample(5)
    shapes = {name: getattr(batch, name).shape for name in rows(0, 1)}
    assert shapes == {
        "observation": (5, 2), "action": (5, 1), "reward": (5,), "next_observation": (5, 2), "terminated": (5,),
    }  # fmt: skip
    assert all(getattr(batch, name).dtype == np.float32 for name in shapes)


def test_kept_values_pay_the_reward_of_other_weights_and_survive_the_disk(tmp_path):
    def values_of(first, count):
        index = np.arange(first, first + count)
        return np.stack([index, -10.0 * index, np.ones(count)], axis=1)

    replay = Replay(10, 2, 1, terms=("near", "far", "time"))
    replay.add(**rows(0, 8), values=values_of(0, 8))
    replay.add(**rows(8, 6), values=values_of(8, 6))
    state = replay.save_to(tmp_path)
    loaded = Replay(10, 2, 1, terms=("near", "far", "time"))
    loaded.load_from(tmp_path, state)
    for one in (replay, loaded):
        batch = one.sample(200, np.array([2.0, 0.1, -0.5]))
        np.testing.assert_allclose(batch.reward, (2.0 - 0.1 * 10.0) * batch.observation[:, 0] - 0.5, atol=1e-4)
        own = one.sample(200)
        np.testing.assert_allclose(own.reward, own.observation[:, 0] + 0.3, atol=1e-4)
    with pytest.raises(StorageError, match=r"terms is \['near', 'far', 'time'\]"):
        Replay(10, 2, 1).load_from(tmp_path, state)


def test_a_value_that_is_not_finite_is_refused_by_its_place():
    replay = Replay(10, 2, 1, terms=("near", "far"))
    with pytest.raises(InvalidInput, match=r"values\[1\] is nan at transition 2"):
        replay.add(**rows(0, 3), values=np.array([[0.0, 0.0], [0.0, 0.0], [0.0, np.nan]]))


def test_a_replay_from_before_terms_were_kept_is_read(tmp_path):
    replay = Replay(10, 2, 1)
    replay.add(**rows(0, 4))
    state = replay.save_to(tmp_path)
    del state.values["terms"]
    loaded = Replay(10, 2, 1)
    loaded.load_from(tmp_path, state)
    assert held(loaded) == {0, 1, 2, 3}


def test_sampling_is_uniform():
    replay = Replay(8, 2, 1, seed=3)
    replay.add(**rows(0, 8))
    counts = np.bincount(np.round(replay.sample(80_000).observation[:, 0]).astype(int), minlength=8)
    # 10,000 expected each, standard deviation 94.
    assert np.abs(counts - 10_000).max() < 400


def test_sampling_depends_on_the_seed_alone():
    def drawn(seed: int) -> np.ndarray:
        replay = Replay(50, 2, 1, seed=seed)
        replay.add(**rows(0, 50))
        np.random.default_rng(0).random(10)
        return replay.sample(20).reward

    np.testing.assert_array_equal(drawn(1), drawn(1))
    assert not np.array_equal(drawn(1), drawn(2))


@pytest.mark.parametrize("name", ["observation", "action", "reward", "next_observation"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused_by_name_and_nothing_is_added(name: str, bad: float):
    replay = Replay(10, 2, 1)
    replay.add(**rows(0, 3))
    transitions = rows(3, 2)
    transitions[name].reshape(2, -1)[1, -1] = bad
    with pytest.raises(InvalidInput, match=f"{name}.* is {bad} at transition 4"):
        replay.add(**transitions)
    assert held(replay) == {0, 1, 2}


def test_sampling_from_an_empty_replay_is_refused():
    with pytest.raises(InvalidInput, match="empty"):
        Replay(10, 2, 1).sample(1)


def test_capacity_below_one_and_more_rows_than_capacity_are_refused():
    with pytest.raises(ConfigurationError, match="capacity"):
        Replay(0, 2, 1)
    with pytest.raises(InvalidInput, match="capacity"):
        Replay(3, 2, 1).add(**rows(0, 4))


def test_a_loaded_replay_holds_and_draws_the_same_at_every_stage_of_the_ring(tmp_path: Path):
    original = Replay(10, 2, 1, seed=5)
    for first, count in [(0, 4), (4, 3), (7, 6), (13, 9), (22, 10), (32, 1)]:
        original.add(**rows(first, count))
        reference = original.save_to(tmp_path)
        Replay.prune(tmp_path, [reference])
        loaded = Replay(10, 2, 1)
        loaded.load_from(tmp_path, reference)
        assert loaded.total == original.total
        np.testing.assert_array_equal(loaded.sample(64).reward, original.sample(64).reward)
        # and goes on writing segments that fit
        assert [s["file"] for s in loaded.save_to(tmp_path).values["segments"]] == [
            s["file"] for s in reference.values["segments"]
        ]


def test_more_transitions_than_the_ring_holds_between_two_saves_leave_no_gap(tmp_path: Path):
    original = Replay(10, 2, 1)
    for first in range(0, 27, 9):
        original.add(**rows(first, 9))
    loaded = Replay(10, 2, 1)
    loaded.load_from(tmp_path, original.save_to(tmp_path))
    assert held(loaded) == set(range(17, 27))


def test_saving_writes_only_what_is_new(tmp_path: Path):
    replay = Replay(100, 2, 1)
    replay.add(**rows(0, 5))
    replay.save_to(tmp_path)
    (first,) = tmp_path.iterdir()
    before = first.stat().st_mtime_ns
    replay.add(**rows(5, 5))
    replay.save_to(tmp_path)
    replay.save_to(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert first.stat().st_mtime_ns == before


def test_segments_that_a_checkpoint_refers_to_survive_pruning(tmp_path: Path):
    replay = Replay(4, 2, 1)
    replay.add(**rows(0, 4))
    old = replay.save_to(tmp_path)
    replay.add(**rows(4, 4))
    new = replay.save_to(tmp_path)
    Replay.prune(tmp_path, [old, new])
    for reference in (old, new):
        Replay(4, 2, 1).load_from(tmp_path, reference)
    Replay.prune(tmp_path, [new])
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(StorageError):
        Replay(4, 2, 1).load_from(tmp_path, old)


def saved(folder: Path) -> tuple[State, Path]:
    replay = Replay(10, 2, 1)
    replay.add(**rows(0, 5))
    reference = replay.save_to(folder)
    (segment,) = folder.iterdir()
    return reference, segment


@pytest.mark.parametrize("damage", ["missing", "short", "changed"])
def test_a_damaged_segment_is_refused_by_its_name(damage: str, tmp_path: Path):
    reference, segment = saved(tmp_path)
    content = bytearray(segment.read_bytes())
    if damage == "missing":
        segment.unlink()
    elif damage == "short":
        segment.write_bytes(content[:-1])
    else:
        content[-1] ^= 1
        segment.write_bytes(content)
    with pytest.raises(StorageError, match=segment.name):
        Replay(10, 2, 1).load_from(tmp_path, reference)


def test_a_replay_of_other_sizes_is_refused(tmp_path: Path):
    reference, _ = saved(tmp_path)
    with pytest.raises(StorageError, match="observation_size is 2, this run's is 3"):
        Replay(10, 3, 1).load_from(tmp_path, reference)
