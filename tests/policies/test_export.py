"""The exported graph against a forward pass written out here, and against torch."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from policies import export
from policies.contract import read_contract
from policies.export import TorchPolicy, check_parity, export_policy
from policies.runtime import OnnxPolicy
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.errors import CheckFailed, ConfigurationError, StorageError
from robot_rl.spec_file import load_robot
from robot_rl.tasks.stand import Stand
from robot_rl.tasks.turn_valve import TurnValve
from robot_rl.training import files
from robot_rl.training.normalizer import Normalizer


def forward(learner, spec, observation, noise):
    """The policy in float64, from its weights alone; returns action, command, sampled action, sampled command."""
    weights = {name: value.detach().numpy().astype(np.float64) for name, value in learner.actor.named_parameters()}
    x = (observation.astype(np.float64) - learner.normalizer.offset) / learner.normalizer.scale
    x = np.minimum(np.maximum(x, -learner.normalizer.clip), learner.normalizer.clip)
    for layer in range(len(learner.actor.hidden)):
        x = np.maximum(x @ weights[f"hidden.{layer}.weight"].T + weights[f"hidden.{layer}.bias"], 0.0)
    head = x @ weights["head.weight"].T + weights["head.bias"]
    mean, log_std = np.split(head, 2, axis=1)
    std = np.exp(np.clip(log_std, learner.actor.log_std_min, learner.actor.log_std_max))
    answers = []
    for action in (np.tanh(mean), np.tanh(mean + std * noise)):
        command = np.array([spec.home + spec.action.mixing @ (spec.action.scale * row) for row in action])
        answers += [action, np.clip(command, spec.lower, spec.upper)]
    return answers


def raw_observations(learner, rows, seed=3):
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((rows, learner.observation_size))
    return (learner.normalizer.offset + learner.normalizer.scale * normal).astype(np.float32)


CASES = {
    "go2": lambda stroll: stroll(load_robot("go2")),
    "minitaur, mixed legs": lambda stroll: stroll(load_robot("minitaur")),
    "dclaw, a shipped task": lambda _: TurnValve(load_robot("dclaw")),
    "go2, another shipped task": lambda _: Stand(load_robot("go2")),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("hidden", [(32, 24), (16,), (8, 8, 8)], ids=str)
def test_the_graph_computes_what_the_weights_say(case, hidden, tmp_path, new_learner, stroll):
    task = CASES[case](stroll)
    learner = new_learner(task, hidden)
    export_policy(learner, task, tmp_path / "a.onnx")
    observation = raw_observations(learner, 200)
    noise = np.random.default_rng(4).standard_normal((200, learner.action_size)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    names = ["action", "command", "sampled_action", "sampled_command"]
    answers = session.run(names, {"observation": observation, "noise": noise})
    for name, ours, theirs in zip(names, answers, forward(learner, task.spec, observation, noise), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=name)


def test_an_average_of_the_actor_is_exported_where_there_is_one(walk, tmp_path):
    learner = SAC(87, 12, SACSettings(hidden_sizes=(16,), actor_average=0.1), 0)
    with torch.no_grad():
        for parameter in learner.actor.parameters():
            parameter.mul_(1.5)  # as if it had moved on
    export_policy(learner, walk, tmp_path / "a.onnx")
    observation = raw_observations(learner, 50)
    ours = OnnxPolicy.load(tmp_path / "a.onnx").act(observation).action
    torch.testing.assert_close(torch.from_numpy(ours), torch.tanh(learner.policy(torch.from_numpy(observation))[0]))
    assert np.abs(ours - torch.tanh(learner.actor(torch.from_numpy(observation))[0]).detach().numpy()).max() > 1e-2


def test_torch_and_the_file_agree_on_ten_thousand_observations_with_extremes(walk, tmp_path):
    learner = SAC(87, 12, None, 0, Normalizer(walk.layout.offset, walk.layout.scale))
    report = export_policy(learner, walk, tmp_path / "a.onnx")
    assert report.observations == 10_000
    assert 0.0 < report.max_error <= 1e-5
    assert report.size == os.path.getsize(tmp_path / "a.onnx") < 600_000
    print(f"torch-ONNX error {report.max_error:.2g}, {report.size} bytes")


def test_the_compared_observations_reach_the_clip_and_far_beyond(learner):
    tests = export.test_observations(learner.normalizer, None)
    normalised = np.abs(tests - learner.normalizer.offset) / learner.normalizer.scale
    assert np.isfinite(tests).all()
    assert (normalised > 1e29).any(axis=1).sum() > 100
    assert (normalised > 1e5).any(axis=1).sum() > 500
    assert (np.abs(normalised - 10.0) < 1e-3).any(axis=1).sum() > 100
    assert (tests == 0.0).all(axis=1).any()


def test_huge_observations_agree_with_torch_because_of_the_clip(policy_file, learner, walk):
    policy, reference = OnnxPolicy.load(policy_file), TorchPolicy(learner, walk)
    for size in (1e6, 1e30, np.finfo(np.float32).max):
        for sign in (1.0, -1.0):
            observation = np.full((1, 87), sign * size, dtype=np.float32)
            with np.errstate(over="ignore"):
                expected = reference(observation)
            for ours, theirs in zip(policy.act(observation), expected, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_deterministic_action_is_the_learners_own(policy_file, learner):
    observation = raw_observations(learner, 50)
    expected = learner.act(observation, deterministic=True)
    np.testing.assert_allclose(OnnxPolicy.load(policy_file).act(observation).action, expected, atol=1e-5)


def test_a_fixed_a_running_and_no_normaliser_all_leave_with_the_policy(walk, tmp_path, new_learner):
    running = Normalizer.running_statistics(87)
    running.observe(np.random.default_rng(0).normal(3.0, 7.0, (500, 87)))
    for normalizer in (Normalizer.identity(87), running, Normalizer(np.zeros(87), np.full(87, 2.0), clip=5.0)):
        learner = new_learner(walk)
        learner.normalizer = normalizer
        export_policy(learner, walk, tmp_path / "a.onnx")
        observation = raw_observations(learner, 100)
        answer = OnnxPolicy.load(tmp_path / "a.onnx").act(observation)
        np.testing.assert_allclose(answer.action, learner.act(observation, deterministic=True), atol=1e-5)


def test_no_command_leaves_the_joint_limits_by_the_last_bit(go2, tmp_path, new_learner, stroll):
    # Limits that float32 cannot hold, and an action that reaches beyond all of them.
    wide = replace(
        go2, action=replace(go2.action, scale=np.full(12, 10.0)), lower=go2.lower - 1e-9, upper=go2.upper + 1e-9
    )
    task = stroll(wide)
    learner = new_learner(task)
    export_policy(learner, task, tmp_path / "a.onnx")
    command = OnnxPolicy.load(tmp_path / "a.onnx", wide).act(raw_observations(learner, 2000)).command.astype(np.float64)
    assert (command >= wide.lower).all()
    assert (command <= wide.upper).all()
    reached = (np.abs(command - wide.lower) < 1e-6).any(axis=0) & (np.abs(command - wide.upper) < 1e-6).any(axis=0)
    assert reached.sum() > 6


def test_an_action_that_nearly_reaches_a_limit_is_clipped_in_the_graph(go2, tmp_path, new_learner, stroll):
    reach = np.minimum(go2.upper - go2.home, go2.home - go2.lower)
    for factor, clips in ((0.5, False), (0.99999, True), (1.0, True)):
        spec = replace(go2, action=replace(go2.action, scale=factor * reach))
        task = stroll(spec)
        assert (b"raised" in export.build_model(new_learner(task), task)) is clips


def test_recorded_observations_enter_comparison_and_golden_rows(walk, learner, tmp_path):
    recorded = np.full((20, 87), 0.25, dtype=np.float32)
    export_policy(learner, walk, tmp_path / "a.onnx", observations=recorded)
    assert read_contract(tmp_path / "a.onnx").golden.observation[0] == (0.25,) * 87


def test_exporting_twice_gives_the_same_bytes(walk, learner, tmp_path):
    for name in ("a.onnx", "b.onnx"):
        export_policy(learner, walk, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_where_float32_itself_is_coarse_the_file_may_be_as_coarse_and_no_more(walk, tmp_path, new_learner, monkeypatch):
    learner = new_learner(walk, (256, 256))
    with torch.no_grad():
        for parameter in learner.actor.parameters():
            parameter.mul_(1.5)
    report = export_policy(learner, walk, tmp_path / "a.onnx")
    assert report.rounding > 1e-5
    assert report.max_error <= 4 * report.rounding < 1e-3
    monkeypatch.setattr(export, "FLOAT32_SLACK", 0.0)
    monkeypatch.setattr(export, "PARITY_TOLERANCE", 1e-7)
    with pytest.raises(CheckFailed, match="torch and ONNX differ"):
        check_parity(
            TorchPolicy(learner, walk), (tmp_path / "a.onnx").read_bytes(), raw_observations(learner, 100)
        )


class OtherActivation(torch.nn.Module):
    """Looks like the actor and computes something else."""

    def __init__(self, actor):
        super().__init__()
        self.hidden, self.head = actor.hidden, actor.head
        self.log_std_min, self.log_std_max = actor.log_std_min, actor.log_std_max

    def forward(self, x):
        for layer in self.hidden:
            x = torch.nn.functional.silu(layer(x))
        mean, log_std = self.head(x).chunk(2, dim=-1)
        return mean, log_std.clamp(self.log_std_min, self.log_std_max)


def test_an_actor_that_the_graph_does_not_reproduce_is_not_exported(walk, tmp_path, new_learner):
    learner = new_learner(walk)
    export_policy(learner, walk, tmp_path / "a.onnx")
    before = (tmp_path / "a.onnx").read_bytes()
    learner.actor = OtherActivation(learner.actor)
    with pytest.raises(CheckFailed, match="golden"):
        export_policy(learner, walk, tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == before


def test_a_difference_that_golden_rows_miss_is_found_by_the_comparison(walk, learner, tmp_path, monkeypatch):
    class Elsewhere(TorchPolicy):
        def _answer(self, actor, dtype, observation, noise):
            action, command = super()._answer(actor, dtype, observation, noise)
            if len(observation) == 10_000:
                action[1234, 5] += 1e-4
            return action, command

    monkeypatch.setattr(export, "TorchPolicy", Elsewhere)
    with pytest.raises(CheckFailed, match=r"deterministic action of observation 1234 by 0.0001, allowed"):
        export_policy(learner, walk, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_actor_of_another_kind_is_refused_by_name(walk, tmp_path, new_learner):
    learner = new_learner(walk)
    learner.actor = torch.nn.Sequential(torch.nn.Linear(87, 24))
    with pytest.raises(ConfigurationError, match="actor of type Sequential"):
        export.build_model(learner, walk)


def test_a_learner_of_another_task_is_refused_with_both_sizes(learner, tmp_path):
    with pytest.raises(ConfigurationError, match="maps 87 observations to 12 actions, task 'turn_valve'"):
        export_policy(learner, TurnValve(load_robot("dclaw")), tmp_path / "a.onnx")


def test_a_full_disk_leaves_the_old_file(walk, new_learner, tmp_path, monkeypatch):
    path = tmp_path / "a.onnx"
    export_policy(new_learner(walk), walk, path)
    before = path.read_bytes()

    def half_then_full(target, content):
        target.write_bytes(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_bytes", half_then_full)
    with pytest.raises(StorageError, match="No space left on device"):
        export_policy(new_learner(walk, seed=1), walk, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from robot_rl.training.files import replace_file
from robot_rl.errors import StorageError
from pathlib import Path
try:
    replace_file(Path(sys.argv[1]), bytes(60_000))
except StorageError as error:
    print("refused:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_the_kernel_refusing_to_write_more_leaves_the_old_file(policy_file, tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(policy_file.read_bytes())
    run = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("refused: could not write")
    assert path.read_bytes() == policy_file.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_does_not_exist_is_a_storage_error(walk, learner, tmp_path):
    with pytest.raises(StorageError, match="No such file or directory"):
        export_policy(learner, walk, tmp_path / "nowhere" / "a.onnx")
