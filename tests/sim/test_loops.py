"""Closed kinematic loops at the start of an episode."""

import numpy as np
import pytest

from robot_rl.errors import ConfigurationError
from robot_rl.robot import Start
from robot_rl.spec_file import load_robot
from sim.loops import close_loops
from sim.mujoco_robot import MujocoRobot

LEGS = ("FL", "FR", "BL", "BR")


def _open_by(robot: MujocoRobot) -> float:
    """Largest distance between the two ends of a leg's loop, m."""
    site = robot.data.site
    return max(float(np.linalg.norm(site(f"{leg}_loop_L").xpos - site(f"{leg}_loop_R").xpos)) for leg in LEGS)


def test_loops_are_closed_wherever_the_motors_start() -> None:
    spec = load_robot("minitaur")
    robot = MujocoRobot(spec)
    rng = np.random.default_rng(0)
    for _ in range(20):
        start = Start(spec.home + rng.uniform(-0.3, 0.3, spec.joints))
        robot.reset(start, rng)
        assert _open_by(robot) < 1e-5


def test_knees_agree_with_the_closed_form_of_the_five_bar_leg() -> None:
    spec = load_robot("minitaur")
    robot = MujocoRobot(spec)
    robot.reset(Start(spec.home), np.random.default_rng(0))
    # Equal motors: a = pi - |motor angle| at the hip, law of sines with links of .115 and .200 m.
    a = np.pi - abs(spec.home[0])
    expected = a + np.arcsin(0.115 / 0.2 * np.sin(a))
    for leg in LEGS:
        for side in "LR":
            assert abs(robot.data.joint(f"knee_{leg}_{side}").qpos[0]) == pytest.approx(expected, abs=1e-4)


def test_loops_that_stay_open_are_refused() -> None:
    spec = load_robot("minitaur")
    robot = MujocoRobot(spec)
    robot.data.qpos[:] = robot.reader.start_qpos(Start(spec.home))
    with pytest.raises(ConfigurationError, match="closed loops of the model stay open by"):
        close_loops(robot.model, robot.data, robot.reader.followers, steps=1)
