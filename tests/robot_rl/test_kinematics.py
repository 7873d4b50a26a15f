"""Feet and their Jacobians against MuJoCo's own kinematics."""

import mujoco
import numpy as np
import pytest

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.robot import Start
from robot_rl.spec import load_robot
from sim.mujoco_robot import MujocoRobot

RNG = np.random.default_rng(0)
GO2 = load_robot("go2")
MINITAUR = load_robot("minitaur")


class Truth:
    """Feet of the simulated robot, seen from its base."""

    def __init__(self, spec):
        self.spec, self.robot = spec, MujocoRobot(spec, noise=False)
        self.base = self.robot.model.body(spec.simulation.base_body).id

    def pose(self, joint_position, yaw=0.7):
        self.robot.reset(Start(joint_position, yaw), np.random.default_rng(0))

    def foot(self, index):
        """Centre (3,) and orientation (3, 3) in the base frame."""
        data = self.robot.data
        geom = self.robot.model.geom(self.spec.simulation.foot_geoms[index]).id
        turn, place = data.xmat[self.base].reshape(3, 3), data.xpos[self.base]
        return turn.T @ (data.geom_xpos[geom] - place), turn.T @ data.geom_xmat[geom].reshape(3, 3)

    def jacobian(self, index, offset):
        """Of a point of the foot's body, (3, n), joints alone."""
        data, model = self.robot.data, self.robot.model
        geom = model.geom(self.spec.simulation.foot_geoms[index]).id
        turn = data.xmat[self.base].reshape(3, 3)
        linear = np.zeros((3, model.nv))
        mujoco.mj_jac(model, data, linear, None, data.geom_xpos[geom] + turn @ offset, model.geom_bodyid[geom])
        dofs = [int(model.joint(name).dofadr[0]) for name in self.spec.joint_names]
        return turn.T @ linear[:, dofs]


@pytest.fixture(scope="module")
def go2():
    return Truth(GO2)


@pytest.fixture(scope="module")
def minitaur():
    return Truth(MINITAUR)


def unit(rng):
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def test_feet_of_a_serial_leg_are_where_mujoco_has_them(go2):
    for position in RNG.uniform(GO2.lower, GO2.upper, (10, 12)):
        go2.pose(position)
        for index, leg in enumerate(GO2.legs):
            assert leg.kinematics(position)[0] == pytest.approx(go2.foot(index)[0], abs=1e-6)


def test_jacobian_of_a_serial_leg_is_mujocos(go2):
    for position in RNG.uniform(GO2.lower, GO2.upper, (10, 12)):
        go2.pose(position)
        down = unit(RNG)
        for index, leg in enumerate(GO2.legs):
            assert leg.kinematics(position)[1] == pytest.approx(go2.jacobian(index, np.zeros(3)), abs=1e-6)
            touching = go2.jacobian(index, leg.radius * down)
            assert leg.kinematics(position, down)[1] == pytest.approx(touching, abs=1e-6)


def leg_coordinates(rng, count):
    """Joint positions that a five-bar can take, (count, 8)."""
    return MINITAUR.home + rng.uniform(-0.9, 0.9, (count, 8)) @ (MINITAUR.action.mixing.T * 0.5)


def test_feet_of_a_five_bar_are_where_mujoco_closes_its_loops(minitaur):
    for position in leg_coordinates(RNG, 5):
        minitaur.pose(position)
        for index, leg in enumerate(MINITAUR.legs):
            assert leg.kinematics(position)[0] == pytest.approx(minitaur.foot(index)[0], abs=1e-6)


def test_jacobian_of_a_five_bar_is_the_slope_of_mujocos_closed_loop(minitaur):
    (position,) = leg_coordinates(RNG, 1)
    down, step = unit(RNG), 1e-3
    for index, leg in enumerate(MINITAUR.legs):
        minitaur.pose(position)
        _, turn = minitaur.foot(index)
        mark = turn.T @ (leg.radius * down)  # the touching point, fixed to the link
        for joint in range(8):
            ends = []
            for side in (-1.0, 1.0):
                minitaur.pose(position + side * step * (np.arange(8) == joint))
                centre, turn = minitaur.foot(index)
                ends.append((centre, centre + turn @ mark))
            centre_slope, touching_slope = ((ends[1][k] - ends[0][k]) / (2 * step) for k in (0, 1))
            assert leg.kinematics(position)[1][:, joint] == pytest.approx(centre_slope, abs=1e-5)
            assert leg.kinematics(position, down)[1][:, joint] == pytest.approx(touching_slope, abs=1e-5)


@pytest.mark.parametrize("spec", [GO2, MINITAUR], ids=lambda spec: spec.name)
def test_a_batch_gives_what_its_rows_give(spec):
    positions = spec.home + RNG.uniform(-0.2, 0.2, (2, 3, spec.joints))
    downs = np.array([[unit(RNG) for _ in range(3)] for _ in range(2)])
    for leg in spec.legs:
        place, jacobian = leg.kinematics(positions, downs)
        for row in np.ndindex(2, 3):
            alone = leg.kinematics(positions[row], downs[row])
            assert place[row] == pytest.approx(alone[0], abs=1e-12)
            assert jacobian[row] == pytest.approx(alone[1], abs=1e-12)


@pytest.mark.parametrize(
    ("path", "value", "error", "words"),
    [
        ("legs.FX_foot", {}, UnknownName, ["go2.yaml.legs", "'FX_foot'", "FL_foot"]),
        ("legs.FL_foot.joints.FL_knee", {}, UnknownName, ["'FL_knee'", "FL_hip_joint"]),
        ("legs.FL_foot.tip", [0, 0], ConfigurationError, ["legs.FL_foot.tip", "3 finite numbers"]),
        ("legs.FL_foot.joints.FL_hip_joint.axis", [0, 0, 0], ConfigurationError, ["FL_hip_joint.axis", "direction"]),
        ("legs.FL_foot.radius", -1.0, ConfigurationError, ["legs.FL_foot.radius", "at least 0"]),
    ],
)
def test_a_wrong_leg_is_an_error_that_names_the_key(robot_spec, path, value, error, words):
    with pytest.raises(error) as caught:
        robot_spec("go2", {path: value})
    assert all(word in str(caught.value) for word in words)


def test_a_foot_without_a_leg_is_an_error(robot_spec, removed):
    with pytest.raises(ConfigurationError, match="no leg of the feet RR_foot"):
        robot_spec("go2", {"legs.RR_foot": removed})
