"""The fit against SciPy, and the worth of its result against what many repetitions show."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import least_squares

from sim.identifiability import LIMIT, unidentifiable
from sim.least_squares import (
    Fit,
    covariance,
    gauss_newton,
    inverse_of,
    long_run_covariance,
    student_quantile,
)

TIME = np.linspace(0.0, 4.0, 200)


def decay(x):
    """A decaying swing: not linear in any of its three numbers."""
    return (x[0] * np.exp(-x[1] * TIME) * np.cos(x[2] * TIME))[:, None]


def slopes(x, _residuals):
    step = 1e-6
    return [np.array([(decay(x + step * axis) - decay(x)) / step for axis in np.eye(3)])]


def fit(measured, start, lower=-np.inf, floor=1e-3):
    return gauss_newton(
        lambda x: [measured - decay(x)],
        slopes,
        np.array(start),
        np.full(3, lower) if np.isscalar(lower) else np.array(lower),
        [np.array([floor])],
        prior=1e-9,
    )


def test_the_fit_is_that_of_scipy():
    rng = np.random.default_rng(0)
    measured = decay(np.array([2.0, 0.6, 3.0])) + 0.1 * rng.standard_normal((len(TIME), 1))
    found = fit(measured, [1.0, 0.2, 2.7])
    wanted = least_squares(lambda x: (measured - decay(x)).ravel(), [1.0, 0.2, 2.7])
    # The fit stops where a step is a fiftieth of the standard deviation.
    deviation = np.sqrt(np.diag(np.linalg.inv(wanted.jac.T @ wanted.jac))) * 0.1
    assert np.abs(found.x - wanted.x).max() < 0.05 * deviation.max()
    assert found.deviations[0] == pytest.approx(0.1, rel=0.15)
    classical = np.linalg.inv(wanted.jac.T @ wanted.jac) * float(found.deviations[0][0]) ** 2
    np.testing.assert_allclose(np.linalg.inv(found.information), classical, rtol=0.05)


def test_a_bound_holds_and_is_told():
    measured = decay(np.array([2.0, 0.1, 3.0]))
    found = fit(measured, [1.5, 0.5, 2.8], lower=[-np.inf, 0.3, -np.inf])
    assert found.x[1] == pytest.approx(0.3)
    assert found.at_bound.tolist() == [False, True, False]


def test_a_simulation_that_fails_at_a_trial_point_does_not_end_the_fit():
    measured = decay(np.array([2.0, 0.6, 3.0]))

    def residuals(x):
        return None if x[0] > 2.5 else [measured - decay(x)]

    start = np.array([0.3, 0.2, 2.7])
    found = gauss_newton(residuals, slopes, start, np.full(3, -np.inf), [np.array([1e-3])], prior=1e-9)
    np.testing.assert_allclose(found.x, [2.0, 0.6, 3.0], atol=1e-3)


def correlated(rng, shape, memory=0.9):
    """AR(1) of variance 1 along the first axis; its long-run variance is (1 + memory) / (1 - memory)."""
    noise = np.empty(shape)
    noise[0] = rng.standard_normal(shape[1:])
    for t in range(1, shape[0]):
        noise[t] = memory * noise[t - 1] + np.sqrt(1 - memory**2) * rng.standard_normal(shape[1:])
    return noise


def test_the_long_run_covariance_is_that_of_sums():
    rng = np.random.default_rng(1)
    samples = correlated(rng, (2000, 400), memory=0.6)
    stated = np.mean([long_run_covariance(samples[:, [k]], 50)[0, 0] for k in range(400)])
    # The theory's (1 + a) / (1 - a) T, less what a window of 50 cuts off.
    assert stated == pytest.approx(4.0 * 2000, rel=0.05)
    assert samples.sum(0).var() == pytest.approx(stated, rel=0.2)


def test_independent_scores_have_their_plain_covariance():
    scores = np.random.default_rng(2).standard_normal((5000, 2)) @ np.array([[1.0, 0.5], [0.0, 2.0]])
    np.testing.assert_allclose(long_run_covariance(scores, 1), scores.T @ scores)
    np.testing.assert_allclose(long_run_covariance(scores, 10), scores.T @ scores, rtol=0.25, atol=800)


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_intervals_hold_the_truth_as_often_as_they_say(memory):
    """A line through residuals that follow each other; with H^-1 alone intervals would be three times too narrow."""
    rng, count = np.random.default_rng(3), 400
    design = np.array([np.ones(1200), np.sin(0.02 * np.arange(1200))])  # (2, T)
    noise = correlated(rng, (1200, count), memory)
    held = 0
    for k in range(count):
        residual = noise[:, k] - design.T @ np.linalg.lstsq(design.T, noise[:, k], rcond=None)[0]
        estimate = np.linalg.lstsq(design.T, noise[:, k], rcond=None)[0]
        sigma = np.array([residual.std()])
        one = Fit(estimate, [residual[:, None]], [design[:, :, None]], [sigma], np.zeros(2, dtype=bool), 1)
        half = student_quantile(0.95, 1.5 * 1200 / 60) * np.sqrt(np.diag(covariance(one, [60])))
        held += (np.abs(estimate) <= half).sum()
    share = held / (2 * count)
    assert 0.91 < share < 0.985


def test_the_quantile_is_students():
    for degrees in (15, 40, 200):
        assert student_quantile(0.95, degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-3)


def test_a_singular_matrix_has_a_large_inverse_and_a_regular_one_its_own():
    regular = np.array([[4.0, 1.0], [1.0, 3.0]])
    np.testing.assert_allclose(inverse_of(regular), np.linalg.inv(regular))
    assert (np.diag(inverse_of(np.ones((2, 2)))) > 1e9).all()


def test_a_column_without_effect_is_given_up():
    information = np.diag([1e4, 1e-3, 1e4])
    assert list(unidentifiable(information, ["a", "b", "c"], [0, 0, 0])) == [1]
    assert "too little motion" in unidentifiable(information, ["a", "b", "c"], [0, 0, 0])[1]


def test_of_two_alike_the_one_of_higher_rank_is_given_up_and_names_the_other():
    slope = np.random.default_rng(4).standard_normal((3, 500)) * 10
    slope[2] = slope[0] + 1e-3 * slope[1]
    reasons = unidentifiable(slope @ slope.T, ["damping", "friction", "kd"], [3, 1, 9])
    assert list(reasons) == [2]
    assert "collinear" in reasons[2]
    assert "damping" in reasons[2]


def test_what_is_known_to_the_limit_is_kept():
    just = np.diag([1.02 / LIMIT**2, 0.98 / LIMIT**2])
    assert list(unidentifiable(just, ["a", "b"], [0, 0])) == [1]
