"""What can be made of skills without new interaction, exactly, on finite problems.

Skill i is the optimal soft Q-function Q_i of its own reward r_i. All skills share dynamics, discount and temperature.
The task asked for is the mean reward r_w = sum_i w_i r_i, with weights that sum to one, and Q_w is its optimal soft
Q-function. Throughout, `q` is the stack (N, S, A) of Q_1 ... Q_N.

- `conjunction`: Qbar = sum_i w_i Q_i, never below Q_w
- `conjunction_bound`: Qbar - C <= Q_w
- `acting_bound`: acting on Qbar loses at most D
- `divergence_correction`: Qbar - C_w = Q_w exactly
- `gpi_policy`: generalised policy improvement, no worse than any of several policies

Sources: Haarnoja et al. 2018 (arXiv 1803.06773) for the mean and its bounds, Hunt et al. 2019 (arXiv 1812.02216) for
the correction and for generalised policy improvement with entropy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from robot_rl.algorithms.tabular.mdp import FiniteMDP
from robot_rl.algorithms.tabular.values import (
    boltzmann_policy,
    fixed_point,
    hard_evaluation,
    hard_policy_iteration,
    log_boltzmann_policy,
    soft_value,
)
from robot_rl.arrays import Array
from robot_rl.errors import InvalidInput

WEIGHT_TOLERANCE = 1e-9
"""How far the sum of the weights may be from one."""


def skill_weights(weights: ArrayLike | None, count: int) -> Array:
    """The weights of N skills, (N,); None weighs all alike.

    They are taken as they are and never rescaled: weights that sum to k act like a temperature divided by k, which is
    another task than the one asked for.

    Raises:
        InvalidInput: there are not N, one is no number, negative or NaN, or they do not sum to one.
    """
    if weights is None:
        return np.full(count, 1 / count)
    try:
        given = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"weights must be numbers >= 0 of sum 1, got {weights!r}") from error
    if given.shape != (count,):
        found = f"{len(given)}: {given.tolist()}" if given.ndim == 1 else f"shape {given.shape}"
        raise InvalidInput(f"weights: {count} skills need as many weights, got {found}")
    if not (given >= 0).all() or not abs(given.sum() - 1) <= WEIGHT_TOLERANCE:
        raise InvalidInput(f"weights must be >= 0 and sum to 1, got {given.tolist()} with sum {given.sum():g}")
    return given


def conjunction(q: Array, weights: ArrayLike | None = None) -> Array:
    """Qbar = sum_i w_i Q_i, (S, A): the skills' Q-functions averaged, not summed.

    Its Boltzmann policy is the normalised product of the skills' policies, prod_i pi_i^w_i. The plain sum of N
    Q-functions has the Boltzmann policy of the mean at temperature alpha / N.

    Args:
        q: Q_i, (N, S, A), or any (N, ...), reward units.
        weights: w, (N,), sum 1; None weighs all alike.

    Raises:
        InvalidInput: see `skill_weights`.
    Source: Haarnoja et al. 2018.
    """
    return np.tensordot(skill_weights(weights, len(q)), q, axes=1)


def log_product_of_policies(q: Array, alpha: float, weights: ArrayLike | None = None) -> Array:
    """sum_i w_i log pi_i(a|s), (S, A), for the Boltzmann policies of q (N, S, A); not normalised."""
    return conjunction(log_boltzmann_policy(q, alpha), weights)


def disagreement(q: Array, alpha: float, weights: ArrayLike | None = None) -> Array:
    """How far the skills' policies differ in each state: -log sum_a prod_i pi_i(a|s)^w_i.

    Args:
        q: Q_i, (N, S, A), reward units.
        alpha: temperature, > 0, reward units per nat.
        weights: w, (N,), sum 1; None weighs all alike.

    Returns:
        Nats, (S,), >= 0, and 0 only where all policies with a weight agree. For two skills and w = 1/2 it is half of
        their Renyi divergence of order 1/2.
    """
    return -soft_value(log_product_of_policies(q, alpha, weights), alpha=1.0)


def conjunction_bound(mdp: FiniteMDP, q: Array, alpha: float, weights: ArrayLike | None = None) -> Array:
    """C with Qbar - C <= Q_w <= Qbar.

    C(s,a) = gamma E_{s'}[alpha disagreement(s') + max_a' C(s',a')], which is the optimal Q of an ordinary problem that
    pays for reaching states where the skills disagree.

    Args:
        mdp: any one of the skills' problems; its reward is not looked at.
        q: optimal soft Q_i, (N, S, A), reward units.
        alpha: temperature, > 0, reward units per nat.
        weights: w, (N,), sum 1; None weighs all alike.

    Returns:
        C, (S, A), reward units, >= 0.

    Raises:
        InvalidInput: q does not fit the problem, alpha is not positive, or see `skill_weights`.
    Source: Haarnoja et al. 2018; here for any number of skills, weights and temperature.
    """
    _require_fit(mdp, q)
    paid = mdp.discounted_next(alpha * disagreement(q, alpha, weights))  # (S, A)
    return hard_policy_iteration(mdp.with_reward(paid))


def acting_bound(mdp: FiniteMDP, q: Array, alpha: float, weights: ArrayLike | None = None) -> Array:
    """D with Q^pi >= Q_w - D for pi the Boltzmann policy of Qbar, evaluated on the mean reward.

    D(s,a) = gamma E_{s'} E_{a'~pi}[C(s',a') + D(s',a')], which is what pi collects when C is the reward.

    Takes, gives and raises as `conjunction_bound`. Source: Haarnoja et al. 2018.
    """
    bound = conjunction_bound(mdp, q, alpha, weights)  # (S, A)
    policy = boltzmann_policy(conjunction(q, weights), alpha)  # (S, A)
    paid = mdp.discounted_next((policy * bound).sum(axis=1))  # (S, A)
    return hard_evaluation(mdp.with_reward(paid), policy)


def divergence_correction(mdp: FiniteMDP, q: Array, alpha: float, weights: ArrayLike | None = None) -> Array:
    """C_w with Q_w = Qbar - C_w exactly; 0 <= C_w <= C of `conjunction_bound`.

    It knows the skills' policies and the dynamics, and no reward. Takes and raises as `conjunction_bound`.

    Returns:
        C_w, (S, A), reward units: what the average promises too much.
    Source: Hunt et al. 2019; here for any number of skills.
    """
    _require_fit(mdp, q)
    log_product = log_product_of_policies(q, alpha, weights)  # (S, A)
    return fixed_point(lambda correction: divergence_backup(mdp, correction, log_product, alpha), mdp)


def divergence_backup(mdp: FiniteMDP, correction: Array, log_product: Array, alpha: float) -> Array:
    """C_w(s,a) <- -alpha gamma E_{s'} log sum_a' prod_i pi_i(a'|s')^w_i exp(-C_w(s',a') / alpha), (S, A).

    Args:
        mdp: for its dynamics and discount.
        correction: C_w so far, (S, A), reward units.
        log_product: from `log_product_of_policies`, (S, A).
        alpha: temperature, > 0, reward units per nat.
    """
    return -mdp.discounted_next(soft_value(alpha * log_product - correction, alpha))


def gpi_policy(q: Array, alpha: float) -> Array:
    """Generalised policy improvement with entropy: pi(a|s) proportional to exp(max_i Q^pi_i(s, a) / alpha).

    Args:
        q: Q^pi_i of several policies on *one* reward, (N, S, A), from `soft_evaluation`; the policies may be any.
        alpha: temperature, > 0, reward units per nat.

    Returns:
        Probabilities, (S, A); Q of this policy is nowhere below any Q^pi_i.
    Source: Hunt et al. 2019.
    """
    return boltzmann_policy(q.max(axis=0), alpha)


def _require_fit(mdp: FiniteMDP, q: Array) -> None:
    if q.ndim != 3 or q.shape[1:] != mdp.reward.shape:
        raise InvalidInput(f"q of the skills must be (N, {mdp.states}, {mdp.actions}), got {q.shape}")
