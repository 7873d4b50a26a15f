"""The compiled update computes what the update computes as it stands, and the same bits wherever it runs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from robot_rl.algorithms import compiled
from robot_rl.algorithms.compiled import CannotCompile, compile_update
from robot_rl.algorithms.network_learner import NetworkLearner
from robot_rl.algorithms.parted_sac import PartedSAC
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.algorithms.sac_value import SACValue, SACValueSettings
from robot_rl.algorithms.td3 import TD3, TD3Settings
from robot_rl.observation_parts import ObservationParts

SMALL = SACSettings(hidden_sizes=(16,))


OTHERS = {
    "td3": lambda seed: TD3(4, 2, TD3Settings(hidden_sizes=(16,)), seed),
    "sac_value": lambda seed: SACValue(4, 2, SACValueSettings(hidden_sizes=(16,)), seed),
    "critics that know more": lambda seed: PartedSAC(ObservationParts(3, None, 1), 2, SMALL, seed),
    "a camera": lambda seed: PartedSAC(ObservationParts(3, (7, 7, 3), 0), 2, SMALL, seed),
    "a camera, and critics that know more": lambda seed: PartedSAC(ObservationParts(3, (7, 7, 3), 2), 2, SMALL, seed),
}


def states_of(learner: NetworkLearner) -> dict[str, torch.Tensor]:
    return learner.state().tensors


@pytest.mark.usefixtures("compiler")
@pytest.mark.slow
def test_compiled_updates_are_those_of_the_learner_and_go_on_bit_for_bit_from_a_saved_state(random_batch):
    plain, ours = SAC(4, 2, SMALL, seed=0), SAC(4, 2, SMALL, seed=0)
    before = states_of(ours)
    ours.compile(batch_size=32)
    assert all(torch.equal(before[name], tensor) for name, tensor in states_of(ours).items())

    for seed in range(5):
        expected = plain.update(random_batch(seed=seed), metrics=True)
        found = ours.update(random_batch(seed=seed), metrics=True)
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert ours.update(random_batch(seed=5)) == plain.update(random_batch(seed=5)) == {}
    for name, tensor in states_of(plain).items():
        if "adam" in name and "square" in name:
            torch.testing.assert_close(states_of(ours)[name], tensor, rtol=1e-3, atol=1e-9, msg=name)
        elif tensor.is_floating_point():
            torch.testing.assert_close(states_of(ours)[name], tensor, rtol=1e-3, atol=2e-5, msg=name)

    resumed = SAC(4, 2, SMALL, seed=7)
    resumed.compile(batch_size=32)
    resumed.load_state(ours.state())
    for seed in range(6, 9):
        ours.update(random_batch(seed=seed))
        resumed.update(random_batch(seed=seed))
    assert all(torch.equal(states_of(ours)[name], tensor) for name, tensor in states_of(resumed).items())

    # A batch of another size is computed as it stands.
    resumed.load_state(plain.state())
    for learner in (plain, resumed):
        learner.update(random_batch(size=9))
    assert all(torch.equal(states_of(plain)[name], tensor) for name, tensor in states_of(resumed).items())


@pytest.mark.usefixtures("compiler")
@pytest.mark.long
@pytest.mark.parametrize("name", OTHERS)
def test_compiled_updates_of_the_other_learners_are_theirs_and_can_be_resumed(name: str, random_batch):
    plain, ours, resumed = (OTHERS[name](seed) for seed in (0, 0, 7))
    ours.compile(batch_size=32)
    batches = [random_batch(observations=plain.observation_size, seed=seed) for seed in range(8)]
    for index, batch in enumerate(batches[:4]):
        expected = plain.update(batch, metrics=True)
        # Adam's first steps hardly depend on how long a gradient is, so rounding grows in them.
        near = {"rel": 1e-4, "abs": 1e-5} if index == 0 else {"rel": 1e-2, "abs": 1e-3}
        assert ours.update(batch, metrics=True) == pytest.approx(expected, **near)
    for key, tensor in states_of(plain).items():
        if tensor.is_floating_point() and "adam" not in key:
            torch.testing.assert_close(states_of(ours)[key], tensor, rtol=1e-2, atol=1e-3, msg=key)

    resumed.compile(batch_size=32)
    resumed.load_state(ours.state())
    for batch in batches[4:]:
        ours.update(batch)
        resumed.update(batch)
    assert all(torch.equal(states_of(ours)[key], tensor) for key, tensor in states_of(resumed).items())


def test_without_a_compiler_the_reason_is_said_and_updates_go_on(monkeypatch, tmp_path: Path, random_batch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    plain, ours = SAC(4, 2, SMALL, seed=0), SAC(4, 2, SMALL, seed=0)
    with pytest.raises(CannotCompile, match=r"no C\+\+ compiler"):
        ours.compile(batch_size=32)
    for learner in (plain, ours):
        learner.update(random_batch())
    assert all(torch.equal(states_of(plain)[name], tensor) for name, tensor in states_of(ours).items())


def test_what_the_compiler_cannot_take_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compiled, "obstacle", lambda: None)

    def update(x: torch.Tensor) -> dict[str, torch.Tensor]:
        print("not in a graph")
        return {"x": x}

    with pytest.raises(CannotCompile) as raised:
        compile_update(_untraceable(update), [torch.ones(2)])
    assert "\n" not in str(raised.value)


def _untraceable(update: Callable[..., dict[str, torch.Tensor]]) -> Callable[..., dict[str, torch.Tensor]]:
    def broken(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return update(x if x.sum().item() > 0 else -x)

    return broken


def test_bfloat16_changes_the_hidden_layers_and_leaves_weights_and_losses_in_float32(random_batch):
    batch = random_batch(256)
    found = {}
    for precision in ("float32", "bfloat16"):
        learner = SAC(4, 2, SACSettings(hidden_sizes=(64, 64), precision=precision), seed=0)
        found[precision] = [learner.update(batch, metrics=True)["critic_loss"] for _ in range(3)]
        assert all(tensor.dtype == torch.float32 for tensor in learner.critics.parameters())
    assert found["bfloat16"] != found["float32"]
    assert found["bfloat16"] == pytest.approx(found["float32"], rel=2e-2)
