"""What skills are worth together, against quadrature on a world whose states lead to themselves."""

import numpy as np
import pytest
import torch

from policies.candidates import CandidatePolicy, CandidateSettings
from policies.composed_export import export_composed
from policies.composed_q import ComposedQ
from policies.composed_runtime import ComposedPolicy
from policies.correction import Correction
from policies.joint import Joint, JointSettings, learn_joint, say
from robot_rl.algorithms.learner import Batch
from robot_rl.errors import ConfigurationError

STATES = np.eye(3, dtype=np.float32)
BEST = np.array([[-0.5, 0.1, 0.6], [0.3, 0.2, -0.4]])  # the action that skill i likes in state s
DISCOUNT, ALPHA, STEEPNESS = 0.7, 0.2, 3.0
GRID = np.linspace(-1.0, 1.0, 2001)


def rewards(state, action):
    """r_i(s, a) = 1 - k (a - b_i(s))^2 for both skills, (B, 2)."""
    return 1.0 - STEEPNESS * (action[:, None] - BEST[:, state].T) ** 2


def exact(weights, state):
    """Soft value over alpha, and mean action, where a state leads to itself: V = log int exp(r_w / alpha) + gamma V."""
    nats = rewards(np.full(len(GRID), state), GRID) @ weights / ALPHA
    density = np.exp(nats)
    width = GRID[1] - GRID[0]
    value = np.log(density.sum() * width) / (1.0 - DISCOUNT)
    return value, (GRID * density).sum() / density.sum()


def sample(count, rng=np.random.default_rng(0)):  # noqa: B008
    state, action = rng.integers(0, 3, count), rng.uniform(-1.0, 1.0, count)
    seen, paid = STATES[state], rewards(state, action).astype(np.float32)
    return Batch(seen, action[:, None].astype(np.float32), paid, seen, np.zeros(count, np.float32))


@pytest.fixture(scope="module")
def skills(hold, new_skill):
    fixed = {"discount": DISCOUNT, "initial_temperature": ALPHA, "temperature_learning_rate": 0.0}
    return [new_skill(hold, seed, loud=1.0, hidden_sizes=(64, 64), **fixed) for seed in range(2)]


@pytest.fixture(scope="module")
def learnt(skills):
    settings = JointSettings(updates=1200, batch_size=128, learning_rate=5e-3, tau=0.1)
    return ComposedQ(skills, joint=learn_joint(ComposedQ(skills), sample, settings))


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.7, 0.3), (0.2, 0.8)], ids=str)
def test_value_and_action_are_those_of_the_weighted_reward(weights, learnt):
    w = learnt.weights(weights)
    seen = learnt.normalized(STATES)
    actions = np.linspace(-0.6, 0.6, 7)
    with torch.no_grad():
        mean, _ = learnt.middle(seen, *learnt.gaussians(seen), w)
        q = learnt.q(seen, torch.tensor(np.tile(actions[None, :, None], (3, 1, 1)), dtype=torch.float32), w)
    for state in range(3):
        value, best = exact(np.array(weights), state)
        assert float(torch.tanh(mean[state, 0])) == pytest.approx(best, abs=0.07)
        paid = rewards(np.full(7, state), actions) @ np.array(weights)
        above = q[state].numpy() - (paid + DISCOUNT * ALPHA * value)
        # The lesser of two estimates lies a little low, for all actions alike.
        assert -0.35 < above.mean() < 0.05
        np.testing.assert_allclose(above, above.mean(), atol=0.15)


def test_one_skill_alone_remains_itself(learnt):
    plain, seen = ComposedQ(learnt.skills), learnt.normalized(STATES)
    actions = torch.linspace(-0.9, 0.9, 5).view(1, 5, 1).expand(3, 5, 1)
    for index in range(2):
        w = learnt.weights(np.eye(2)[index])
        ours = learnt.middle(seen, *learnt.gaussians(seen), w)
        for a, b in zip(ours, plain.product(seen, w), strict=True):
            assert torch.equal(a, b)
        torch.testing.assert_close(learnt.q(seen, actions, w), plain.q(seen, actions, w), rtol=1e-6, atol=0.0)


def test_the_policy_waits_for_the_critics(skills):
    composed = ComposedQ(skills)
    joint = learn_joint(composed, sample, JointSettings(updates=1))
    seen = composed.normalized(STATES)[0]
    for weights in ([1.0, 0.0], [0.3, 0.7]):
        ours = joint.actor(torch.cat([seen, torch.tensor(weights).expand(3, -1)], dim=1))
        for a, b in zip(ours, skills[0].actor(seen), strict=True):
            torch.testing.assert_close(a, b)


def test_the_say_of_what_was_learnt_grows_from_nothing_to_all():
    found = say(torch.tensor([[1.0, 0.0], [0.95, 0.05], [0.85, 0.15], [0.5, 0.5]]))
    np.testing.assert_allclose(found, [0.0, 0.38, 1.0, 1.0], atol=1e-6)
    assert float(say(torch.tensor([1 / 3, 1 / 3, 1 / 3]))) == 1.0


def loud_joint(composed):
    """One with random weights that matter."""
    joint = Joint(composed.skills[0], len(composed.skills)).requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    for parameter in joint.parameters():
        parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return joint


@pytest.mark.parametrize("count", [2, 3])
def test_the_file_answers_as_torch_does_and_one_weight_gives_the_skill(count, walk, new_skill, tmp_path):
    skills = [new_skill(walk, seed) for seed in range(count)]
    plain = ComposedQ(skills)
    composed = ComposedQ(skills, joint=loud_joint(plain))
    policy = CandidatePolicy(composed, CandidateSettings.make(count, 12))
    report = export_composed(policy, tmp_path / "a.onnx")  # compares over weights, temperatures and observations
    assert report.max_error <= 1e-4
    file = ComposedPolicy.load(tmp_path / "a.onnx", robot=walk.spec)
    assert file.composition.joint
    rows = np.random.default_rng(0).standard_normal((100, walk.layout.size)).astype(np.float32)
    changed = 0.0
    for index in range(count):
        file.weights = np.eye(count)[index]
        mean, _ = skills[index].actor(torch.from_numpy(skills[index].normalizer(rows)))
        np.testing.assert_allclose(file.answer(rows).action, torch.tanh(mean).detach(), atol=1e-4)
    file.weights = np.full(count, 1.0 / count)
    product, _ = plain.product(plain.normalized(rows), plain.weights())
    changed = np.abs(file.answer(rows).action - torch.tanh(product).detach().numpy()).max()
    assert changed > 0.1  # else this test would compare nothing


def test_what_was_learnt_together_belongs_to_the_conjunction(skills):
    joint = loud_joint(ComposedQ(skills))
    with pytest.raises(ConfigurationError, match="joint policy belongs to the conjunction"):
        ComposedQ(skills, "or", joint=joint)


def test_what_was_learnt_together_leaves_nothing_to_correct(skills):
    correction = Correction.new(skills[0].task.layout.size, 2, 1, (8,), 0)
    with pytest.raises(ConfigurationError, match="a divergence correction has no place beside a joint policy"):
        ComposedQ(skills, correction=correction, joint=loud_joint(ComposedQ(skills)))


@pytest.mark.parametrize("name", ["updates", "batch_size", "learning_rate", "tau"])
def test_settings_that_cannot_work_are_refused_by_name(name):
    with pytest.raises(ConfigurationError, match=name):
        JointSettings(**{name: -1})
