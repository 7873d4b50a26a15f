"""Steps up the gradient of a composed Q: against finite differences, within their limits, and in the graph."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from policies.candidates import CandidatePolicy, CandidateSettings, ranked
from policies.composed_export import export_composed
from policies.composed_q import ComposedQ
from policies.composed_runtime import ComposedPolicy
from policies.correction import Correction
from policies.joint import Joint
from policies.refinement import STEP, refine, step_sizes

STEPS = 4
WEIGHTS = (0.2, 0.5, 0.3)


def rows_of(task, count, seed=3):
    rng = np.random.default_rng(seed)
    typical = task.layout.offset + task.layout.scale * rng.standard_normal((count, task.layout.size))
    return typical.astype(np.float32)


def of(composed, steps=STEPS):
    settings = CandidateSettings.make(len(composed.skills), composed.action_size, refinement=steps)
    return CandidatePolicy(composed, settings)


def test_a_step_is_the_slope_that_finite_differences_find_within_its_limit(three_skills, walk):
    composed, temperature = ComposedQ(three_skills), 3.0
    seen, w = composed.normalized(rows_of(walk, 3)), composed.weights(WEIGHTS)
    rng = np.random.default_rng(0)
    start = torch.from_numpy(rng.normal(0, 0.5, (3, 2, 12)).astype(np.float32))
    sigma = torch.from_numpy(rng.uniform(0.1, 0.6, (3, 12)).astype(np.float32))
    moved = refine(composed, seen, start, sigma, w, temperature, 1) - start

    slope, eps = np.zeros((3, 2, 12)), 1e-2
    with torch.no_grad():
        for entry in range(12):
            shift = eps * torch.eye(12)[entry]
            above, below = (composed.q(seen, torch.tanh(start + sign * shift), w) for sign in (1, -1))
            slope[:, :, entry] = (above - below).numpy() / (2 * eps)
    width = sigma.numpy()[:, None]
    expected = STEP * (1 - np.square(WEIGHTS).sum()) * width * np.clip(width * slope / temperature, -1, 1)
    # The slope of a network of ReLUs jumps, so the difference over a finite step is off here and there.
    off = np.abs(moved.numpy() - expected)
    assert np.median(off) < 1e-4
    assert off.max() < 0.1 * np.abs(expected).max()
    assert (np.abs(width * slope / temperature) < 1).mean() > 0.2  # not only the limit is tested


def test_the_refined_action_is_worth_more_and_stays_near_the_best_point(new_skill, walk):
    composed, rows = ComposedQ([new_skill(walk, seed, loud=1000.0) for seed in range(3)]), rows_of(walk, 200)
    w = composed.weights(WEIGHTS)
    plain, refined = (of(composed, steps)(rows, w, composed.alpha) for steps in (0, STEPS))
    gained = refined.value - plain.value
    assert (gained > 0).float().mean() > 0.95
    with torch.no_grad():
        scale = ranked(composed, of(composed).settings, rows, w, composed.alpha).scale
    furthest = sum(step_sizes(STEPS)) * (1 - np.square(WEIGHTS).sum()) * scale
    assert ((torch.atanh(refined.action) - torch.atanh(plain.action)).abs() <= 1.001 * furthest + 1e-4).all()
    # The sample is another matter.
    torch.testing.assert_close(refined.sampled_action, plain.sampled_action)


@pytest.mark.parametrize("alone", [0, 1, 2])
def test_with_all_weight_on_one_skill_nothing_moves(alone, three_skills, walk):
    composed, rows = ComposedQ(three_skills), rows_of(walk, 50)
    w = composed.weights(np.eye(3)[alone])
    plain, refined = (of(composed, steps)(rows, w, composed.alpha) for steps in (0, STEPS))
    torch.testing.assert_close(refined.action, plain.action, rtol=0, atol=0)


def variant(name, walk, new_skill, new_energy_skill):
    if name == "or of soft Q-learning":
        return ComposedQ([new_energy_skill(walk, seed, temperature=2.0) for seed in range(2)], "or")
    if name == "gpi":
        return ComposedQ([new_skill(walk, seed) for seed in range(3)], "gpi")
    if name == "gpi of one skill twice":
        skill = new_skill(walk, 0)
        return ComposedQ([skill, replace(skill, name="again"), new_skill(walk, 1)], "gpi")
    if name == "critics that are alike":
        pair = [new_skill(walk, seed) for seed in range(2)]
        for parameter in (parameter for skill in pair for parameter in skill.critics.parameters()):
            parameter.data[1] = parameter.data[0]
        return ComposedQ(pair)
    if name == "learnt together":
        pair = [new_skill(walk, seed) for seed in range(2)]
        joint, generator = Joint(pair[0], 2).requires_grad_(False), torch.Generator().manual_seed(5)
        for parameter in joint.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        return ComposedQ(pair, joint=joint)
    two = [new_skill(walk, 0), new_skill(walk, 1, hidden_sizes=(16, 12, 8), layer_norm_critic=True)]
    return ComposedQ(two, correction=Correction.new(walk.layout.size, 2, 12, (16, 8), 0))


@pytest.mark.parametrize(
    "name",
    [
        "corrected, with normalised layers",
        "learnt together",
        "gpi",
        "or of soft Q-learning",
        "gpi of one skill twice",
        "critics that are alike",
    ],
)
def test_the_graph_takes_the_steps_that_torch_takes(name, walk, new_skill, new_energy_skill, tmp_path):
    composed = variant(name, walk, new_skill, new_energy_skill)
    torch_policy = of(composed)
    assert export_composed(torch_policy, tmp_path / "a.onnx").max_error <= 1e-4
    policy, count = ComposedPolicy.load(tmp_path / "a.onnx"), len(composed.skills)
    assert policy.composition.refinement == STEPS
    rows = rows_of(walk, 300)
    uneven = np.arange(1, count + 1) / np.arange(1, count + 1).sum()
    for weights in (np.full(count, 1 / count), np.eye(count)[1], uneven):
        policy.weights, w = weights, composed.weights(weights)
        theirs, ours = torch_policy(rows, w, policy.temperature), policy.answer(rows)
        # A row or two may lie on a jump of the gradient, or have two points of one value.
        same = np.abs(ours.action - theirs.action.numpy()).max(axis=1) <= 1e-4
        assert same.sum() >= 296
        np.testing.assert_allclose(ours.value[same], theirs.value.numpy()[same], rtol=1e-4, atol=1e-4)


def test_the_steps_of_the_file_do_not_heed_a_skill_without_weight(walk, new_skill, tmp_path):
    skills = [new_skill(walk, seed) for seed in range(3)]
    with torch.no_grad():
        skills[2].critics.head.bias.add_(20.0)  # a hundred times the temperature
    three, two = (
        CandidatePolicy(composed, CandidateSettings.make(len(composed.skills), 12, points=1, refinement=STEPS))
        for composed in (ComposedQ(skills, "or"), ComposedQ(skills[:2], "or"))
    )
    export_composed(three, tmp_path / "a.onnx", weights=[0.4, 0.6, 0.0])
    policy, rows = ComposedPolicy.load(tmp_path / "a.onnx"), rows_of(walk, 300)
    ours, theirs = policy.answer(rows), two(rows, two.composed.weights([0.4, 0.6]), policy.temperature)
    same = np.abs(ours.action - theirs.action.numpy()).max(axis=1) <= 1e-4
    assert same.sum() >= 296  # a row or two may lie on a jump of the gradient
    np.testing.assert_allclose(ours.value[same], theirs.value.numpy()[same], rtol=1e-4, atol=1e-4)
