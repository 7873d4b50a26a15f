"""Small array functions: one robot and many give the same."""

import numpy as np
import pytest

from robot_rl import arrays

RNG = np.random.default_rng(0)
BATCH = RNG.normal(size=(7, 5))


def test_components_and_back_is_where_one_came_from():
    for array in (BATCH, BATCH[0], BATCH.reshape(7, 1, 5)):
        assert np.array_equal(arrays.from_components(arrays.components(array)), array)
    assert all(type(number) is float for number in arrays.components(BATCH[0]))


def test_squared_norm_is_the_sum_of_squares():
    assert arrays.squared_norm(BATCH) == pytest.approx(np.linalg.norm(BATCH, axis=1) ** 2)
    assert arrays.squared_norm(BATCH[2]) == pytest.approx(np.linalg.norm(BATCH[2]) ** 2)


@pytest.mark.parametrize(("ours", "theirs"), [(arrays.exp, np.exp), (arrays.sqrt, np.sqrt)])
def test_functions_of_a_component_are_numpys(ours, theirs):
    values = np.linspace(0.0, 5.0, 20)
    assert np.array_equal(ours(values), theirs(values))
    assert [ours(float(value)) for value in values] == pytest.approx(theirs(values), rel=1e-15)


def test_angles_of_a_component_are_numpys():
    angles = np.linspace(-3.0, 3.0, 20)
    for cosine, sine in (arrays.cos_sin(angles), np.transpose([arrays.cos_sin(float(angle)) for angle in angles])):
        assert cosine == pytest.approx(np.cos(angles), rel=1e-14, abs=1e-15)
        assert arrays.arctan2(sine, cosine) == pytest.approx(angles)
        assert [arrays.arctan2(float(s), float(c)) for s, c in zip(sine, cosine, strict=True)] == pytest.approx(angles)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_one_number_that_is_not_finite_is_noticed_wherever_it_stands(bad, place):
    for array in (BATCH, BATCH[3], BATCH.astype(np.float32)[3]):
        broken = array.copy()
        broken[..., place] = bad
        assert arrays.all_finite(array)
        assert not arrays.all_finite(broken)
        assert arrays.within(array, -10.0, 10.0)
        assert not arrays.within(broken, -10.0, 10.0)


def test_infinities_of_both_signs_do_not_cancel():
    assert not arrays.all_finite(np.array([np.inf, -np.inf]))
    assert not arrays.within(np.array([np.inf, -np.inf]), -1.0, 1.0)


def test_within_includes_its_bounds():
    for array in (np.array([-1.0, 1.0]), np.array([[-1.0, 1.0]])):
        assert arrays.within(array, -1.0, 1.0)
        assert not arrays.within(np.nextafter(array, np.inf), -1.0, 1.0)
        assert not arrays.within(np.nextafter(array, -np.inf), -1.0, 1.0)


def test_every_is_true_only_where_all_rows_are():
    for rows, answer in (
        (True, True),
        (False, False),
        (np.array([True, True]), True),
        (np.array([True, False]), False),
    ):
        assert arrays.every(rows) is answer


def test_kept_copies_only_what_could_change():
    array = np.ones(3)
    copy = arrays.kept(array)
    array[:] = 2
    assert copy.tolist() == [1, 1, 1]
    assert not copy.flags.writeable
    assert arrays.kept(copy) is copy
    view = array[:]
    view.setflags(write=False)
    kept = arrays.kept(view)  # read-only itself, and yet its owner may write
    array[:] = 3
    assert kept.tolist() == [2, 2, 2]
    assert arrays.kept(np.ones(3, np.float32)).dtype == np.float64
