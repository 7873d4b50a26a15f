"""The file of an energy's policy against a forward pass written out here, ties among its candidates included."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from policies import export
from policies.contract import read_contract
from policies.description import describe
from policies.export import TorchPolicy, check_parity, export_policy
from policies.graph import Graph
from policies.runtime import OnnxPolicy, PolicyRunner
from robot_rl.algorithms.soft_q import SoftQ, SoftQSettings
from robot_rl.errors import CheckFailed, ConfigurationError
from robot_rl.training.normalizer import Normalizer


def make_soft_q(task, seed=0, **settings):
    """A learner whose weights are large enough for its candidates to differ."""
    chosen = SoftQSettings(**{"hidden_sizes": (32, 24), "candidates": 6, **settings})
    normalizer = Normalizer(task.layout.offset, task.layout.scale, clip=10.0)
    learner = SoftQ(task.layout.size, task.spec.action.size, chosen, seed, normalizer)
    with torch.no_grad():
        for name, parameter in learner.actor.named_parameters():
            if "norms" not in name:
                parameter.mul_(1.5)
    return learner


def forward(learner, observation, noise):
    """In float64 from the weights alone: actions of the candidates (N, K, d), their Q (N, K), sampled action (N, d)."""
    w = {name: value.detach().numpy().astype(np.float64) for name, value in learner.actor.named_parameters()}
    kept = learner.actor.candidates.numpy().astype(np.float64)
    x = (observation.astype(np.float64) - learner.normalizer.offset) / learner.normalizer.scale
    x = np.clip(x, -learner.normalizer.clip, learner.normalizer.clip)

    def sample(x, noise):
        h = x @ w["sampler.observation.weight"].T + w["sampler.observation.bias"] + noise @ w["sampler.noise.weight"].T
        for i in range(len(learner.sampler.hidden)):
            h = np.maximum(h, 0) @ w[f"sampler.hidden.{i}.weight"].T + w[f"sampler.hidden.{i}.bias"]
        return np.tanh(noise + np.maximum(h, 0) @ w["sampler.head.weight"].T + w["sampler.head.bias"])

    def q(c, x, action):
        h = np.concatenate([x, action], axis=-1)
        for i in range(len(learner.critics.hidden)):
            h = h @ w[f"critics.hidden.{i}.weight"][c] + w[f"critics.hidden.{i}.bias"][c, 0]
            if learner.critics.norms is not None:
                h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
                h = h * w[f"critics.norms.{i}.gain"][c, 0] + w[f"critics.norms.{i}.bias"][c, 0]
            h = np.maximum(h, 0)
        return (h @ w["critics.head.weight"][c] + w["critics.head.bias"][c, 0])[..., 0]

    each = np.repeat(x[:, None], len(kept), axis=1)
    actions = sample(each, kept)
    worth = np.min([q(c, each, actions) for c in range(learner.critics.count)], axis=0)
    return actions, worth, sample(x, noise)


def raw_observations(learner, rows, seed=3):
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((rows, learner.observation_size))
    return (learner.normalizer.offset + learner.normalizer.scale * normal).astype(np.float32)


def margin(q):
    """By how much the best of K candidates is better than the next, (N,)."""
    ordered = np.sort(np.concatenate([q, np.full((len(q), 1), -np.inf)], axis=1), axis=1)
    return ordered[:, -1] - ordered[:, -2]


CASES = {
    "two critics": {},
    "one critic, one hidden layer": {"critics": 1, "hidden_sizes": (16,)},
    "layer norm, three hidden layers": {"layer_norm_critic": True, "hidden_sizes": (16, 12, 8)},
    "one candidate": {"candidates": 1},
    "a high temperature": {"temperature": 30.0},
}


@pytest.mark.parametrize("case", CASES)
def test_the_graph_computes_what_the_weights_say(case, walk, tmp_path):
    learner = make_soft_q(walk, **CASES[case])
    if learner.critics.norms is not None:
        with torch.no_grad():
            for norm in learner.critics.norms:
                norm.gain.add_(torch.linspace(-0.5, 0.5, norm.gain.shape[-1]))
                norm.bias.add_(0.1)
    export_policy(learner, walk, tmp_path / "a.onnx")
    observation = raw_observations(learner, 300)
    noise = np.random.default_rng(4).standard_normal((300, learner.action_size)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    names = ["action", "command", "sampled_action", "sampled_command"]
    answer = dict(zip(names, session.run(names, {"observation": observation, "noise": noise}), strict=True))

    candidates, q, sampled = forward(learner, observation, noise)
    best = candidates[np.arange(300), q.argmax(axis=1)]
    clear = margin(q) > 1e-4
    assert clear.sum() > 290
    if q.shape[1] > 1:
        assert len(np.unique(q.argmax(axis=1))) > 1  # not the same candidate everywhere
    np.testing.assert_allclose(answer["action"][clear], best[clear], atol=1e-5)
    np.testing.assert_allclose(answer["sampled_action"], sampled, atol=1e-5)
    spec = walk.spec
    for kind in ("", "sampled_"):
        command = spec.home + (answer[f"{kind}action"] * spec.action.scale) @ spec.action.mixing.T
        np.testing.assert_allclose(answer[f"{kind}command"], np.clip(command, spec.lower, spec.upper), atol=1e-5)


def test_the_answers_are_the_learners_own_and_the_runtime_drives_them(walk, go2, tmp_path):
    learner = make_soft_q(walk)
    report = export_policy(learner, walk, tmp_path / "a.onnx")
    assert report.observations == 10_000
    policy = OnnxPolicy.load(tmp_path / "a.onnx", robot=go2, layout=walk.layout)
    observation = raw_observations(learner, 60)
    expected = learner.act(observation, deterministic=True)
    clear = margin(forward(learner, observation, np.zeros((60, 12)))[1]) > 1e-4
    np.testing.assert_allclose(policy.act(observation).action[clear], expected[clear], atol=1e-5)
    for row in observation[clear][:5]:
        np.testing.assert_allclose(policy.act(row).action, learner.act(row, deterministic=True), atol=1e-5)
    noise = np.random.default_rng(0).standard_normal(12)
    assert np.abs(policy.act(observation[0], noise).action - policy.act(observation[0], -noise).action).max() > 0.1
    assert PolicyRunner(policy).policy is policy
    assert read_contract(tmp_path / "a.onnx").algorithm == "soft_q"
    assert "87-32-24-12" in describe(policy.contract)


def test_candidates_that_tie_may_be_answered_with_any_of_them(walk, tmp_path):
    learner = make_soft_q(walk)
    with torch.no_grad():
        for parameter in learner.critics.parameters():
            parameter.zero_()  # every action is worth the same
    export_policy(learner, walk, tmp_path / "a.onnx")
    reference, observation = TorchPolicy(learner, walk), raw_observations(learner, 20)
    assert not reference.decided(observation).any()
    for k in range(6):
        with torch.no_grad():
            u, _ = learner.actor.ranked(torch.from_numpy(learner.normalizer(observation)))
        wanted = torch.tanh(u[:, k]).numpy()
        (action, _), (exact, _) = reference.nearest_choice(observation, wanted)
        np.testing.assert_allclose(action, wanted, atol=1e-6)
        np.testing.assert_allclose(exact, wanted, atol=1e-5)


def test_golden_rows_are_such_that_no_rounding_changes_the_choice(walk, tmp_path):
    learner = make_soft_q(walk)
    export_policy(learner, walk, tmp_path / "a.onnx")
    golden = np.array(read_contract(tmp_path / "a.onnx").golden.observation, dtype=np.float32)
    assert TorchPolicy(learner, walk).decided(golden).all()


@pytest.mark.parametrize("wrong", ["ArgMin", "Max"])
def test_a_file_that_chooses_another_candidate_is_not_written(walk, tmp_path, monkeypatch, wrong):
    # The worst instead of the best, or by the higher of two critics instead of the lower.
    right = {"ArgMin": ("ArgMax", "best"), "Max": ("Min", "candidate_q")}[wrong]

    class Wrong(Graph):
        def node(self, kind, inputs, output, **attributes):
            return super().node(wrong if (kind, output) == right else kind, inputs, output, **attributes)

    monkeypatch.setattr("policies.graph.Graph", Wrong)
    with pytest.raises(CheckFailed):
        export_policy(make_soft_q(walk), walk, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_another_candidate_than_the_best_fails_the_comparison_too(walk, tmp_path):
    learner = make_soft_q(walk)
    export_policy(learner, walk, tmp_path / "a.onnx")
    content = (tmp_path / "a.onnx").read_bytes()
    with torch.no_grad():
        learner.critics.head.weight.neg_()
    with pytest.raises(CheckFailed, match="torch and ONNX differ: deterministic action"):
        check_parity(TorchPolicy(learner, walk), content, raw_observations(learner, 500))


def test_an_actor_of_no_known_kind_is_refused_by_name(walk):
    learner = make_soft_q(walk)
    learner.actor = learner.sampler
    with pytest.raises(ConfigurationError, match="actor of type Sampler"):
        export.build_model(learner, walk)
