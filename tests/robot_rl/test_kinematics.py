"""Feet and their Jacobians against MuJoCo's own kinematics."""

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.robot import Start
from robot_rl.spec_file import load_robot
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

    def jacobians(self, index):
        """Of the foot's centre and of its body's rotation, (3, n) each, joints alone."""
        data, model = self.robot.data, self.robot.model
        geom = model.geom(self.spec.simulation.foot_geoms[index]).id
        turn = data.xmat[self.base].reshape(3, 3)
        linear, angular = np.zeros((3, model.nv)), np.zeros((3, model.nv))
        mujoco.mj_jacGeom(model, data, linear, angular, geom)
        dofs = [int(model.joint(name).dofadr[0]) for name in self.spec.joint_names]
        return turn.T @ linear[:, dofs], turn.T @ angular[:, dofs]


@pytest.fixture(scope="module")
def go2():
    return Truth(GO2)


@pytest.fixture(scope="module")
def minitaur():
    return Truth(MINITAUR)


def test_feet_and_jacobians_of_serial_legs_are_mujocos(go2):
    for position in RNG.uniform(GO2.lower, GO2.upper, (10, 12)):
        go2.pose(position)
        feet = GO2.legs.kinematics(position)
        for index in range(4):
            linear, angular = go2.jacobians(index)
            assert feet.position[index] == pytest.approx(go2.foot(index)[0], abs=1e-6)
            assert feet.jacobian[index] == pytest.approx(linear, abs=1e-6)
            assert feet.turning[index] == pytest.approx(angular, abs=1e-6)


def leg_coordinates(count):
    """Joint positions that the five-bars can take, (count, 8)."""
    return MINITAUR.home + RNG.uniform(-0.45, 0.45, (count, 8)) @ MINITAUR.action.mixing.T


def test_feet_of_five_bars_are_where_mujoco_closes_their_loops(minitaur):
    for position in leg_coordinates(5):
        minitaur.pose(position)
        feet = MINITAUR.legs.kinematics(position)
        for index in range(4):
            assert feet.position[index] == pytest.approx(minitaur.foot(index)[0], abs=1e-6)


def test_jacobians_of_five_bars_are_the_slopes_of_mujocos_closed_loops(minitaur):
    (position,) = leg_coordinates(1)
    step = 1e-3
    feet = MINITAUR.legs.kinematics(position)
    for joint in range(8):
        ends = []
        for side in (-1.0, 1.0):
            minitaur.pose(position + side * step * (np.arange(8) == joint))
            ends.append([minitaur.foot(index) for index in range(4)])
        for index, ((before, turn_before), (after, turn_after)) in enumerate(zip(*ends, strict=True)):
            turned = Rotation.from_matrix(turn_after @ turn_before.T).as_rotvec()
            assert feet.jacobian[index, :, joint] == pytest.approx((after - before) / (2 * step), abs=1e-5)
            assert feet.turning[index, :, joint] == pytest.approx(turned / (2 * step), abs=1e-5)


@pytest.mark.parametrize("spec", [GO2, MINITAUR], ids=lambda spec: spec.name)
def test_a_batch_gives_what_its_rows_give(spec):
    positions = spec.home + RNG.uniform(-0.2, 0.2, (2, 3, spec.joints))
    together = spec.legs.kinematics(positions)
    for row in np.ndindex(2, 3):
        for part, alone in zip(together, spec.legs.kinematics(positions[row]), strict=True):
            assert part[row] == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize(
    ("path", "value", "error", "words"),
    [
        ("legs.FX_foot", {}, UnknownName, ["go2.yaml.legs", "'FX_foot'", "FL_foot"]),
        ("legs.FL_foot.joints.FL_knee", {}, UnknownName, ["'FL_knee'", "FL_hip_joint"]),
        ("legs.FL_foot.tip", [0, 0], ConfigurationError, ["legs.FL_foot.tip", "3 finite numbers"]),
        ("legs.FL_foot.joints.FL_hip_joint.axis", [0, 0, 0], ConfigurationError, ["FL_hip_joint.axis", "direction"]),
        ("legs.kind", "tree", UnknownName, ["'tree'", "serial, five_bar"]),
        ("legs.FL_foot.joints", {}, ConfigurationError, ["legs.FL_foot.joints", "at least one joint"]),
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
