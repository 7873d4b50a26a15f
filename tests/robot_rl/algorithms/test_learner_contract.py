"""What the trainer, the exporter and a checkpoint rely on, for every learner."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from robot_rl.algorithms.a3c import A3C, A3CSettings
from robot_rl.algorithms.acktr import ACKTR, ACKTRSettings
from robot_rl.algorithms.ddpg import DDPG, DDPGSettings
from robot_rl.algorithms.learner import Batch, Learner
from robot_rl.algorithms.npg import NPG, NPGSettings
from robot_rl.algorithms.on_policy import OnPolicy
from robot_rl.algorithms.ppo import PPO, PPOSettings
from robot_rl.algorithms.reinforce import Reinforce, ReinforceSettings
from robot_rl.algorithms.rollout import Steps
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.algorithms.sac_value import SACValue, SACValueSettings
from robot_rl.algorithms.soft_q import SoftQ, SoftQSettings
from robot_rl.algorithms.td3 import TD3, TD3Settings
from robot_rl.algorithms.trpo import TRPO, TRPOSettings
from robot_rl.errors import ConfigurationError, InvalidInput, StorageError
from robot_rl.training.normalizer import Normalizer

FEW = {"value_actions": 6, "fixed_particles": 4, "moved_particles": 3, "candidates": 5}

LEARNERS: dict[str, tuple[type, type, dict]] = {
    "sac": (SAC, SACSettings, {}),
    "sac_value, one critic": (SACValue, SACValueSettings, {"critics": 1}),
    "sac_value, two critics": (SACValue, SACValueSettings, {"critics": 2}),
    "soft_q": (SoftQ, SoftQSettings, FEW),
    "soft_q as in the paper": (
        SoftQ,
        SoftQSettings,
        {**FEW, "critics": 1, "tau": 1.0, "target_interval": 2, "value_proposal": "uniform"},
    ),
    "ddpg": (DDPG, DDPGSettings, {}),
    "td3": (TD3, TD3Settings, {}),
    "ppo": (PPO, PPOSettings, {"minibatch": 8, "critic_minibatch": 8}),
    "ppo with a price on KL": (PPO, PPOSettings, {"objective": "adaptive_kl", "epochs": 2}),
    "reinforce": (Reinforce, ReinforceSettings, {}),
    "reinforce on the surrogate": (Reinforce, ReinforceSettings, {"objective": "surrogate", "epochs": 3}),
    "npg": (NPG, NPGSettings, {}),
    "trpo": (TRPO, TRPOSettings, {}),
    "acktr": (ACKTR, ACKTRSettings, {"critic_epochs": 3}),
    "a3c without workers": (A3C, A3CSettings, {"workers": 0, "entropy_coefficient": 0.01}),
}

Make = Callable[..., Learner]


@pytest.fixture(params=LEARNERS)
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a small learner of one kind."""
    kind, settings, chosen = LEARNERS[request.param]

    def make(seed: int = 0, normalizer: Normalizer | None = None, hidden: tuple[int, ...] = (16, 16)) -> Learner:
        return kind(4, 2, settings(hidden_sizes=hidden, **chosen), seed, normalizer)

    return make


def random_batch(size: int = 32, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        observation=rng.standard_normal((size, 4)).astype(np.float32),
        action=rng.uniform(-1, 1, (size, 2)).astype(np.float32),
        reward=rng.standard_normal(size).astype(np.float32),
        next_observation=rng.standard_normal((size, 4)).astype(np.float32),
        terminated=(rng.random(size) < 0.2).astype(np.float32),
    )


def random_steps(size: int = 32, seed: int = 0) -> Steps:
    batch, rng = random_batch(size, seed), np.random.default_rng(seed)
    terminated = batch.terminated.astype(bool)
    return Steps(
        batch.observation, rng.standard_normal((size, 2)).astype(np.float32), batch.reward, batch.next_observation,
        terminated, terminated | (rng.random(size) < 0.1), np.arange(size) % 2,
    )  # fmt: skip


def learn(learner: Learner, seed: int = 0, metrics: bool = False) -> dict[str, float]:
    """One update from what a learner of its kind learns from."""
    experience = random_steps if isinstance(learner, OnPolicy) else random_batch
    return learner.update(experience(seed=seed), metrics=metrics)


def assert_equal(one: Learner, other: Learner) -> None:
    ours, theirs = one.state().tensors, other.state().tensors
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_actions_lie_in_the_unit_box_and_are_float32(make: Make):
    learner = make()
    assert isinstance(learner, Learner)
    rng = np.random.default_rng(0)
    for observation in (rng.standard_normal(4) * 100, rng.standard_normal((7, 4)).astype(np.float32)):
        for deterministic in (False, True):
            action = learner.act(observation, deterministic)
            assert action.shape == (*observation.shape[:-1], 2)
            assert action.dtype == np.float32
            assert np.abs(action).max() <= 1.0


def test_deterministic_actions_draw_no_random_number_and_others_do(make: Make):
    learner, observation = make(), np.full(4, 0.3, np.float32)
    before = learner.state().tensors
    first = learner.act(observation, deterministic=True)
    np.testing.assert_array_equal(first, learner.act(observation, deterministic=True))
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.state().tensors.items())
    assert not np.array_equal(learner.act(observation), learner.act(observation))


def test_one_observation_gets_the_action_that_it_gets_among_others(make: Make):
    learner = make()
    rows = np.random.default_rng(1).standard_normal((9, 4)).astype(np.float32)
    together = learner.act(rows, deterministic=True)
    for row, action in zip(rows, together, strict=True):
        np.testing.assert_allclose(learner.act(row, deterministic=True), action, atol=1e-6)


def test_observation_of_another_size_is_refused_with_both_shapes(make: Make):
    with pytest.raises(InvalidInput, match=r"\(3,\).*4"):
        make().act(np.zeros(3))


def test_same_seed_gives_the_same_learner_and_another_seed_another(make: Make):
    def trained(seed: int) -> Learner:
        learner = make(seed)
        for _ in range(3):
            learn(learner)
        return learner

    assert_equal(trained(0), trained(0))
    with pytest.raises(AssertionError):
        assert_equal(trained(0), trained(1))


def test_a_learner_does_not_depend_on_the_global_generator_of_torch(make: Make):
    learners = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        learners.append(make(5))
        learn(learners[-1])
    assert_equal(*learners)


@pytest.mark.parametrize("running", [False, True])
def test_a_learner_that_loaded_a_state_goes_on_as_the_one_that_saved_it(make: Make, running: bool):
    def normalizer() -> Normalizer:
        return Normalizer.running_statistics(4) if running else Normalizer(np.ones(4), 2 * np.ones(4))

    original = make(0, normalizer())
    original.normalizer.observe(random_batch().observation)
    for index in range(3):
        learn(original, index)
    resumed = make(99, normalizer())
    resumed.load_state(original.state())
    for index in range(3):
        learn(original, index)
        learn(resumed, index)
    assert_equal(original, resumed)
    observation = np.ones(4, np.float32)
    for deterministic in (False, True):
        np.testing.assert_array_equal(original.act(observation, deterministic), resumed.act(observation, deterministic))


def test_a_state_loads_before_the_first_update_too(make: Make):
    original, resumed = make(0), make(1)
    resumed.load_state(original.state())
    learn(original)
    learn(resumed)
    assert_equal(original, resumed)


@pytest.mark.parametrize(("kind", "name"), [(SAC, "sac"), (SACValue, "sac_value"), (DDPG, "ddpg")])
def test_a_state_from_before_updates_were_counted_has_the_count_of_adam(kind: type, name: str):
    learner, resumed = kind(4, 2), kind(4, 2, seed=1)
    for seed in range(3):
        learn(learner, seed)
    state = learner.state()
    del state.tensors[f"{name}/updates"]
    resumed.load_state(state)
    assert_equal(learner, resumed)


def test_a_state_of_other_sizes_is_refused_by_name_and_changes_nothing(make: Make):
    learner = make(hidden=(16, 16))
    before = learner.state().tensors
    with pytest.raises(StorageError, match="shape"):
        learner.load_state(make(1, hidden=(8, 16)).state())
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.state().tensors.items())


def test_a_state_of_another_algorithm_is_refused(make: Make):
    learner = make()
    other = SAC(4, 2, SACSettings(hidden_sizes=(16, 16)))
    if not isinstance(learner, SAC):
        with pytest.raises(StorageError, match="another learner"):
            learner.load_state(other.state())
        with pytest.raises(StorageError, match="another learner"):
            other.load_state(learner.state())


def test_metrics_come_only_when_asked_and_change_nothing(make: Make):
    learner, watched = make(), make()
    assert learn(learner) == {}
    metrics = learn(watched, metrics=True)
    assert "critic_loss" in metrics
    assert len(metrics) >= 2
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())
    assert_equal(learner, watched)


def test_every_network_changes_in_an_update(make: Make):
    learner = make()
    before = learner.state().tensors
    for _ in range(2):
        learn(learner)
    after = learner.state().tensors
    weights = [name for name in before if name.endswith(("weight", "bias")) and "/adam/" not in name]
    assert len(weights) > 10
    for name in weights:
        assert not torch.equal(before[name], after[name]), name


def test_a_normaliser_of_another_size_is_refused(make: Make):
    with pytest.raises(ConfigurationError, match=r"3 observations.*\b4\b"):
        make(normalizer=Normalizer.identity(3))


def test_the_normaliser_stands_before_every_network(make: Make):
    normalizer = Normalizer(np.full(4, 2.0), np.full(4, 0.5))
    plain, scaled = make(), make(normalizer=normalizer)
    batch = random_batch()
    np.testing.assert_allclose(
        scaled.act(2.0 + 0.5 * batch.observation, deterministic=True),
        plain.act(batch.observation, deterministic=True),
        atol=1e-5,
    )
    experience = random_steps() if isinstance(plain, OnPolicy) else batch
    plain.update(experience)
    raw = {name: 2.0 + 0.5 * getattr(experience, name) for name in ("observation", "next_observation")}
    scaled.update(replace(experience, **raw))
    for name, tensor in plain.state().tensors.items():
        if name.endswith(("weight", "bias")) and "/adam/" not in name:
            torch.testing.assert_close(scaled.state().tensors[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (SACValueSettings, "critics", 3),
        (SACValueSettings, "reward_scale", 0.0),
        (SACValueSettings, "tau", 1.5),
        (SoftQSettings, "temperature", 0.0),
        (SoftQSettings, "value_proposal", "normal"),
        (SoftQSettings, "kernel", "cubic"),
        (SoftQSettings, "bandwidth_rule", "mean"),
        (SoftQSettings, "fixed_particles", 1),
        (SoftQSettings, "target_interval", 0),
        (SoftQSettings, "discount", 1.0),
        (DDPGSettings, "exploration_noise", -0.1),
        (TD3Settings, "actor_delay", 0),
        (TD3Settings, "tau", 0.0),
        (PPOSettings, "objective", "clip"),
        (PPOSettings, "trace", 1.1),
        (ReinforceSettings, "objective", "likelihood"),
        (NPGSettings, "kl_limit", 0.0),
        (TRPOSettings, "shrink", 1.0),
        (ACKTRSettings, "damping", 0.0),
        (A3CSettings, "workers", -1),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(settings: type, name: str, value: object):
    with pytest.raises(ConfigurationError, match=f"{name} must be .*{value}"):
        settings(**{name: value})
