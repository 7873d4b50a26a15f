"""Motions that excite a robot stay within its limits, and leave standing feet where they are."""

import numpy as np
import pytest

from robot_rl.errors import ConfigurationError, NoPart
from robot_rl.spec_file import builtin_robots, load_robot
from sim.excitation import REST, held_motion, standing_motion


@pytest.mark.parametrize("name", builtin_robots())
def test_held_motions_stay_within_limits_and_speeds(name):
    spec = load_robot(name)
    motion = held_motion(spec, 12.0, amplitude=3.0, seed=4)
    assert (motion >= spec.lower).all()
    assert (motion <= spec.upper).all()
    steps = np.abs(np.diff(motion, axis=0)).max(0)
    assert (steps <= spec.safety.command_step_limit).all()
    assert (steps * spec.control_rate <= spec.velocity_limit).all()
    rest = round(REST * spec.control_rate)
    np.testing.assert_allclose(motion[:rest], np.broadcast_to(spec.home, (rest, spec.joints)))
    np.testing.assert_allclose(motion[-rest:], np.broadcast_to(spec.home, (rest, spec.joints)), atol=1e-9)
    assert (np.ptp(motion, axis=0) > 0.1).all()


def test_no_two_joints_move_alike():
    motion = held_motion(load_robot("go2"), 30.0)
    alike = np.corrcoef(motion.T) - np.eye(12)
    assert np.abs(alike).max() < 0.6


@pytest.mark.parametrize("name", ["go2", "minitaur"])
def test_standing_feet_keep_their_places_to_each_other(name):
    spec = load_robot(name)
    motion = standing_motion(spec, 10.0)
    feet = spec.legs.kinematics(motion).position  # (K, feet, 3)
    home = spec.legs.kinematics(spec.home).position

    def between(places):
        return np.linalg.norm(places[..., :, None, :] - places[..., None, :, :], axis=-1)

    # Minitaur's legs have no joint that would let its body lean sideways.
    allowed = 1e-4 if name == "go2" else 0.03
    assert np.abs(between(feet) - between(home)).max() < allowed
    assert np.ptp(feet[..., 2].mean(1)) > 0.03  # it squats


def test_what_a_robot_cannot_do_is_refused():
    with pytest.raises(NoPart, match="fixed base"):
        standing_motion(load_robot("dclaw"), 10.0)
    with pytest.raises(ConfigurationError, match="at least 7 s"):
        held_motion(load_robot("go2"), 3.0)
    with pytest.raises(ConfigurationError, match="beyond its limits"):
        standing_motion(load_robot("go2"), 10.0, amplitude=8.0)
