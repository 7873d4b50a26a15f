"""Soft values on finite problems, and their hard counterparts, which are the limit of temperature zero.

The objective is E[sum_t gamma^t (r_t + alpha H(pi(.|s_t)))]. Q(s, a) counts the entropy from the next state on.

Sources: Haarnoja et al. 2017 (arXiv 1702.08165) for soft values, 2018 (arXiv 1801.01290) for soft policy iteration.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from robot_rl.algorithms.tabular.mdp import PROBABILITY_TOLERANCE, FiniteMDP, positive_temperature, require_an_end
from robot_rl.arrays import Array
from robot_rl.errors import InvalidInput

ROUND_OFF = 4e-15
"""Relative change per sweep that is only the rounding of a few sums; times the horizon, the error of a result."""
UNDISCOUNTED_SWEEPS = 20_000
"""Sweeps without a discount after which an iteration is said to diverge."""


def soft_value(q: Array, alpha: float) -> Array:
    """V(s) = alpha log sum_a exp(Q(s, a) / alpha).

    Args:
        q: Q, (..., A), reward units.
        alpha: temperature, > 0, reward units per nat.

    Returns:
        V, (...), over the counting measure: each action counts one. For gamma < 1 that adds up to alpha log A per step.
    """
    positive_temperature(alpha)
    top = q.max(axis=-1)  # taken out, so that exp cannot overflow
    return top + alpha * np.log(np.exp((q - top[..., None]) / alpha).sum(axis=-1))


def log_boltzmann_policy(q: Array, alpha: float) -> Array:
    """log pi(a|s) = (Q(s, a) - V(s)) / alpha, (..., A), finite where pi itself underflows."""
    # Subtracting the maximum first keeps all digits at small alpha.
    advantage = q - q.max(axis=-1, keepdims=True)
    return (advantage - soft_value(advantage, alpha)[..., None]) / alpha


def boltzmann_policy(q: Array, alpha: float) -> Array:
    """pi(a|s) proportional to exp(Q(s, a) / alpha).

    On the soft optimal Q it is the optimal policy of the objective with entropy. On the hard optimal Q it is Boltzmann
    exploration, which is greedy in the entropy of this step only: it does not seek states in which there is choice.

    Args:
        q: Q, (..., A), reward units.
        alpha: temperature, > 0, reward units per nat.

    Returns:
        Probabilities, (..., A).
    """
    return np.exp(log_boltzmann_policy(q, alpha))


def greedy_policy(q: Array) -> Array:
    """One for the first best action, zero for the others, (..., A)."""
    return np.eye(q.shape[-1])[q.argmax(axis=-1)]


def entropy(policy: Array) -> Array:
    """H(pi(.|s)) = -sum_a pi log pi in nats, (...), for probabilities (..., A)."""
    return -(policy * np.log(np.where(policy > 0, policy, 1.0))).sum(axis=-1)


def kl_divergence(policy: Array, log_reference: Array) -> Array:
    """KL(pi || rho) = sum_a pi (log pi - log rho) in nats, (...), for pi and log rho (..., A)."""
    return -entropy(policy) - (policy * log_reference).sum(axis=-1)


def value_of_policy(q: Array, policy: Array, alpha: float) -> Array:
    """V(s) = E_{a~pi}[Q(s, a) - alpha log pi(a|s)], (...).

    This is `soft_value` only for the Boltzmann policy of this Q; for any other policy it is less by
    alpha KL(pi || Boltzmann policy).
    """
    return (policy * q).sum(axis=-1) + alpha * entropy(policy)


def soft_backup(mdp: FiniteMDP, q: Array, alpha: float) -> Array:
    """Q(s, a) <- r + gamma E_{s'}[alpha log sum_a' exp(Q(s', a') / alpha)], (S, A)."""
    return mdp.reward + mdp.discounted_next(soft_value(q, alpha))


def hard_backup(mdp: FiniteMDP, q: Array) -> Array:
    """Q(s, a) <- r + gamma E_{s'}[max_a' Q(s', a')], (S, A)."""
    return mdp.reward + mdp.discounted_next(q.max(axis=-1))


def soft_evaluation_backup(mdp: FiniteMDP, q: Array, policy: Array, alpha: float) -> Array:
    """Q(s, a) <- r + gamma E_{s'}[sum_a' pi(a'|s') (Q(s', a') - alpha log pi(a'|s'))], (S, A)."""
    return mdp.reward + mdp.discounted_next(value_of_policy(q, policy, alpha))


def soft_evaluation(mdp: FiniteMDP, policy: Array, alpha: float) -> Array:
    """Q^pi of the objective with entropy, by a linear solve.

    Args:
        mdp: the problem.
        policy: pi(a|s), (S, A).
        alpha: temperature, > 0, reward units per nat.

    Returns:
        Q^pi, (S, A).

    Raises:
        InvalidInput: the policy is not one for this problem, or with discount 1 it never comes to an end.
    """
    return _evaluation(mdp, policy, positive_temperature(alpha))


def hard_evaluation(mdp: FiniteMDP, policy: Array) -> Array:
    """Q^pi of the rewards alone, (S, A), by a linear solve; see `soft_evaluation`."""
    return _evaluation(mdp, policy, 0.0)


def soft_policy_iteration(mdp: FiniteMDP, alpha: float) -> Array:
    """Optimal soft Q, (S, A), by evaluation and improvement in turn: pi' proportional to exp(Q^pi / alpha).

    It is Newton's method on the fixed point of `soft_backup`, so a few linear solves give all digits.

    Raises:
        InvalidInput: alpha is not positive, or with discount 1 some way round pays for ever.
    """
    positive_temperature(alpha)
    return _policy_iteration(mdp, lambda q, _: boltzmann_policy(q, alpha), alpha)


def hard_policy_iteration(mdp: FiniteMDP) -> Array:
    """Optimal Q, (S, A), by evaluation and greedy improvement in turn; raises as `soft_policy_iteration`."""

    def improved(q: Array, policy: Array) -> Array:
        # What is best already stays: where going round costs nothing, the first of equal actions may go round for ever.
        short = q.max(axis=-1) - value_of_policy(q, policy, 0.0)  # (S,)
        return np.where((short > ROUND_OFF * (1 + np.abs(q).max()))[:, None], greedy_policy(q), policy)

    return _policy_iteration(mdp, improved, 0.0)


def soft_value_iteration(mdp: FiniteMDP, alpha: float) -> Array:
    """Optimal soft Q, (S, A), as the fixed point of `soft_backup`.

    Raises:
        InvalidInput: alpha is not positive, or with discount 1 some way round pays for ever.
    """
    positive_temperature(alpha)
    return fixed_point(lambda q: soft_backup(mdp, q, alpha), mdp)


def hard_value_iteration(mdp: FiniteMDP) -> Array:
    """Optimal Q, (S, A), as the fixed point of `hard_backup`; raises as `soft_value_iteration`."""
    return fixed_point(lambda q: hard_backup(mdp, q), mdp)


def fixed_point(backup: Callable[[Array], Array], mdp: FiniteMDP) -> Array:
    """Repeats a backup of (S, A), a contraction with modulus gamma, from zero until it stands still.

    Raises:
        InvalidInput: with discount 1 it does not come to rest.
    """
    # From zero the error is at most gamma^n max|x*| after n sweeps, so these suffice for every digit.
    discount = mdp.discount
    sweeps = UNDISCOUNTED_SWEEPS if discount == 1 else 1 + math.ceil(-40 / math.log(max(discount, 1e-17)))
    x = np.zeros_like(mdp.reward)
    for _ in range(sweeps):
        before, x = x, backup(x)
        change = np.abs(x - before).max()
        if change <= ROUND_OFF * (1 + np.abs(x).max()):
            return x
    if discount == 1:
        raise _never_settles(change)
    return x


def _evaluation(mdp: FiniteMDP, policy: Array, alpha: float, name: str = "the given policy") -> Array:
    if policy.shape != mdp.reward.shape:
        raise InvalidInput(f"policy has shape {policy.shape}, the finite MDP takes {mdp.reward.shape}")
    if not (policy >= 0).all() or not (np.abs(policy.sum(axis=1) - 1) <= PROBABILITY_TOLERANCE).all():
        raise InvalidInput("policy: probabilities must be >= 0 and sum to 1 over the actions")
    step = np.einsum("sa,sat->st", policy, mdp.transition)  # P_pi, (S, S)
    if mdp.discount == 1:
        require_an_end(step, name)
    # V = sum_a pi r + alpha H(pi) + gamma P_pi V
    gained = value_of_policy(mdp.reward, policy, alpha)  # (S,)
    value = np.linalg.solve(np.eye(mdp.states) - mdp.discount * step, gained)  # (S,)
    return mdp.reward + mdp.discounted_next(value)


def _policy_iteration(mdp: FiniteMDP, improved: Callable[[Array, Array], Array], alpha: float) -> Array:
    # The rounding of a linear solve grows with the horizon.
    tolerance = ROUND_OFF * mdp.horizon
    policy = np.full(mdp.reward.shape, 1 / mdp.actions)
    q = _evaluation(mdp, policy, alpha)
    for _ in range(UNDISCOUNTED_SWEEPS):
        policy = improved(q, policy)
        before, q = q, _evaluation(mdp, policy, alpha, "the improved policy, since going round pays for ever")
        change = np.abs(q - before).max()
        if change <= tolerance * (1 + np.abs(q).max()):
            return q
    raise _never_settles(change)


def _never_settles(change: float) -> InvalidInput:
    return InvalidInput(
        f"finite MDP: after {UNDISCOUNTED_SWEEPS} sweeps values still change by {change:.3g}; with discount 1 some way "
        "round pays for ever: lower its rewards or the temperature, or take a discount below 1"
    )
