"""The graph of a composed policy against torch, against the skills themselves, and against its critics alone."""

import numpy as np
import pytest
import torch

from policies.candidates import CandidatePolicy, CandidateSettings
from policies.composed_export import TorchComposed, check_composed, export_composed
from policies.composed_q import ComposedQ
from policies.composed_runtime import ComposedPolicy
from policies.correction import Correction
from policies.skills import Skill
from robot_rl.errors import CheckFailed

GRID = [(0.2, 0.5, 0.3), (1.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.05, 0.05, 0.9)]


def observations(task, rows, seed=3):
    rng = np.random.default_rng(seed)
    typical = task.layout.offset + task.layout.scale * rng.standard_normal((rows, task.layout.size))
    return typical.astype(np.float32)


@pytest.mark.parametrize(("weights", "factor"), [*zip(GRID, (0.5, 1.0, 3.0, 0.5), strict=True)], ids=str)
def test_the_graph_answers_as_torch_does_with_the_same_noise(weights, factor, composed_file, three_skills, walk):
    policy, torch_policy = ComposedPolicy.load(composed_file), CandidatePolicy(ComposedQ(three_skills))
    policy.weights, policy.temperature = weights, factor * policy.composition.alpha
    rows = observations(walk, 1000)
    noise = np.random.default_rng(4).standard_normal((1000, 48, 13)).astype(np.float32)
    w = torch_policy.composed.weights(weights)
    theirs = torch_policy(rows, w, policy.temperature, torch.from_numpy(noise))
    # Two candidates that are worth the same to the last digit may change places, so a row or two may differ.
    plain = policy.answer(rows)
    same = np.abs(plain.action - theirs.action.numpy()).max(axis=1) <= 1e-4
    assert same.sum() >= 998
    np.testing.assert_allclose(plain.value, theirs.value, atol=1e-4)
    np.testing.assert_allclose(plain.disagreement, theirs.disagreement, rtol=1e-4, atol=1e-4)
    drawn = policy.answer(rows, noise)
    same = np.abs(drawn.action - theirs.sampled_action.numpy()).max(axis=1) <= 1e-4
    assert same.sum() >= 998
    np.testing.assert_allclose(drawn.value[same], theirs.sampled_value[same], atol=1e-4)
    np.testing.assert_allclose(drawn.effective_sample_size, theirs.effective_sample_size, rtol=1e-2)
    joints = torch_policy.composed.skills[0].task.spec
    expected = joints.home + (drawn.action * joints.action.scale) @ joints.action.mixing.T
    np.testing.assert_allclose(drawn.command, np.clip(expected, joints.lower, joints.upper), atol=1e-5)


@pytest.mark.parametrize("alone", [0, 1, 2])
def test_one_weight_gives_back_the_skills_own_action(alone, composed_file, three_skills, walk):
    policy, skill = ComposedPolicy.load(composed_file), three_skills[alone]
    policy.weights = np.eye(3)[alone]
    rows = observations(walk, 1000)
    with torch.no_grad():
        own = torch.tanh(skill.actor(torch.from_numpy(skill.normalizer(rows)))[0]).numpy()
    np.testing.assert_allclose(policy.answer(rows).action, own, atol=1e-4)


def test_the_value_is_the_weighted_mean_of_the_skills_least_critics_at_the_action(composed_file, three_skills, walk):
    policy = ComposedPolicy.load(composed_file)
    rows = observations(walk, 200)
    answer = policy.answer(rows)
    expected = 0.0
    for weight, skill in zip(policy.weights, three_skills, strict=True):
        seen = torch.from_numpy(skill.normalizer(rows))
        with torch.no_grad():
            expected = expected + weight * skill.critics(seen, torch.from_numpy(answer.action)).amin(dim=0).numpy()
    np.testing.assert_allclose(answer.value, expected, atol=1e-4)


def variant(name, walk, new_skill):
    two = [new_skill(walk, 0), new_skill(walk, 1)]
    if name == "or":
        return ComposedQ(two, "or"), {}
    if name == "gpi":
        return ComposedQ(two, "gpi"), {}
    if name == "one skill":
        return ComposedQ(two[:1]), {}
    if name == "corrected":
        return ComposedQ(two, correction=Correction.new(87, 2, 12, (16, 8), 0)), {}
    if name == "networks of other shapes, normalised layers":
        return ComposedQ([two[0], new_skill(walk, 1, hidden_sizes=(16,), layer_norm_critic=True)]), {}
    return ComposedQ(two), {"points": 4, "draws": 100}


@pytest.mark.parametrize(
    "name", ["or", "gpi", "one skill", "corrected", "networks of other shapes, normalised layers", "many draws"]
)
def test_every_kind_of_composition_leaves_as_one_file(name, walk, new_skill, tmp_path):
    composed, sizes = variant(name, walk, new_skill)
    policy = CandidatePolicy(composed, CandidateSettings.make(len(composed.skills), 12, **sizes))
    report = export_composed(policy, tmp_path / "a.onnx", observations=observations(walk, 50))
    assert report.max_error <= 1e-4
    loaded = ComposedPolicy.load(tmp_path / "a.onnx", robot=walk.spec, layout=walk.layout)
    assert loaded.skills == tuple(skill.name for skill in composed.skills)
    assert loaded.composition.kind == composed.kind
    assert loaded.composition.corrected == (composed.correction is not None)


@pytest.mark.parametrize("kind", ["or", "gpi"])
def test_in_the_file_too_a_skill_without_weight_has_no_part_however_much_it_promises(kind, walk, new_skill, tmp_path):
    skills = [new_skill(walk, seed) for seed in range(3)]
    with torch.no_grad():
        skills[2].critics.head.bias.add_(20.0)  # a hundred times the temperature
    weights = [0.4, 0.6, 0.0]
    export_composed(CandidatePolicy(ComposedQ(skills, kind)), tmp_path / "a.onnx", weights=weights)
    policy, two = ComposedPolicy.load(tmp_path / "a.onnx"), ComposedQ(skills[:2], kind)
    rows = observations(walk, 100)
    noise = np.random.default_rng(4).standard_normal((100, 48, 13)).astype(np.float32)
    for answer in (policy.answer(rows), policy.answer(rows, noise)):
        action = torch.from_numpy(answer.action)[:, None]
        with torch.no_grad():
            expected = two.q(two.normalized(rows), action, two.weights(weights[:2]))[:, 0]
        np.testing.assert_allclose(answer.value, expected, atol=1e-4)


def test_a_file_that_differs_from_torch_is_found_out(composed_file, three_skills, new_skill, walk):
    other: list[Skill] = [three_skills[0], new_skill(walk, 8, "skill 1"), three_skills[2]]
    reference = TorchComposed(CandidatePolicy(ComposedQ(other)))
    rows = observations(walk, 60)
    content = composed_file.read_bytes()
    with pytest.raises(CheckFailed, match="torch and ONNX differ"):
        check_composed(reference, content, rows, [np.array(GRID[0])], 0.2)
