"""From a policy's action to joint positions."""

import numpy as np
import pytest

from robot_rl.action_map import ActionMap
from robot_rl.spec_file import builtin_robots


@pytest.mark.parametrize("name", builtin_robots())
def test_zero_is_home_and_the_rest_is_linear_in_the_named_coordinates(name, robot_spec):
    spec = robot_spec(name)
    action = np.random.default_rng(0).uniform(-1, 1, spec.action.size)
    assert np.array_equal(ActionMap(spec).command(np.zeros(spec.action.size)), spec.home)
    expected = spec.home.copy()
    for i, amount in enumerate(action * spec.action.scale):
        expected += amount * spec.action.mixing[:, i]
    assert ActionMap(spec).command(action) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", builtin_robots())
def test_a_batch_gives_the_commands_of_its_rows(name, robot_spec):
    spec = robot_spec(name)
    actions = np.random.default_rng(0).uniform(-1, 1, (5, spec.action.size))
    action_map = ActionMap(spec)
    assert action_map.command(actions) == pytest.approx(np.stack([action_map.command(a) for a in actions]), abs=1e-15)


def test_every_coordinate_has_its_own_scale(robot_spec):
    scales = {name: 0.1 * (i + 1) for i, name in enumerate(robot_spec("go2").joint_names)}
    spec = robot_spec("go2", {"action.scale": scales})
    assert ActionMap(spec).command(np.ones(12)) == pytest.approx(spec.home + 0.1 * np.arange(1, 13))


def test_minitaurs_extension_turns_both_motors_of_a_leg_alike_and_its_swing_against_each_other(robot_spec):
    spec = robot_spec("minitaur")
    left, right = spec.joint_names.index("motor_FR_L"), spec.joint_names.index("motor_FR_R")

    def displacement(coordinate):
        action = np.zeros(spec.action.size)
        action[spec.action.coordinates.index(coordinate)] = 1.0
        return ActionMap(spec).command(action) - spec.home

    assert displacement("FR_extension")[left] == displacement("FR_extension")[right] != 0
    assert displacement("FR_swing")[left] == -displacement("FR_swing")[right] != 0
    for coordinate in ("FR_extension", "FR_swing"):
        assert np.count_nonzero(displacement(coordinate)) == 2
