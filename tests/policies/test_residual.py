"""Files of policies with residual blocks and a running normaliser, beside torch."""

import numpy as np
import torch

from policies.contract import read_contract
from policies.export import export_policy
from policies.runtime import OnnxPolicy
from robot_rl.algorithms.sac import SAC, SACSettings


def test_the_file_of_a_residual_policy_answers_as_torch_does_to_a_hundred_thousandth(walk, go2, tmp_path):
    settings = SACSettings(residual=True, hidden_sizes=(32, 32), running_normalizer=True, log_std_min=-5.0)
    learner = SAC(walk.layout.size, walk.spec.action.size, settings, seed=3)
    rng = np.random.default_rng(0)
    learner.normalizer.observe(walk.layout.offset + walk.layout.scale * rng.normal(0.2, 1.3, (500, walk.layout.size)))
    with torch.no_grad():
        for name, parameter in learner.actor.named_parameters():
            if "norm" in name:
                parameter.add_(torch.from_numpy(rng.normal(0.0, 0.3, parameter.shape)).float())
    report = export_policy(learner, walk, tmp_path / "a.onnx")
    assert report.max_error <= 1e-5
    policy = OnnxPolicy.load(tmp_path / "a.onnx", robot=go2, layout=walk.layout)
    observation = walk.layout.offset + walk.layout.scale * rng.standard_normal((200, walk.layout.size))
    observation = observation.astype(np.float32)
    found = policy.act(observation).action
    assert np.abs(found).max() > 0.7
    np.testing.assert_allclose(found, learner.act(observation, deterministic=True), atol=1e-5)
    contract = read_contract(tmp_path / "a.onnx")
    assert contract.network.sizes == (walk.layout.size, 32, 32, 32, learner.action_size)
    np.testing.assert_allclose(contract.normalizer.offset, learner.normalizer.offset)


def test_dropout_and_critics_leave_nothing_in_the_file(walk, tmp_path):
    sizes = (walk.layout.size, walk.spec.action.size)
    plain = SAC(*sizes, SACSettings(hidden_sizes=(16,)), seed=3)
    dropping = SAC(*sizes, SACSettings(hidden_sizes=(16,), layer_norm_critic=True, critic_dropout=0.3), seed=3)
    files = []
    for name, learner in (("plain", plain), ("dropping", dropping)):
        export_policy(learner, walk, tmp_path / f"{name}.onnx")
        files.append(read_contract(tmp_path / f"{name}.onnx").graph_sha256)
    assert files[0] == files[1]
