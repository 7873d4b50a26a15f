"""Natural policy gradient: the steepest way up per divergence of the policy, not per change of its weights.

Sources: Kakade 2001, "A Natural Policy Gradient"; Rajeswaran et al. 2017 (arXiv 1703.02660) for the step of given KL.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robot_rl.algorithms.distributions import gaussian_kl, gaussian_log_prob
from robot_rl.algorithms.natural_gradient import (
    assign,
    conjugate_gradients,
    fisher_vector_product,
    flatten,
    step_to_limit,
)
from robot_rl.algorithms.on_policy import MinibatchSettings, OnPolicy, Samples
from robot_rl.algorithms.policy_losses import surrogate_loss
from robot_rl.settings import check


@dataclass(frozen=True)
class NPGSettings(MinibatchSettings):
    """Settings of the natural policy gradient.

    The limit is of the whole divergence, summed over the entries of an action. Where a library takes their mean, as
    Stable-Baselines3 does, its usual 0.01 is 0.06 here for six of them.
    """

    steps: int = 1024
    """Steps, summed over the environments, between two updates."""
    kl_limit: float = 0.05
    """delta, mean divergence of an update, nats."""
    cg_iterations: int = 15
    """Conjugate gradient iterations, two backward passes each."""
    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        super().__post_init__()
        check(
            self,
            type(self).__name__.removesuffix("Settings"),
            kl_limit=(self.kl_limit > 0, "positive"),
            cg_iterations=(self.cg_iterations >= 1, "at least 1"),
            damping=(self.damping >= 0, "zero or positive"),
        )


class NPG(OnPolicy):
    """The learner; what it does not say is as in `OnPolicy`."""

    name = "npg"
    settings_class: type[NPGSettings] = NPGSettings
    settings: NPGSettings

    def objective(self, samples: Samples) -> Tensor:
        """L(theta) = mean(pi / pi_old A), the improvement that is hoped for, ()."""
        log_prob = gaussian_log_prob(samples.pre_tanh, *self.actor(samples.observation))  # (T,)
        return -surrogate_loss(log_prob, samples.old_log_prob, samples.advantage)

    def divergence(self, samples: Samples) -> Tensor:
        """Mean KL(pi_old || pi_theta), nats, ()."""
        return gaussian_kl(samples.old_mean, samples.old_log_std, *self.actor(samples.observation)).mean()

    def _improve(self, samples: Samples) -> dict[str, float]:
        settings, parameters = self.settings, self._actor_parameters
        # g = dL/dtheta;  x = H^-1 g;  step = sqrt(2 delta / x' H x) x
        gradient = flatten(torch.autograd.grad(self.objective(samples), parameters))  # (P,)
        product = fisher_vector_product(self.divergence(samples), parameters, settings.damping)
        direction = conjugate_gradients(product, gradient, settings.cg_iterations)  # (P,)
        step = step_to_limit(direction, product(direction), settings.kl_limit)
        return self._take(step, samples)

    def _take(self, step: Tensor, samples: Samples) -> dict[str, float]:
        """theta <- theta + step."""
        with torch.no_grad():
            assign(self._actor_parameters, flatten(self._actor_parameters) + step)
            return {"step": step.norm().item()}
