"""Soft actor-critic whose actor and critics observe different things."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from robot_rl.algorithms.encoder import EncoderSettings
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.parted_sac import PartedSAC
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.errors import InvalidInput
from robot_rl.observation_parts import ObservationParts
from robot_rl.training.normalizer import Normalizer

SHAPE = (8, 8, 3)
PARTS = {
    "privileged": ObservationParts(3, None, 2),
    "camera": ObservationParts(3, SHAPE),
    "camera, privileged": ObservationParts(3, SHAPE, 2),
}
SMALL = SACSettings(hidden_sizes=(16, 16), actor_learning_rate=3e-3, critic_learning_rate=3e-3)
EYES = EncoderSettings(channels=(8,), features=8, shift=0)


def batch_of(size, seed, count=16):
    rng = np.random.default_rng(seed)
    rows = [rng.standard_normal((count, size)).astype(np.float32) for _ in range(2)]
    action = rng.uniform(-1, 1, (count, 2)).astype(np.float32)
    reward, terminated = rng.standard_normal(count).astype(np.float32), (rng.random(count) < 0.2).astype(np.float32)
    return Batch(rows[0], action, reward, rows[1], terminated)


def make(name, settings=SMALL, seed=0, eyes=EYES):
    return PartedSAC(PARTS[name], 2, settings, seed, encoder=eyes)


def test_with_nothing_beside_the_state_it_is_plain_soft_actor_critic():
    plain, parted = SAC(5, 2, SMALL, seed=3), PartedSAC(ObservationParts(5), 2, SMALL, seed=3)
    for step in range(5):
        batch = batch_of(5, step)
        wanted = plain.update(batch, metrics=True)
        assert parted.update(batch, metrics=True) == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    observation = np.ones((4, 5), dtype=np.float32)
    np.testing.assert_allclose(plain.act(observation), parted.act(observation), atol=1e-4)


@pytest.mark.parametrize("name", PARTS)
def test_the_policy_knows_nothing_privileged(name):
    learner, parts = make(name), PARTS[name]
    learner.update(batch_of(parts.size, 0))
    row = np.random.default_rng(1).standard_normal((4, parts.size)).astype(np.float32)
    other = row.copy()
    other[:, parts.seen :] = 1e6
    action = learner.act(row, deterministic=True)
    np.testing.assert_array_equal(learner.act(other, deterministic=True), action)
    np.testing.assert_array_equal(learner.act(row[:, : parts.seen], deterministic=True), action)
    with pytest.raises(InvalidInput, match=rf"the policy takes .*{parts.seen}"):
        learner.act(row[:, :2])


@pytest.mark.parametrize("name", PARTS)
def test_a_learner_acts_by_the_normaliser_that_it_was_given_with_its_state(name):
    size = PARTS[name].size
    one, other = (Normalizer(np.full(size, offset), np.full(size, 2.0)) for offset in (0.5, -0.5))
    first, second = (PartedSAC(PARTS[name], 2, SMALL, encoder=EYES, normalizer=given) for given in (one, other))
    row = np.random.default_rng(1).standard_normal((4, size)).astype(np.float32)
    assert np.abs(second.act(row, deterministic=True) - first.act(row, deterministic=True)).max() > 1e-3
    second.load_state(first.state())
    np.testing.assert_array_equal(second.act(row, deterministic=True), first.act(row, deterministic=True))


@pytest.mark.parametrize("name", ["privileged", "camera, privileged"])
def test_the_critics_hear_what_the_policy_does_not(name):
    learner, parts = make(name), PARTS[name]
    row = torch.zeros(2, parts.size)
    row[1, parts.seen :] = 1.0
    q = learner.critics(learner._known(row, None), torch.zeros(2, 2))
    assert (q[:, 0] - q[:, 1]).abs().min() > 1e-4


@pytest.mark.parametrize(("name", "whose"), [("camera", "critics"), ("camera, privileged", "actor")])
def test_the_encoder_learns_from_one_loss_alone(name, whose):
    for still in ("actor", "critics"):
        rates = {"actor_learning_rate": 3e-3, "critic_learning_rate": 3e-3}
        rates["actor_learning_rate" if still == "actor" else "critic_learning_rate"] = 1e-12
        learner = make(name, SACSettings(hidden_sizes=(16, 16), **rates))
        before = [weight.detach().clone() for weight in learner.actor.encoder.parameters()]
        learner.update(batch_of(PARTS[name].size, 0))
        moved = max(
            float((a - b.detach()).abs().max())
            for a, b in zip(before, learner.actor.encoder.parameters(), strict=True)
        )
        assert (moved < 1e-9) == (still == whose)


def test_the_target_encoder_follows_the_encoder():
    learner = make("camera", SACSettings(hidden_sizes=(16, 16), tau=1.0))
    learner.update(batch_of(PARTS["camera"].size, 0))
    for target, source in zip(learner.target_encoder.parameters(), learner.encoder.parameters(), strict=True):
        torch.testing.assert_close(target, source)


@pytest.mark.parametrize("name", PARTS)
def test_the_average_follows_the_whole_actor_and_is_the_policy(name):
    learner = make(name, SACSettings(hidden_sizes=(16, 16), actor_average=0.25))
    average = [parameter.detach().clone() for parameter in learner.actor.parameters()]
    for seed in range(3):
        learner.update(batch_of(PARTS[name].size, seed))
        average = [0.75 * a + 0.25 * p.detach() for a, p in zip(average, learner.actor.parameters(), strict=True)]
    for wanted, ours in zip(average, learner.policy.parameters(), strict=True):
        torch.testing.assert_close(ours, wanted)
    row = np.random.default_rng(1).standard_normal((4, PARTS[name].seen)).astype(np.float32)
    mode = torch.tanh(learner.policy(torch.from_numpy(row))[0]).detach().numpy()
    np.testing.assert_allclose(learner.act(row, deterministic=True), mode, atol=1e-6)
    assert np.abs(torch.tanh(learner.actor(torch.from_numpy(row))[0]).detach().numpy() - mode).max() > 1e-4


@pytest.mark.parametrize("name", PARTS)
def test_a_saved_learner_goes_on_bit_for_bit(name):
    eyes = EncoderSettings(channels=(8,), features=8, shift=1)
    settings = replace(SMALL, actor_average=0.1)
    learner, again = make(name, settings, eyes=eyes), make(name, settings, seed=9, eyes=eyes)
    size = PARTS[name].size
    learner.update(batch_of(size, 0))
    again.load_state(learner.state())
    for step in range(1, 4):
        batch = batch_of(size, step)
        assert learner.update(batch, metrics=True) == again.update(batch, metrics=True)
    row = np.ones(size, dtype=np.float32)
    np.testing.assert_array_equal(learner.act(row), again.act(row))


def bright_side(rng, parts, count):
    """Rows of a bandit: the best action is (0.6, -0.3) where the left half is bright, its opposite otherwise."""
    left = rng.random(count) < 0.5
    pictures = rng.uniform(-1.0, 0.0, (count, *SHAPE))
    pictures[left, :, :4] += 1.0
    pictures[~left, :, 4:] += 1.0
    sign = np.where(left, 1.0, -1.0)
    best = sign[:, None] * [0.6, -0.3]
    known = np.repeat(sign[:, None], parts.privileged, axis=1)
    rows = np.concatenate([np.zeros((count, parts.state)), pictures.reshape(count, -1), known], axis=1)
    return rows.astype(np.float32), best


@pytest.mark.parametrize("name", ["camera", "camera, privileged"])
def test_it_learns_to_act_by_what_it_sees(name):
    parts, rng = PARTS[name], np.random.default_rng(0)
    settings = SACSettings(
        hidden_sizes=(32, 32), actor_learning_rate=3e-3, critic_learning_rate=3e-3, initial_temperature=0.01,
        temperature_learning_rate=0.0,
    )  # fmt: skip
    learner = PartedSAC(parts, 2, settings, 0, encoder=EncoderSettings(channels=(8,), features=8, shift=1))
    for _ in range(250):
        rows, best = bright_side(rng, parts, 32)
        action = rng.uniform(-1, 1, (32, 2)).astype(np.float32)
        reward = -np.square(action - best).sum(axis=1).astype(np.float32)
        learner.update(Batch(rows, action, reward, rows, np.ones(32, dtype=np.float32)))
    rows, best = bright_side(rng, parts, 100)
    error = np.abs(learner.act(rows, deterministic=True) - best)
    assert error.mean() < 0.1
