"""Trust region policy optimisation: the natural gradient's step, shortened until it really improves and stays near.

L(theta) - C max KL is a lower bound of the return, so to climb it can do no harm (theorem 1). In its place the mean KL
is kept below a limit, which lets steps be longer; the quadratic model of KL is only a model, so the step is tried.

Source: Schulman et al. 2015, "Trust Region Policy Optimization" (arXiv 1502.05477).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robot_rl.algorithms.natural_gradient import assign, backtrack, flatten
from robot_rl.algorithms.npg import NPG, NPGSettings
from robot_rl.algorithms.on_policy import Samples
from robot_rl.settings import check


@dataclass(frozen=True)
class TRPOSettings(NPGSettings):
    """Settings of TRPO."""

    shrink: float = 0.8
    """By which a step that is not good is shortened."""
    attempts: int = 10
    """Steps tried before the policy is left as it is."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        super().__post_init__()
        check(
            self,
            "TRPO",
            shrink=(0 < self.shrink < 1, "in (0, 1)"),
            attempts=(self.attempts >= 1, "at least 1"),
        )


class TRPO(NPG):
    """The learner; what it does not say is as in `NPG` and `OnPolicy`."""

    name = "trpo"
    settings_class = TRPOSettings
    settings: TRPOSettings

    @torch.no_grad()
    def _take(self, step: Tensor, samples: Samples) -> dict[str, float]:
        """theta <- theta + s^j step, for the least j with L(theta) > L(theta_old) and KL <= delta."""
        settings, parameters = self.settings, self._actor_parameters
        start, before = flatten(parameters), self.objective(samples)

        def evaluate(fraction: float) -> tuple[float, float]:
            assign(parameters, start + fraction * step)
            return (self.objective(samples) - before).item(), self.divergence(samples).item()

        accepted = backtrack(evaluate, settings.kl_limit, settings.shrink, settings.attempts)
        if accepted.fraction == 0.0:
            assign(parameters, start)
        return {"step_fraction": accepted.fraction, "improvement": accepted.improvement}
