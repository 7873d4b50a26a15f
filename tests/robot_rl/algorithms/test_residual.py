"""Residual networks against torch's own layers, one network at a time; decoupled weight decay against torch's AdamW."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from robot_rl.algorithms.adam import Adam
from robot_rl.algorithms.residual import ResidualActor, ResidualCritics
from robot_rl.algorithms.sac import SAC, SACSettings


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(width: int, inputs: int, outputs: int, blocks: int) -> nn.Module:
    """The network of the paper's figure, out of torch's layers."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.inner(x)

    inside = [Block() for _ in range(blocks)]
    return nn.Sequential(nn.Linear(inputs, width), *inside, nn.LayerNorm(width), nn.Linear(width, outputs))


def test_stacked_residual_critics_equal_separate_networks():
    critics = ResidualCritics(2, 5, 3, (8, 8), generator())
    for name, parameter in critics.named_parameters():
        if "gain" in name or "bias" in name:
            nn.init.normal_(parameter, generator=generator(len(name)))
    observation, action = torch.randn(7, 5, generator=generator(1)), torch.rand(7, 3, generator=generator(2))
    q = critics(observation, action)
    for index in range(2):
        alone = plain(8, 8, 1, 2)
        shapes = [parameter.shape for parameter in alone.parameters()]
        flat = []
        for module in (critics.embedding, *critics.blocks, critics.norm, critics.head):
            for part in (module.norm, module.wide, module.narrow) if hasattr(module, "wide") else (module,):
                first = part.gain[index, 0] if hasattr(part, "gain") else part.weight[index].T
                flat += [first, part.bias[index, 0]]
        for parameter, value, shape in zip(alone.parameters(), flat, shapes, strict=True):
            parameter.data = value.detach().reshape(shape)
        expected = alone(torch.cat([observation, action], dim=1))[:, 0]
        torch.testing.assert_close(q[index], expected, rtol=1e-4, atol=1e-5)


def test_the_residual_actor_is_the_papers_network_with_bounded_log_std():
    actor = ResidualActor(5, 2, (8,), (-3.0, 0.5), generator())
    alone = plain(8, 5, 4, 1)
    for parameter, value in zip(alone.parameters(), actor.parameters(), strict=True):
        parameter.data = value.detach().clone()
    observation = 5.0 * torch.randn(9, 5, generator=generator(1))
    mean, log_std = actor(observation)
    expected = alone(observation)
    torch.testing.assert_close(mean, expected[:, :2])
    torch.testing.assert_close(log_std, expected[:, 2:].clamp(-3.0, 0.5))


def test_new_blocks_keep_the_size_of_a_signal():
    # Weights of variance 2 / inputs before and after a ReLU: the inner part of a block has variance about 1 (He 2015).
    actor = ResidualActor(64, 2, (128,), (-5.0, 2.0), generator())
    block = actor.blocks[0]
    x = torch.randn(2000, 128, generator=generator(1))
    assert (block(x) - x).var().item() == pytest.approx(2.0, rel=0.15)  # 2 E[relu(u)^2] with u of variance 2


def test_weight_decay_is_that_of_adamw():
    weight = nn.Parameter(torch.randn(4, 3, generator=generator()))
    other = nn.Parameter(weight.detach().clone())
    ours, theirs = Adam({"w": weight}, 0.01, weight_decay=0.1), torch.optim.AdamW([other], 0.01, weight_decay=0.1)
    for step in range(5):
        x = torch.randn(3, generator=generator(step))
        ours.minimize(((weight @ x) ** 2).sum())
        theirs.zero_grad()
        ((other @ x) ** 2).sum().backward()
        theirs.step()
    torch.testing.assert_close(weight, other)


def test_the_written_out_step_decays_likewise():
    weight = nn.Parameter(torch.randn(4, 3, generator=generator()))
    one, other = (copy.deepcopy(weight) for _ in range(2))
    fused, plainly = (Adam({"w": w}, 0.01, weight_decay=0.1) for w in (one, other))
    for _ in range(3):
        fused.minimize((one**2).sum())
        with torch.no_grad():
            plainly._step += 1
            plainly._written_out([2 * other])
    torch.testing.assert_close(one, other)


def test_a_running_normaliser_is_the_learners_own_and_follows_what_it_observes():
    learner = SAC(2, 1, SACSettings(hidden_sizes=(8,), residual=True, running_normalizer=True))
    rows = np.random.default_rng(0).normal([3.0, -1.0], [2.0, 0.5], (500, 2)).astype(np.float32)
    learner.normalizer.observe(rows)
    np.testing.assert_allclose(learner.normalizer.offset, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(learner.normalizer.scale, rows.std(axis=0), rtol=1e-5)
