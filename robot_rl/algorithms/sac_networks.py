"""The networks that settings of SAC ask for."""

from __future__ import annotations

import torch

from robot_rl.algorithms.batch_renorm import BatchRenormCritics
from robot_rl.algorithms.networks import Actor, Critics
from robot_rl.algorithms.residual import ResidualActor, ResidualCritics
from robot_rl.algorithms.sac_settings import SACSettings


def new_actor(
    observation_size: int, action_size: int, settings: SACSettings, generator: torch.Generator
) -> Actor | ResidualActor:
    """An actor with weights drawn from `generator`."""
    kind = ResidualActor if settings.residual else Actor
    bounds = (settings.log_std_min, settings.log_std_max)
    return kind(observation_size, action_size, settings.hidden_sizes, bounds, generator)


def new_critics(
    observation_size: int, action_size: int, settings: SACSettings, generator: torch.Generator
) -> Critics | BatchRenormCritics | ResidualCritics:
    """Critics with weights drawn from `generator`."""
    sizes, widths = (settings.critics, observation_size, action_size), settings.widths_of_critics
    if settings.batch_renorm_critic:
        return BatchRenormCritics(*sizes, widths, generator)
    if settings.residual:
        return ResidualCritics(*sizes, widths, generator)
    return Critics(*sizes, widths, settings.layer_norm_critic, generator)
