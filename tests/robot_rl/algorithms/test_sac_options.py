"""What every option of SAC has to keep to: defaults, resets, saved states, compiled updates, other learners."""

import itertools

import numpy as np
import pytest
import torch

from robot_rl.algorithms.parted_sac import PartedSAC
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.errors import ConfigurationError
from robot_rl.observation_parts import ObservationParts

OPTIONS = {
    "layer norm": {"layer_norm_critic": True},
    "droq": {"layer_norm_critic": True, "critic_dropout": 0.1, "actor_q": "mean"},
    "redq": {"critics": 5, "target_critics": 2, "actor_q": "mean", "actor_delay": 2},
    "crossq": {"batch_renorm_critic": True, "critic_hidden_sizes": (24, 24), "adam_beta1": 0.5, "actor_delay": 3},
    "simba": {
        "residual": True, "hidden_sizes": (16,), "critic_hidden_sizes": (24, 24), "weight_decay": 0.01,
        "running_normalizer": True,
    },
    "resets": {"reset_interval": 4},
    "average": {"actor_average": 0.1, "actor_delay": 2},
}  # fmt: skip


def make(option: str, seed: int = 0) -> SAC:
    return SAC(4, 2, SACSettings(**{"hidden_sizes": (16, 16), **OPTIONS[option]}), seed)


def tensors(learner: SAC) -> dict[str, torch.Tensor]:
    return learner.state().tensors


@pytest.mark.parametrize("option", OPTIONS)
def test_a_saved_state_goes_on_bit_for_bit_with_every_option(option: str, random_batch):
    ours, resumed = make(option), make(option, seed=7)
    for seed in range(3):
        ours.normalizer.observe(random_batch(seed=seed).observation)
        ours.update(random_batch(seed=seed))
    resumed.load_state(ours.state())
    for learner in (ours, resumed):
        for seed in range(3, 9):
            learner.update(random_batch(seed=seed))
            learner.act(np.ones(4, np.float32))
    assert tensors(ours).keys() == tensors(resumed).keys()
    assert all(torch.equal(tensor, tensors(resumed)[name]) for name, tensor in tensors(ours).items())


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("droq", "redq"), marks=pytest.mark.slow),
        *(pytest.param((name,), marks=pytest.mark.long) for name in ("crossq", "simba", "resets", "average")),
    ],
    ids=" ".join,
)
def test_compiled_updates_are_those_of_the_learner_with_every_option(options: tuple[str, ...], random_batch):
    settings = {"hidden_sizes": (16, 16)}
    for option in options:
        settings |= OPTIONS[option]
    # Two graphs take twice as long to compile.
    settings["actor_delay"] = 2 if {"resets", "average"} & set(options) else 1
    plain, ours = (SAC(4, 2, SACSettings(**settings), seed=0) for _ in range(2))
    ours.compile(batch_size=32)
    for seed in range(6):
        expected = plain.update(random_batch(seed=seed), metrics=True)
        assert ours.update(random_batch(seed=seed), metrics=True) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    for name, tensor in tensors(plain).items():
        if tensor.is_floating_point() and "adam" not in name:
            torch.testing.assert_close(tensors(ours)[name], tensor, rtol=1e-2, atol=2e-4, msg=name)


def test_options_are_off_by_default():
    learner = SAC(4, 2, SACSettings(hidden_sizes=(16,)))
    kinds = [type(learner.actor).__name__, type(learner.critics).__name__, type(learner.target_critics).__name__]
    assert kinds == ["Actor", "Critics", "Critics"]
    assert learner.critics.count == 2
    assert learner.critics.norms is None
    assert learner.normalizer.is_identity


@pytest.mark.parametrize("what", ["all", "critics", "actor"])
def test_a_reset_draws_new_weights_and_forgets_the_moments_of_what_it_is_asked_for(what: str, random_batch):
    settings = SACSettings(hidden_sizes=(16,), reset_interval=3, reset=what, initial_temperature=0.5)
    learner, without = SAC(4, 2, settings), SAC(4, 2, SACSettings(hidden_sizes=(16,), initial_temperature=0.5))
    for seed in range(3):
        for one in (learner, without):
            one.update(random_batch(seed=seed))
    after, kept = tensors(learner), tensors(without)
    reset = {"actor": what != "critics", "critics": what != "actor", "target_critics": what != "actor"}
    for network, is_reset in reset.items():
        name = f"sac/{network}/hidden.0.weight"
        assert torch.equal(after[name], kept[name]) is not is_reset
        bound = 1 / (4 if network == "actor" else 6) ** 0.5
        assert not is_reset or after[name].abs().max() <= bound  # as they are drawn at the start
    if what != "actor":
        assert torch.equal(after["sac/critics/head.weight"], after["sac/target_critics/head.weight"])
    for name, is_reset in {**reset, "temperature": what == "all"}.items():
        moments = [tensor for key, tensor in after.items() if key.startswith(f"sac/adam/{name}/")]
        assert all(not tensor.any() for tensor in moments) is is_reset or name == "target_critics"
    assert (learner.alpha == pytest.approx(0.5, rel=1e-6)) is (what == "all")


def test_resets_come_at_their_interval_and_learning_goes_on_between(random_batch):
    learner = SAC(4, 2, SACSettings(hidden_sizes=(16,), reset_interval=5))
    steps = []
    for seed in range(12):
        learner.update(random_batch(seed=seed))
        steps.append(int(tensors(learner)["sac/adam/critics/step"]))
    assert steps == [1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2]


@pytest.mark.parametrize("settings", [{"actor_delay": 3}, {"reset_interval": 3, "reset": "actor"}])
def test_schedules_hold_beyond_the_count_of_a_float(settings: dict, random_batch):
    learner = SAC(4, 2, SACSettings(hidden_sizes=(16,), **settings))
    learner._critic_adam.tensors["step"].fill_(2**24)  # to which a float32 can add no one
    weights = [tensors(learner)["sac/actor/head.weight"]]
    moments = []
    for seed in range(6):
        learner.update(random_batch(seed=seed))
        weights.append(tensors(learner)["sac/actor/head.weight"])
        moments.append(bool(tensors(learner)["sac/adam/actor/step"]))
    moved = [not torch.equal(*pair) for pair in itertools.pairwise(weights)]
    if "actor_delay" in settings:
        assert moved == [False, False, True] * 2
    else:
        assert moments == [True, True, False] * 2


def test_the_learner_of_several_parts_refuses_what_it_does_not_know_by_name():
    parts = ObservationParts(state=4, privileged=2)
    with pytest.raises(ConfigurationError, match="critics, critic_dropout, precision"):
        PartedSAC(parts, 2, SACSettings(critics=5, critic_dropout=0.1, precision="bfloat16"))
    PartedSAC(parts, 2, SACSettings(layer_norm_critic=True, hidden_sizes=(8,)))


def test_the_average_follows_the_actor_whenever_it_moves(random_batch):
    learner = SAC(4, 2, SACSettings(hidden_sizes=(16,), actor_average=0.25, actor_delay=2), seed=0)
    before = [parameter.clone() for parameter in learner.actor.parameters()]
    weight = 1.0
    average = [torch.zeros_like(one) for one in before]  # of what the actor was after each time it moved
    for seed in range(6):
        learner.update(random_batch(seed=seed))
        if seed % 2:
            weight *= 0.75
            average = [0.75 * a + 0.25 * p for a, p in zip(average, learner.actor.parameters(), strict=True)]
    for a, first, ours in zip(average, before, learner.policy.parameters(), strict=True):
        torch.testing.assert_close(ours, a + weight * first)  # the rest is the actor at the start


def test_the_average_is_the_policy_and_the_actor_explores(random_batch):
    learner = SAC(4, 2, SACSettings(hidden_sizes=(16,), actor_average=0.1, log_std_min=-20.0, log_std_max=-19.0))
    for seed in range(20):
        learner.update(random_batch(seed=seed))
    observation = np.ones(4, np.float32)

    def mode(actor: torch.nn.Module) -> np.ndarray:
        return torch.tanh(actor(torch.from_numpy(observation))[0]).detach().numpy()

    assert np.abs(mode(learner.policy) - mode(learner.actor)).max() > 1e-3
    assert learner.act(observation, deterministic=True) == pytest.approx(mode(learner.policy), abs=1e-6)
    assert learner.act(observation) == pytest.approx(mode(learner.actor), abs=1e-6)  # its spread is next to nothing


@pytest.mark.parametrize("what", ["all", "actor", "critics"])
def test_a_reset_begins_the_average_anew_with_the_actor(what: str, random_batch):
    learner = SAC(4, 2, SACSettings(hidden_sizes=(16,), actor_average=0.1))
    learner.update(random_batch())
    learner.reset(what)
    pairs = zip(learner.policy.parameters(), learner.actor.parameters(), strict=True)
    assert all(torch.equal(average, own) for average, own in pairs) is (what != "critics")


def test_without_an_average_the_actor_is_the_policy():
    learner = SAC(4, 2, SACSettings(hidden_sizes=(16,)))
    assert learner.policy is learner.actor
    with pytest.raises(ConfigurationError, match="actor_average"):
        SACSettings(actor_average=1.0)


def test_an_average_begins_as_the_actor_of_a_learner_that_kept_none(random_batch):
    before = SAC(4, 2, SACSettings(hidden_sizes=(16,)), seed=1)
    before.update(random_batch())
    learner = SAC(4, 2, SACSettings(hidden_sizes=(16,), actor_average=0.1), seed=0)
    learner.load_state(before.state())
    pairs = zip(learner.policy.parameters(), before.actor.parameters(), strict=True)
    assert all(torch.equal(average, actor) for average, actor in pairs)
    before.load_state(learner.state())  # and back
