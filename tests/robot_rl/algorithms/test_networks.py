"""The stacked critics and the sampler against plain networks; the actor's shapes and bounds."""

import pytest
import torch
from torch import nn

from robot_rl.algorithms.networks import Actor, Critics, Sampler


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_stacked_critics_equal_separate_networks(layer_norm: bool):
    critics = Critics(2, 5, 3, (16, 8), layer_norm, generator())
    if layer_norm:
        for norm in critics.norms:
            nn.init.normal_(norm.gain, generator=generator())
            nn.init.normal_(norm.bias, generator=generator())
    observation = torch.randn(7, 5, generator=generator())
    action = torch.rand(7, 3, generator=generator()) * 2 - 1
    q = critics(observation, action)
    assert q.shape == (2, 7)
    for index in range(2):
        layers: list[nn.Module] = []
        for number, stacked in enumerate([*critics.hidden, critics.head]):
            layer = nn.Linear(stacked.weight.shape[1], stacked.weight.shape[2])
            layer.weight.data = stacked.weight.data[index].T.clone()
            layer.bias.data = stacked.bias.data[index, 0].clone()
            layers.append(layer)
            if number < 2:
                if layer_norm:
                    norm = nn.LayerNorm(layer.out_features)
                    norm.weight.data = critics.norms[number].gain.data[index, 0].clone()
                    norm.bias.data = critics.norms[number].bias.data[index, 0].clone()
                    layers.append(norm)
                layers.append(nn.ReLU())
        alone = nn.Sequential(*layers)(torch.cat([observation, action], dim=-1))[:, 0]
        torch.testing.assert_close(q[index], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_critics_that_an_actor_climbs_have_the_same_values_and_the_same_slope_by_the_action(layer_norm: bool):
    generator = torch.Generator().manual_seed(0)
    critics = Critics(2, 5, 3, (16, 16), layer_norm, generator)
    observation, action = torch.randn(32, 5, generator=generator), torch.rand(32, 3, generator=generator)
    kept = [torch.rand(2, 32, 16, generator=generator) for _ in range(2)]
    found = []
    for values in (critics, critics.climbed):
        leaf = action.clone().requires_grad_()
        q = values(observation, leaf, kept)
        found.append((q.detach(), *torch.autograd.grad(q.square().sum(), leaf)))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_first_critics_alone_answer_as_they_do_among_all(layer_norm: bool):
    generator = torch.Generator().manual_seed(0)
    critics = Critics(3, 5, 3, (16, 16), layer_norm, generator)
    if critics.norms is not None:
        for norm in critics.norms:
            norm.gain.data, norm.bias.data = torch.rand(3, 1, 16), torch.rand(3, 1, 16)
    observation, action = torch.randn(32, 5, generator=generator), torch.rand(32, 3, generator=generator)
    for count in (1, 2, 3):
        leaf = action.clone().requires_grad_()
        q, expected = critics.climbed(observation, leaf, count=count), critics(observation, leaf)[:count]
        assert q.shape == (count, 32)
        torch.testing.assert_close(q, expected)
        slopes = [torch.autograd.grad(values.square().sum(), leaf)[0] for values in (q, expected)]
        torch.testing.assert_close(*slopes)


def test_the_two_critics_start_different():
    critics = Critics(2, 5, 3, (16,), False, generator())
    q = critics(torch.zeros(1, 5), torch.zeros(1, 3))
    assert q[0, 0] != q[1, 0]


def test_log_std_keeps_its_bounds():
    actor = Actor(4, 2, (8,), (-5.0, 2.0), generator())
    mean, log_std = actor(torch.randn(100, 4, generator=generator()) * 1000)
    assert mean.shape == log_std.shape == (100, 2)
    assert log_std.min() >= -5.0
    assert log_std.max() <= 2.0
    assert log_std.min() == -5.0  # at such inputs the bound is met


def test_initial_weights_follow_the_distribution_of_torch_linear():
    weight = Actor(400, 2, (300,), (-20.0, 2.0), generator()).hidden[0].weight
    assert weight.abs().max().item() == pytest.approx(400**-0.5, rel=1e-3)
    assert weight.std().item() == pytest.approx(nn.Linear(400, 300).weight.std().item(), rel=0.02)


def test_a_sampler_is_a_network_of_observation_and_noise_side_by_side_plus_the_noise():
    sampler = Sampler(5, 3, (16, 8), generator())
    first = nn.Linear(8, 16)
    first.weight.data = torch.cat([sampler.observation.weight.data, sampler.noise.weight.data], dim=1)
    first.bias.data = sampler.observation.bias.data
    assert first.weight.abs().max().item() == pytest.approx(8**-0.5, rel=0.05)  # drawn as that one layer would be
    plain = nn.Sequential(first, nn.ReLU(), sampler.hidden[0], nn.ReLU(), sampler.head)
    observation = torch.randn(7, 5, generator=generator())
    noise = torch.randn(7, 4, 3, generator=generator())
    u = sampler(observation, noise)
    assert u.shape == (7, 4, 3)
    for draw in range(4):
        expected = plain(torch.cat([observation, noise[:, draw]], dim=-1)) + noise[:, draw]
        torch.testing.assert_close(u[:, draw], expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sampler(observation, noise[:1]), sampler(observation, noise[:1].expand(7, 4, 3)))
