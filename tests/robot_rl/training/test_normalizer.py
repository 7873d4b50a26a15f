"""The normaliser against numpy's own mean and deviation."""

import math

import numpy as np
import pytest

from robot_rl.errors import InvalidInput, StorageError
from robot_rl.training.normalizer import Normalizer


def test_fixed_normaliser_by_hand():
    normalizer = Normalizer(np.array([1.0, -2.0]), np.array([2.0, 0.5]), clip=3.0)
    np.testing.assert_allclose(normalizer(np.array([[2.0, -1.5], [100.0, -100.0]])), [[0.5, 1.0], [3.0, -3.0]])
    normalizer.observe(np.ones((10, 2)))
    np.testing.assert_array_equal(normalizer.offset, [1.0, -2.0])


def test_identity_changes_nothing_not_even_large_numbers():
    identity = Normalizer.identity(2)
    observation = np.array([1e6, -3.0], np.float32)
    np.testing.assert_array_equal(identity(observation), observation)
    assert identity.is_identity
    assert not Normalizer(np.zeros(2), np.ones(2)).is_identity  # it clips
    assert not Normalizer.running_statistics(2).is_identity


@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_running_statistics_equal_those_of_all_observations_in_any_chunks(chunk: int):
    observations = np.random.default_rng(0).normal([1000.0, -0.01], [5.0, 0.2], (300, 2))
    normalizer = Normalizer.running_statistics(2)
    for start in range(0, 300, chunk):
        normalizer.observe(observations[start : start + chunk])
    np.testing.assert_allclose(normalizer.offset, observations.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(normalizer.scale, observations.std(axis=0), rtol=1e-5)


def test_an_entry_that_never_varies_keeps_its_unit():
    normalizer = Normalizer.running_statistics(1)
    for _ in range(10):
        normalizer.observe(np.array([7.0]))
    assert normalizer(np.array([7.5]))[0] == pytest.approx(0.5)


def test_a_loaded_normaliser_goes_on_as_the_saved_one():
    observations = np.random.default_rng(0).normal(size=(20, 3))
    original = Normalizer.running_statistics(3, clip=4.0)
    original.observe(observations[:10])
    loaded = Normalizer.identity(3)
    loaded.load_state(original.state())
    for normalizer in (original, loaded):
        normalizer.observe(observations[10:])
    np.testing.assert_array_equal(original.scale, loaded.scale)
    assert loaded.clip == 4.0
    loaded.load_state(Normalizer.identity(3).state())
    assert math.isinf(loaded.clip)
    assert loaded.is_identity


@pytest.mark.parametrize(
    ("offset", "scale", "clip"),
    [([0.0], [0.0], 1.0), ([np.nan], [1.0], 1.0), ([0.0, 1.0], [1.0], 1.0), ([0.0], [1.0], 0.0)],
)
def test_numbers_that_cannot_normalise_are_refused(offset: list[float], scale: list[float], clip: float):
    with pytest.raises(InvalidInput, match="normaliser"):
        Normalizer(np.array(offset), np.array(scale), clip)


def test_a_state_of_another_size_is_refused():
    with pytest.raises(StorageError, match="3 entries, the observation has 2"):
        Normalizer.identity(2).load_state(Normalizer.identity(3).state())
