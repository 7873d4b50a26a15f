"""The report against what is known of skills that agree, that have no choice, or that have been in other places."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from policies.candidates import CandidatePolicy
from policies.composed_q import ComposedQ, log_affinity
from policies.composition_report import composition_report


def observations(seed, rows=400, shift=0.0):
    return (np.random.default_rng(seed).standard_normal((rows, 3)) + shift).astype(np.float32)


@pytest.fixture(scope="module")
def skills(hold, new_skill):
    return [new_skill(hold, seed, discount=0.9) for seed in range(2)]


def report(skills, replays, weights=(0.3, 0.7), **more):
    policy = CandidatePolicy(ComposedQ(skills))
    return composition_report(policy, weights, policy.composed.alpha, replays, compare=False, **more)


def test_disagreement_and_bound_are_those_of_the_observations(skills):
    rows = observations(0), observations(1)
    found = report(skills, rows)
    composed = ComposedQ(skills)
    union = np.concatenate(rows)
    with torch.no_grad():
        mean, log_std = composed.gaussians(composed.normalized(union))
        apart = -log_affinity(mean, log_std, composed.weights([0.3, 0.7]))
    assert found["disagreement_nats"]["mean"] == pytest.approx(float(apart.mean()), rel=1e-4)
    # gamma / (1 - gamma) is 9 for gamma = 0.9
    assert found["bound"]["mean"] == pytest.approx(9 * 0.2 * float(apart.mean()), rel=1e-4)
    assert found["bound"]["high"] >= found["bound"]["mean"]
    assert found["warnings"] == [] or all("nearly deterministic" not in line for line in found["warnings"])


def test_a_skill_and_its_copy_do_not_disagree_and_promise_nothing_too_much(skills):
    twin = replace(skills[0], name="twin", actor=copy.deepcopy(skills[0].actor))
    found = report([skills[0], twin], [observations(0), observations(1)])
    assert abs(found["disagreement_nats"]["high"]) < 1e-5
    assert abs(found["bound"]["mean"]) < 1e-4


def test_two_halves_of_one_replay_overlap_and_two_places_do_not(skills):
    here = observations(0, 800)
    found = report(skills, [here[:400], here[400:]])
    for name, other in (("skill 0", "skill 1"), ("skill 1", "skill 0")):
        assert found["overlap"][name][other] > 0.85
    twice = report(skills, [np.tile(here[:200], (2, 1)), np.tile(here[400:600], (2, 1))])
    assert twice["overlap"] == report(skills, [here[:200], here[400:600]])["overlap"]
    apart = report(skills, [observations(0), observations(1, shift=7.0)])
    assert apart["overlap"]["skill 0"]["skill 1"] < 0.05
    assert any("the replay of 'skill 0' hardly overlaps that of 'skill 1'" in line for line in apart["warnings"])


def test_a_skill_without_choice_is_told(skills):
    narrow = copy.deepcopy(skills[1].actor)
    narrow.log_std_max = -4.0
    narrow.log_std_min = -5.0
    found = report([skills[0], replace(skills[1], actor=narrow)], [observations(0), observations(1)])
    assert found["action_std"]["skill 1"] < 0.02 < found["action_std"]["skill 0"]
    assert any("skill 'skill 1' is nearly deterministic" in line for line in found["warnings"])


def test_missing_replays_are_told_and_with_none_there_is_nothing_else_to_say(skills):
    one = report(skills, [observations(0), None])
    assert one["observations"] == {"skill 0": 400, "skill 1": 0}
    assert "disagreement_nats" in one
    assert [line for line in one["warnings"] if "has no replay" in line] == [
        "skill 'skill 1' has no replay: nothing is known of how it fits the others where it has been"
    ]
    none = report(skills, [None, None])
    assert len(none["warnings"]) == 2
    assert "bound" not in none


def test_goals_that_one_skill_never_saw_are_told(skills, hold):
    def trained_on(second):
        ranges = property(lambda _: {"first": (0.5, 0.5), "second": second})
        return type("Elsewhere", (type(hold),), {"goal_ranges": ranges})(hold.spec)

    pair = [replace(skills[0], task=trained_on((-1.0, 2.0))), replace(skills[1], task=trained_on((0.0, 0.0)))]
    told = report(pair, [None, None])["warnings"]
    assert [line for line in told if "goal" in line] == [
        "the skills are all asked for one goal, but saw 'second' in different ranges: -1 to 2 for 'skill 0', 0 for "
        "'skill 1'; outside of its own a skill is guessing"
    ]
    assert not any("goal" in line for line in report(skills, [None, None])["warnings"])
