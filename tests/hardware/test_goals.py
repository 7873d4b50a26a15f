"""Goals from parameters and velocity commands, on given times."""

import numpy as np
import pytest

from hardware.goals import Goals
from robot_rl.errors import InvalidInput, UnknownName

LABELS = ("forward m/s", "left m/s", "turn rad/s", "cadence Hz")


def goals_of(forward=(0.3, 0.9), left=(-0.2, 0.2), turn=(-1.0, 1.0), timeout=0.5):
    return Goals(LABELS, dict(zip(LABELS, (forward, left, turn, (2.0, 2.0)), strict=True)), timeout)


def test_goal_begins_in_the_middle_of_training():
    goal = goals_of().now(0.0)
    assert goal.values == pytest.approx([0.6, 0.0, 0.0, 2.0])
    assert not goal.stand


def test_component_is_set_by_its_name_without_the_unit():
    goals = goals_of()
    goals.set("forward", 0.8)
    assert goals.now(0.0).values == pytest.approx([0.8, 0.0, 0.0, 2.0])
    with pytest.raises(UnknownName, match="allowed: forward, left, turn, cadence"):
        goals.set("speed", 0.8)


@pytest.mark.parametrize("value", [0.2, 1.0, np.nan])
def test_value_that_training_never_saw_is_refused(value):
    goals = goals_of()
    with pytest.raises(InvalidInput, match=r"0\.3 to 0\.9, or 0 to stand"):
        goals.set("forward", value)
    assert goals.now(0.0).values[0] == pytest.approx(0.6)


def test_zero_velocity_that_training_never_saw_means_standing():
    goals = goals_of()
    goals.set("forward", 0.0)
    assert goals.now(0.0).stand


def test_zero_velocity_that_training_saw_is_left_to_the_policy():
    goals = goals_of(forward=(-0.5, 0.9))
    goals.set("forward", 0.0)
    assert not goals.now(0.0).stand


def test_velocity_commands_rule_until_they_cease_and_then_velocities_are_zero():
    goals = goals_of()
    assert goals.command_velocity(0.5, 0.1, -0.5, now=10.0)
    assert goals.now(10.5).values == pytest.approx([0.5, 0.1, -0.5, 2.0])
    late = goals.now(10.51)
    assert late.values == pytest.approx([0.0, 0.0, 0.0, 2.0])
    assert late.stand


def test_velocity_command_beyond_training_is_brought_to_its_edge():
    goals = goals_of()
    assert not goals.command_velocity(2.0, -1.0, 0.0, now=0.0)
    assert goals.now(0.0).values == pytest.approx([0.9, -0.2, 0.0, 2.0])


def test_parameter_set_later_ends_the_rule_of_velocity_commands():
    goals = goals_of()
    goals.command_velocity(0.0, 0.0, 0.0, now=0.0)
    goals.set("forward", 0.7)
    assert goals.now(100.0).values[0] == pytest.approx(0.7)


def test_velocity_command_that_is_not_finite_is_refused():
    goals = goals_of()
    with pytest.raises(InvalidInput, match="not finite"):
        goals.command_velocity(np.nan, 0.0, 0.0, now=0.0)
    assert goals.now(0.0).values[0] == pytest.approx(0.6)


def test_goal_without_velocities_takes_no_velocity_commands():
    goals = Goals(("valve rad",), {"valve rad": (-3.0, 3.0)}, 0.5)
    assert not goals.walks
    assert not goals.now(0.0).stand


ONE_SPEED = {"forward": (0.6, 0.6), "left": (0.0, 0.0), "turn": (0.0, 0.0)}
"""What a policy has learnt that walks in one way only."""


@pytest.mark.parametrize(
    ("ranges", "given", "wanted"),
    [
        # backwards, sideways, a turn on the spot and the drift of a joystick are no way forward
        (ONE_SPEED, (-0.5, 0.0, 0.0), None),
        (ONE_SPEED, (0.001, 0.0, 0.0), None),
        (ONE_SPEED, (0.29, 0.0, 0.0), None),
        (ONE_SPEED, (0.0, 0.3, 0.0), None),
        (ONE_SPEED, (0.0, 0.0, 0.5), None),
        (ONE_SPEED, (-0.5, 0.0, 0.3), None),
        (ONE_SPEED, (0.31, 0.0, 0.0), (0.6, 0.0, 0.0)),
        (ONE_SPEED, (0.6, 0.0, 0.3), (0.6, 0.0, 0.0)),
        (ONE_SPEED, (5.0, -0.2, 0.0), (0.6, 0.0, 0.0)),
        ({}, (0.1, 0.1, 0.5), None),
        ({}, (0.2, 0.1, 0.5), (0.3, 0.1, 0.5)),
        ({"forward": (-0.9, -0.3)}, (0.5, 0.0, 0.0), None),
        ({"forward": (-0.9, -0.3)}, (-0.2, 0.0, 0.0), (-0.3, 0.0, 0.0)),
        ({"turn": (0.5, 1.0)}, (0.6, 0.0, -0.5), None),
    ],
)
def test_velocity_command_is_never_turned_round_nor_made_of_nothing(ranges, given, wanted):
    goals = goals_of(**ranges)
    assert not goals.command_velocity(*given, now=0.0)
    goal = goals.now(0.0)
    assert goal.stand == (wanted is None)
    assert goal.values[:3] == pytest.approx(wanted or (0.0, 0.0, 0.0))


def test_velocity_command_against_what_training_saw_stands_still_where_training_saw_that():
    goals = goals_of(forward=(0.0, 0.9))
    assert not goals.command_velocity(-0.5, 0.0, 0.5, now=0.0)
    assert goals.now(0.0).values[:3] == pytest.approx([0.0, 0.0, 0.5])
    assert not goals.now(0.0).stand


def test_velocity_command_in_force_is_judged_by_what_the_next_policy_saw():
    goals = goals_of()
    assert not goals.steered
    goals.command_velocity(0.5, 0.0, 0.8, now=0.0)
    assert goals.steered
    goals.retrain(dict(zip(LABELS, ((0.6, 0.6), (0.0, 0.0), (-0.2, 0.2), (2.0, 2.0)), strict=True)))
    assert goals.now(0.1).values == pytest.approx([0.6, 0.0, 0.2, 2.0])
    goals.retrain(dict(zip(LABELS, ((-0.6, -0.6), (0.0, 0.0), (0.0, 0.0), (2.0, 2.0)), strict=True)))
    assert goals.now(0.1).stand
