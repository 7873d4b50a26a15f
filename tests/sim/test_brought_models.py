"""What a model that a user brings may say itself, and what the robot's file overrules, completes or contradicts."""

import mujoco
import numpy as np
import pytest

from robot_rl.errors import ConfigurationError
from robot_rl.robot import JointCommand, Start
from robot_rl.spec_file import load_robot
from sim.mujoco_batch import MujocoBatch
from sim.mujoco_model import compile_model
from sim.mujoco_robot import MujocoRobot
from sim.randomization import Randomization
from tests.sim.conftest import BALL_MASS, robot_file

# A wheel of 0.25 kg m^2 on a vertical axis; `{brought}` is what its model says of actuators.
WHEEL_MJCF = """<mujoco>{brought}<worldbody><body name="wheel">
  <inertial pos="0 0 0" mass="1" diaginertia="0.2 0.2 0.25"/>
  <joint name="hinge" type="hinge" axis="0 0 1" {joint}/>
</body></worldbody></mujoco>"""
WHEEL_URDF = """<robot name="wheel"><link name="world"/><link name="wheel"><inertial><mass value="1"/>
  <inertia ixx="0.2" iyy="0.2" izz="0.25" ixy="0" ixz="0" iyz="0"/></inertial></link>
  <joint name="hinge" type="revolute"><parent link="world"/><child link="wheel"/><axis xyz="0 0 1"/>
  <limit lower="-3" upper="3" effort="{effort}" velocity="20"/></joint></robot>"""


@pytest.fixture
def brought(tmp_path):
    """`brought(xml)`: the robot of that model, MJCF or URDF, with some dotted keys of its file changed."""

    def build(xml, base="fixed", changes=None):
        path = robot_file(tmp_path, xml, base, changes or {})
        if xml.startswith("<robot"):
            (tmp_path / "model.xml").rename(tmp_path / "model.urdf")
            path.write_text(path.read_text().replace("model.xml", "model.urdf"))
        return load_robot(path)

    return build


def response(spec, command, ticks):
    """Position, speed and torque of the one joint while a command is held."""
    robot = MujocoRobot(spec, noise=False)
    robot.reset(Start(spec.home), np.random.default_rng(0))
    found = []
    for _ in range(ticks):
        state = robot.step(JointCommand(np.array([command])))
        found.append([state.joint_position[0], state.joint_velocity[0], state.joint_effort[0]])
    return np.array(found)


# -- the robot's file is the only place for gains and limits of effort -------------------------------------------------


@pytest.mark.parametrize(
    "defaults",
    [
        '<motor ctrllimited="true" ctrlrange="-.1 .1" gear="10"/>',
        '<general gear="-2" dyntype="filter" dynprm="0.1" actlimited="true" actrange="-.1 .1"/>',
        '<general delay="0.05" nsample="60" ctrlrange="-.1 .1"/>',
        '<position inheritrange="0.1" forcerange="-1 1"/>',
        '<general damping="3" armature="0.2" biastype="affine" biasprm="1 2 3" gainprm="4 5"/>',
    ],
)
def test_defaults_that_a_model_has_for_its_own_actuators_change_nothing(defaults, brought):
    joint = 'range="-90 90"'
    plain = response(brought(WHEEL_MJCF.format(brought="", joint=joint)), 0.5, 20)
    found = response(brought(WHEEL_MJCF.format(brought=f"<default>{defaults}</default>", joint=joint)), 0.5, 20)
    assert plain[0, 2] > 2.0
    assert np.array_equal(found, plain)


@pytest.mark.parametrize("kind", ["mjcf", "urdf"])
def test_the_effort_limit_is_that_of_the_robots_file_whatever_the_model_limits_a_joint_to(kind, brought):
    def model(limit):
        if kind == "urdf":
            return WHEEL_URDF.format(effort=limit)
        return WHEEL_MJCF.format(brought="", joint=f'actuatorfrcrange="-{limit} {limit}"')

    for limit in (1.0, 40.0):  # below and above the 4 N m of the robot's file
        position, speed, effort = response(brought(model(limit)), 3.0, 1)[0]
        assert effort == pytest.approx(4.0)
        assert speed == pytest.approx(4.0 / 0.25 * 0.02, rel=1e-3)
        assert position == pytest.approx(0.5 * speed * 0.02, rel=0.1)


# -- feet of any shape -------------------------------------------------------------------------------------------------

TOUCHING = {"feet": ["hull"], "sensors.contacts": {}}


@pytest.mark.parametrize("shape", ["sphere", "box"])
def test_a_foot_of_any_shape_feels_all_that_rests_on_it(shape, ball):
    spec = ball(TOUCHING, shape)
    robot, batch = MujocoRobot(spec, noise=False), MujocoBatch(spec, 2, noise=False)
    robot.reset(Start(spec.home), np.random.default_rng(0))
    batch.reset(np.arange(2), [Start(spec.home)] * 2, np.random.default_rng(0))
    for _ in range(50):
        state, states = robot.step(JointCommand(spec.home)), batch.step(JointCommand(np.tile(spec.home, (2, 1))))
    assert state.contacts == pytest.approx([BALL_MASS * 9.81], rel=1e-3)
    assert np.array_equal(states.contacts, [state.contacts] * 2)
    batch.close()


@pytest.mark.parametrize("kind", ["rough", "steps"])
def test_a_ball_on_uneven_ground_feels_every_place_that_it_touches(kind, robot_spec):
    spec = robot_spec("go2", {})
    terrain = {"terrain": {"kinds": [kind], "rough": 0.03, "steps": 0.04}}
    robot = MujocoRobot(spec, noise=False, randomization=Randomization(terrain, spec))
    robot.reset(Start(spec.home), np.random.default_rng(0))
    several = 0
    for _ in range(40):
        state = robot.step(JointCommand(spec.home))
        expected, touching = normal_forces(robot.model, robot.data, spec.simulation.foot_geoms)
        several += int((touching > 1).sum())
        assert state.contacts == pytest.approx(expected, abs=1e-9)
    assert several > 0


def normal_forces(model, data, geoms):
    """Of each geometry: N, all contacts together; and how many there are."""
    force, wrench = np.zeros((2, len(geoms))), np.zeros(6)
    for contact in range(data.ncon):
        mujoco.mj_contactForce(model, data, contact, wrench)
        for i, geom in enumerate(geoms):
            if model.geom(geom).id in data.contact[contact].geom:
                force[:, i] += wrench[0], 1
    return force


@pytest.mark.parametrize("name", ["go2", "minitaur"])
def test_a_ball_that_meets_nothing_but_the_floor_has_one_contact_to_read(name):
    model = compile_model(load_robot(name))
    feet = [i for i in range(model.nsensor) if model.sensor(i).name.startswith("contact_")]
    assert len(feet) == 4
    assert all(model.sensor_dim[feet] == 3)


# -- what contradicts the robot's file ---------------------------------------------------------------------------------


def refusal(spec):
    with pytest.raises(ConfigurationError) as caught:
        compile_model(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


TORSO_MJCF = """<mujoco><worldbody><body name="torso" pos="0 0 1"><freejoint/><geom size="0.1" mass="2"/>
  <body name="arm"><joint name="hinge" axis="0 1 0"/><geom type="capsule" fromto="0 0 0 .3 0 0" size=".02" mass="1"/>
  </body></body><body name="ball" pos="1 0 1"><freejoint/><geom size="0.1"/></body></worldbody></mujoco>"""


def test_a_fixed_robot_that_a_free_joint_lets_fall_is_refused(brought):
    text = refusal(brought(TORSO_MJCF))
    for word in ("'simple'", "base: fixed", "'torso'", "model.xml", "'hinge'", "simulation.base_body", "'base'"):
        assert word in text
    held = compile_model(brought(TORSO_MJCF, changes={"simulation.base_body": "torso"}))
    assert [held.joint(i).name for i in range(held.njnt)] == ["hinge", ""]  # things in the world may be free


@pytest.mark.parametrize(
    ("home", "lower", "upper", "words"),
    [
        (30.0, -50.0, 50.0, ["home 30 rad", "-1.047 to 1.047 rad", "radians"]),
        (-1.3, -2.0, 2.0, ["home -1.3 rad", "-1.047 to 1.047 rad"]),
        (0.0, -60.0, 60.0, ["limits -60 to 60", "-1.047 to 1.047 rad", "degrees"]),
    ],
)
def test_a_joint_that_its_own_model_contradicts_is_refused_with_both_numbers(home, lower, upper, words, brought):
    joint = {"joints.hinge.home": home, "joints.hinge.lower": lower, "joints.hinge.upper": upper}
    text = refusal(brought(WHEEL_MJCF.format(brought="", joint='range="-60 60"'), changes=joint))
    for word in ("'simple'", "'hinge'", "model.xml", *words):
        assert word in text


@pytest.mark.parametrize(("home", "lower", "upper"), [(1.05, -1.05, 1.05), (0.0, -50.0, 50.0), (-1.0, -2.0, 0.5)])
def test_limits_wider_than_the_models_are_taken_as_they_are(home, lower, upper, brought):
    joint = {"joints.hinge.home": home, "joints.hinge.lower": lower, "joints.hinge.upper": upper}
    compile_model(brought(WHEEL_MJCF.format(brought="", joint='range="-60 60"'), changes=joint))
    compile_model(brought(WHEEL_MJCF.format(brought="", joint=""), changes={**joint, "joints.hinge.home": upper}))
