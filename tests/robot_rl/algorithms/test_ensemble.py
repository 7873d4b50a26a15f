"""Random subsets of critics and dropout, against brute force over all subsets and networks written out."""

import copy
import itertools

import numpy as np
import pytest
import torch

from robot_rl.algorithms.ensemble import kept_units, lowest, random_subset
from robot_rl.algorithms.networks import Critics
from robot_rl.algorithms.sac import SAC, SACSettings, critic_target
from robot_rl.errors import ConfigurationError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_expected_target_of_random_subsets_is_the_mean_over_all_of_them():
    q = torch.randn(5, 4, generator=generator(), dtype=torch.float64)
    reward, zero = torch.randn(4, generator=generator(1), dtype=torch.float64), torch.zeros(4, dtype=torch.float64)

    def target(of: torch.Tensor) -> torch.Tensor:
        return critic_target(reward, zero, of, zero, torch.tensor(0.3, dtype=torch.float64), 0.9)

    pairs = [q[list(pair)].min(dim=0).values for pair in itertools.combinations(range(5), 2)]
    expected = reward + 0.9 * torch.stack(pairs).mean(dim=0)
    draw = generator(2)
    found = torch.stack([target(q[random_subset(5, 2, draw)]) for _ in range(1000)])
    error = found.std(dim=0) / 1000**0.5
    assert ((found.mean(dim=0) - expected).abs() < 4 * error).all()


def test_every_subset_is_as_likely_and_has_no_critic_twice():
    draw = generator()
    counts = dict.fromkeys(itertools.combinations(range(5), 3), 0)
    for _ in range(5000):
        counts[tuple(sorted(random_subset(5, 3, draw).tolist()))] += 1
    assert len(counts) == 10
    # Chi squared with 9 degrees of freedom exceeds 33.7 once in ten thousand times.
    assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 33.7


def test_the_target_takes_the_least_of_the_subset_and_the_actor_climbs_the_mean_of_all(random_batch):
    settings = SACSettings(hidden_sizes=(16,), critics=4, target_critics=2, actor_q="mean")
    learner = SAC(4, 2, settings, seed=0)
    actor, critics, targets = (copy.deepcopy(m) for m in (learner.actor, learner.critics, learner.target_critics))
    draw = generator()
    draw.set_state(learner.state().tensors["sac/generator"])
    batch = random_batch()
    learner.update(batch)

    s, a, r, s2, d = (torch.from_numpy(getattr(batch, name)) for name in batch.__annotations__)
    noise = torch.randn(2, 32, 2, generator=draw)
    subset = torch.randperm(4, generator=draw)[:2].tolist()

    def sample(state: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_std = actor(state)
        policy = torch.distributions.Normal(mean, log_std.exp())
        u = policy.mean + policy.stddev * noise
        return torch.tanh(u), (policy.log_prob(u) - torch.log(1 - torch.tanh(u) ** 2)).sum(dim=1)

    with torch.no_grad():
        a2, logp2 = sample(s2, noise[0])
        y = r + 0.99 * (1 - d) * (torch.min(*targets(s2, a2)[subset]) - logp2)
    adam = torch.optim.Adam(critics.parameters(), 3e-4)
    sum(0.5 * ((q - y) ** 2).mean() for q in critics(s, a)).backward()
    adam.step()
    adam = torch.optim.Adam(actor.parameters(), 3e-4)
    new, logp = sample(s, noise[1])
    (logp - critics(s, new).mean(dim=0)).mean().backward()
    adam.step()
    for ours, expected in ((learner.critics, critics), (learner.actor, actor)):
        for name, parameter in expected.named_parameters():
            torch.testing.assert_close(dict(ours.named_parameters())[name], parameter, rtol=1e-4, atol=2e-6)


def test_lowest_is_the_minimum_of_any_number_of_critics_with_its_gradient():
    for count in (1, 2, 5):
        q = torch.randn(count, 7, generator=generator(), requires_grad=True)
        assert torch.equal(lowest(q), q.min(dim=0).values)
        (gradient,) = torch.autograd.grad(lowest(q).sum(), q)
        assert torch.equal(gradient.argmax(dim=0), q.argmin(dim=0))


def test_dropout_leaves_units_out_as_often_as_asked_and_keeps_their_mean():
    (first, second), other = kept_units(0.2, 2, 3, 400, (50, 20), generator())
    assert first.shape == (3, 400, 50)
    assert second.shape == (3, 400, 20)
    assert sorted(first.unique().tolist()) == pytest.approx([0.0, 1.25])
    error = (0.2 * 0.8 / first.numel()) ** 0.5
    assert abs((first == 0).float().mean().item() - 0.2) < 4 * error
    assert not torch.equal(first, other[0])


def test_dropout_comes_between_the_linear_layer_and_its_normalisation():
    critics = Critics(2, 3, 2, (8, 8), True, generator())
    observation, action = torch.randn(6, 3, generator=generator(1)), torch.rand(6, 2, generator=generator(2))
    (kept,) = kept_units(0.4, 1, 2, 6, (8, 8), generator(3))
    found = critics(observation, action, kept)
    for index in range(2):
        x = torch.cat([observation, action], dim=1)
        for layer, factor in zip(critics.hidden, kept, strict=True):
            x = (x @ layer.weight[index] + layer.bias[index]) * factor[index]
            x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
            x = torch.relu(x)
        expected = (x @ critics.head.weight[index] + critics.head.bias[index])[:, 0]
        torch.testing.assert_close(found[index], expected, rtol=1e-4, atol=1e-5)


def test_dropout_changes_updates_and_neither_actions_nor_the_values_of_a_finished_critic(random_batch):
    settings = SACSettings(hidden_sizes=(16, 16), layer_norm_critic=True, critic_dropout=0.3)
    learner, without = SAC(4, 2, settings), SAC(4, 2, SACSettings(hidden_sizes=(16, 16), layer_norm_critic=True))
    observation = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(learner.act(observation, True), without.act(observation, True))
    for one in (learner, without):
        one.update(random_batch())
    weights = learner.critics.hidden[1].weight, without.critics.hidden[1].weight
    assert not torch.equal(*weights)
    state = learner.state().tensors["sac/generator"]
    actions = [learner.act(observation, True) for _ in range(3)]
    q = [learner.critics(torch.from_numpy(observation), torch.from_numpy(actions[0])) for _ in range(3)]
    assert np.array_equal(actions[0], actions[1]) and torch.equal(q[0], q[1])  # noqa: PT018
    assert torch.equal(state, learner.state().tensors["sac/generator"])


def test_the_actor_moves_in_every_so_many_updates_only(random_batch):
    learner = SAC(4, 2, SACSettings(hidden_sizes=(8,), actor_delay=3), seed=0)
    moved = []
    for _ in range(6):
        before = {name: tensor for name, tensor in learner.state().tensors.items() if "adam" not in name}
        metrics = learner.update(random_batch(), metrics=True)
        after = learner.state().tensors
        moved.append(not torch.equal(before["sac/actor/head.weight"], after["sac/actor/head.weight"]))
        assert moved[-1] == ("actor_loss" in metrics) == (before["sac/log_alpha"] != after["sac/log_alpha"]).item()
        assert not torch.equal(before["sac/critics/head.weight"], after["sac/critics/head.weight"])
        assert not torch.equal(before["sac/target_critics/head.weight"], after["sac/target_critics/head.weight"])
    assert moved == [False, False, True] * 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"critics": 0}, "critics must be at least 1"),
        ({"target_critics": 3}, r"target_critics must be from 1 to critics \(2\)"),
        ({"critic_dropout": 1.0}, "critic_dropout"),
        ({"critic_dropout": 0.1, "residual": True}, "critic_dropout .* residual"),
        ({"layer_norm_critic": True, "batch_renorm_critic": True}, "layer_norm_critic"),
        ({"residual": True, "batch_renorm_critic": True}, "false with residual"),
        ({"residual": True, "hidden_sizes": (8, 16)}, "hidden_sizes must be all the same"),
        ({"actor_q": "median"}, "minimum or mean"),
        ({"reset": "targets"}, "all, critics, actor"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_by_name(changes, told):
    with pytest.raises(ConfigurationError, match=told):
        SACSettings(**changes)
