"""The two ways to write the policy gradient as the slope of a loss.

Both have the same slope where pi = pi_old. Only the second one still means something a few steps further on.
"""

from __future__ import annotations

from torch import Tensor


def policy_gradient_loss(log_prob: Tensor, advantage: Tensor) -> Tensor:
    """J = -mean(log pi(a|s) A), whose slope is the policy gradient at pi_old alone.

    Args:
        log_prob: log pi(a|s), (B,).
        advantage: A(s, a) under pi_old, (B,).
    Source: Williams 1992, eq. 11; with a critic Sutton et al. 2000, theorem 1.
    """
    return -(log_prob * advantage).mean()


def surrogate_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor) -> Tensor:
    """J = -mean(pi(a|s) / pi_old(a|s) A), importance sampling of the improvement over pi_old.

    Args:
        log_prob: log pi(a|s), (B,).
        old_log_prob: log pi_old(a|s), (B,).
        advantage: A(s, a) under pi_old, (B,).
    Source: Schulman et al. 2015 (arXiv 1502.05477), eq. 14.
    """
    return -((log_prob - old_log_prob).exp() * advantage).mean()
