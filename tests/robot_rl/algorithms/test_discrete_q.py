"""Q-learning with a network against the exact values of a small problem."""

import numpy as np
import pytest
import torch

from robot_rl.algorithms.discrete_q import DiscreteQ, DiscreteQSettings, bellman_loss, hard_value, soft_value
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.tabular import values
from robot_rl.errors import ConfigurationError
from robot_rl.finite import FiniteEnv, corridor
from robot_rl.training.trainer import TrainerSettings, train

TEMPERATURE = 0.2


def trained(**settings) -> np.ndarray:
    """Q of all states and actions, (S, A), after learning in the corridor."""
    mdp = corridor()
    chosen = DiscreteQSettings(
        discount=mdp.discount, temperature=TEMPERATURE, tau=0.05, learning_rate=3e-3, hidden_sizes=(32,), **settings
    )
    learner = DiscreteQ(mdp.states, mdp.actions, chosen, seed=0)
    trainer = TrainerSettings(total_steps=1300, start_steps=400, batch_size=64, replay_capacity=5000, threads=1)
    train(FiniteEnv(mdp), learner, trainer)
    with torch.no_grad():
        return learner.actor(torch.eye(mdp.states)).numpy()


@pytest.mark.parametrize("exploration", ["epsilon", "boltzmann"])
def test_hard_q_of_a_network_comes_to_that_of_value_iteration(exploration: str):
    exact = values.hard_value_iteration(corridor())
    found = trained(exploration=exploration, epsilon=0.3)
    np.testing.assert_allclose(found, exact, atol=0.01)
    np.testing.assert_array_equal(found.argmax(axis=1), exact.argmax(axis=1))


def test_soft_q_of_a_network_comes_to_that_of_soft_value_iteration():
    exact = values.soft_value_iteration(corridor(), TEMPERATURE)
    found = trained(value="soft")
    np.testing.assert_allclose(found, exact, atol=0.01)
    # The two are not the same thing: entropy is worth something.
    assert np.abs(exact - values.hard_value_iteration(corridor())).max() > 0.3


def test_next_values_are_those_of_the_table():
    q = np.random.default_rng(0).standard_normal((6, 4))
    tensor = torch.from_numpy(q)
    np.testing.assert_allclose(hard_value(tensor, tensor).numpy(), q.max(axis=1))
    np.testing.assert_allclose(soft_value(tensor, 0.3).numpy(), values.soft_value(q, 0.3))
    # The double estimate: chosen by one, valued by the other.
    np.testing.assert_allclose(hard_value(tensor, -tensor).numpy(), q.min(axis=1))


def test_the_policies_that_collect_are_those_of_the_lecture():
    q = torch.tensor([[1.0, 2.0, 0.5]])
    soft = DiscreteQ(2, 3, DiscreteQSettings(value="soft", temperature=0.4)).probability(q)
    np.testing.assert_allclose(soft.numpy(), values.boltzmann_policy(q.numpy(), 0.4), atol=1e-6)
    boltzmann = DiscreteQ(2, 3, DiscreteQSettings(exploration="boltzmann", temperature=0.4)).probability(q)
    np.testing.assert_allclose(boltzmann.numpy(), soft.numpy())
    greedy = DiscreteQ(2, 3, DiscreteQSettings(epsilon=0.3)).probability(q)
    np.testing.assert_allclose(greedy.numpy(), [[0.1, 0.8, 0.1]], atol=1e-6)


def test_actions_are_drawn_as_often_as_they_should_be():
    learner = DiscreteQ(2, 3, DiscreteQSettings(value="soft", temperature=0.1), seed=1)
    observation = np.tile(np.array([0.3, -1.0], np.float32), (20_000, 1))
    action = learner.act(observation)
    assert set(np.unique(action)) == {-1.0, 1.0}
    assert (action.sum(axis=1) == -1.0).all()
    with torch.no_grad():
        expected = learner.probability(learner.actor(torch.from_numpy(observation[:1])))[0]
    np.testing.assert_allclose((action > 0).mean(axis=0), expected.numpy(), atol=0.01)
    best = learner.act(observation[0], deterministic=True)
    assert best.argmax() == expected.argmax().item()


def test_the_gradient_of_the_loss_is_its_slope():
    rng = torch.Generator().manual_seed(0)
    q = torch.randn(7, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    chosen = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    reward, next_value = torch.randn(2, 7, generator=rng, dtype=torch.float64)
    terminated = torch.tensor([0.0, 1.0] * 3 + [0.0])
    assert torch.autograd.gradcheck(lambda q: bellman_loss(q, chosen, reward, terminated, next_value, 0.9), [q])
    # Where s' is terminal its value does not count.
    other = torch.where(terminated > 0, next_value + 5, next_value)
    same = [bellman_loss(q, chosen, reward, terminated, value, 0.9).item() for value in (next_value, other)]
    assert same[0] == same[1]


def test_a_learner_that_loaded_a_state_goes_on_as_the_one_that_saved_it():
    rng = np.random.default_rng(0)
    batch = Batch(
        rng.standard_normal((16, 2)).astype(np.float32), 2 * np.eye(3, dtype=np.float32)[rng.integers(0, 3, 16)] - 1,
        rng.standard_normal(16).astype(np.float32), rng.standard_normal((16, 2)).astype(np.float32),
        np.zeros(16, np.float32),
    )  # fmt: skip
    one, other = DiscreteQ(2, 3, seed=0), DiscreteQ(2, 3, seed=1)
    one.update(batch)
    other.load_state(one.state())
    for learner in (one, other):
        learner.update(batch)
    ours, theirs = one.state().tensors, other.state().tensors
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    np.testing.assert_array_equal(one.act(batch.observation), other.act(batch.observation))


def test_the_environment_follows_the_problem():
    mdp = corridor()
    env = FiniteEnv(mdp, time_limit=50)
    rng = np.random.default_rng(0)
    ends = 0
    for episode in range(40):
        observation, _ = env.reset(seed=episode)
        for tick in range(50):
            state, action = int(observation.argmax()), int(rng.integers(3))
            observation, reward, terminated, truncated, _ = env.step(np.eye(3)[action])
            assert reward == mdp.reward[state, action]
            assert terminated == (mdp.transition[state, action].sum() == 0)
            assert truncated == (tick == 49)
            if terminated:
                ends += 1
                break
            assert mdp.transition[state, action, observation.argmax()] > 0
    assert ends > 20


@pytest.mark.parametrize(("name", "value"), [("value", "medium"), ("epsilon", 1.1), ("exploration", "none")])
def test_settings_that_cannot_work_are_refused_by_name(name: str, value: object):
    with pytest.raises(ConfigurationError, match=f"{name} must be .*{value}"):
        DiscreteQSettings(**{name: value})
