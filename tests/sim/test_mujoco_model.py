"""From a robot's file and an MJCF or URDF to the model that is simulated, also for robots that users bring."""

import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest

from robot_rl.env import RobotEnv, RobotVectorEnv
from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.robot import JointCommand, Start
from robot_rl.spec_file import builtin_robots, load_robot
from robot_rl.tasks.stand import Stand
from sim.mujoco_batch import MujocoBatch
from sim.mujoco_model import compile_model
from sim.mujoco_robot import MujocoRobot

BOX_ON_PLANE_MJCF = """
<mujoco>
  <worldbody>
    <geom type="plane" size="0 0 1" friction="1"/>
    <body pos="0 0 0.05"><freejoint/><geom type="box" size="0.1 0.1 0.05" friction="1"/></body>
  </worldbody>
</mujoco>
"""

# A four-legged table: each leg swings about y. It brings its own actuators, sensors, keyframe, gains and time step.
TABLE_MJCF = """
<mujoco model="table">
  <option timestep="0.01" integrator="RK4"/>
  <worldbody>
    <body name="top" pos="0 0 0.3">
      {freejoint}
      <geom name="board" type="box" size="0.2 0.15 0.02" mass="4"/>
      {legs}
    </body>
  </worldbody>
  <actuator>
    <motor name="motor_a" joint="leg_a" gear="7"/>
    <position name="motor_b" joint="leg_b" kp="3"/>
  </actuator>
  <sensor>
    <jointpos name="angle" joint="leg_a"/>
    <gyro name="gyro" site="somewhere"/>
  </sensor>
  <keyframe>
    <key name="home" qpos="{home}" ctrl="0 0"/>
  </keyframe>
</mujoco>
"""
LEG_MJCF = """
<body name="{name}" pos="{x} {y} 0">
  <joint name="leg_{name}" axis="0 1 0" range="-60 60" damping="0.1"/>
  <geom name="shin_{name}" type="capsule" fromto="0 0 -0.03 0 0 -0.25" size="0.015" mass="0.25"/>
  <geom name="foot_{name}" type="sphere" pos="0 0 -0.26" size="0.02" mass="0.05"/>
  <site name="{site}"/>
</body>
"""
LEGS = {"a": (0.17, 0.12), "b": (0.17, -0.12), "c": (-0.17, 0.12), "d": (-0.17, -0.12)}


def table_mjcf(*, free):
    legs = "".join(
        LEG_MJCF.format(name=name, x=x, y=y, site="somewhere" if name == "a" else f"ankle_{name}")
        for name, (x, y) in LEGS.items()
    )
    home = "0 0 0.3 1 0 0 0 0 0 0 0" if free else "0 0 0 0"
    return TABLE_MJCF.format(legs=legs, home=home, freejoint="<freejoint/>" if free else "")


def table_urdf():
    def inertial(mass, size):
        return (
            f'<inertial><mass value="{mass}"/><inertia ixx="{mass * size}" iyy="{mass * size}" izz="{mass * size}"'
            ' ixy="0" ixz="0" iyz="0"/></inertial>'
        )

    board = '<collision name="board"><geometry><box size="0.4 0.3 0.04"/></geometry></collision>'
    links = [f'<link name="top">{inertial(4, 0.01)}{board}</link>']
    joints = []
    for name, (x, y) in LEGS.items():
        links.append(
            f'<link name="{name}">{inertial(0.25, 0.04)}<collision name="foot_{name}"><origin xyz="0 0 -0.26"/>'
            '<geometry><sphere radius="0.02"/></geometry></collision></link>'
        )
        joints.append(
            f'<joint name="leg_{name}" type="revolute"><parent link="top"/><child link="{name}"/>'
            f'<origin xyz="{x} {y} 0"/><axis xyz="0 1 0"/>'
            '<limit lower="-1" upper="1" effort="20" velocity="10"/></joint>'
        )
        # A fixed link, as tool flanges and sensor mounts are in most robots' files.
        links.append(f'<link name="cap_{name}">{inertial(0.05, 0.0001)}</link>')
        joints.append(
            f'<joint name="mount_{name}" type="fixed"><parent link="{name}"/><child link="cap_{name}"/>'
            '<origin xyz="0 0 -0.2"/></joint>'
        )
    return f'<robot name="table">\n{chr(10).join(links + joints)}\n</robot>'


def table_values(model):
    joint = {"lower": -1.0, "upper": 1.0, "velocity": 10.0, "effort": 20.0, "home": 0.0, "kp": 60.0, "kd": 2.0}
    return {
        "name": "table",
        "description": "a table with swinging legs",
        "base": "floating",
        "control_rate": 50,
        # Not the order of the model: joints are paired by name.
        "joints": {f"leg_{name}": dict(joint) for name in "cadb"},
        "feet": ["d", "a"],
        "sensors": {
            "joint_position": {"noise": 0.01}, "joint_velocity": {}, "orientation": {}, "angular_velocity": {},
            "linear_acceleration": {}, "contacts": {},
        },
        "action": {"kind": "position", "scale": 0.3},
        "simulation": {
            "model": model, "physics_rate": 500, "base_body": "top", "base_height": 0.281,
            "foot_geoms": {"a": "foot_a", "d": "foot_d"},
        },
    }  # fmt: skip


MODELS = {
    "mjcf": ("table.xml", table_mjcf(free=True)),
    "mjcf-without-a-free-joint": ("table.xml", table_mjcf(free=False)),
    "urdf": ("table.urdf", table_urdf()),
}


@pytest.fixture
def table(write_robot, tmp_path):
    """`table("urdf", {"name": "x"})` writes the table's two files and returns the path of its YAML."""

    def write(kind="mjcf", changes=None):
        file, content = MODELS[kind]
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / file).write_text(content)
        values = table_values(f"models/{file}")
        for path, value in (changes or {}).items():
            *sections, key = path.split(".")
            section = values
            for name in sections:
                section = section[name]
            section[key] = value
        return write_robot(values, "table.yaml")

    return write


def refusal(action) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return caught.value


# -- robots that users bring -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_a_users_robot_stands_in_an_environment(kind, table):
    spec = load_robot(table(kind))
    env = RobotEnv(MujocoRobot(spec), Stand(spec))
    observation, _ = env.reset(seed=0)
    assert observation.shape == (3 + 3 + 4 + 4 + 4,)
    for _ in range(100):
        observation, reward, terminated, _, _ = env.step(np.zeros(4))
        assert not terminated
    assert reward > 0.9
    assert env.state.joint_position == pytest.approx(spec.home, abs=0.1)
    assert env.state.gravity == pytest.approx([0, 0, -1], abs=0.05)
    # Two of four feet carry half of the weight.
    assert env.state.contacts.sum() == pytest.approx(env.robot.model.body_mass.sum() * 9.81 / 2, rel=0.1)
    env.close()


@pytest.mark.parametrize("kind", MODELS)
def test_a_users_robot_stands_in_a_vector_environment(kind, table):
    spec = load_robot(table(kind))
    env = RobotVectorEnv(MujocoBatch(spec, 2), Stand(spec))
    env.reset(seed=0)
    for _ in range(5):
        _, reward, terminated, _, _ = env.step(np.zeros((2, 4)))
    assert np.all(reward > 0)
    assert not terminated.any()
    env.close()


@pytest.mark.parametrize("kind", MODELS)
def test_what_the_model_brings_of_actuators_sensors_and_keyframes_is_replaced_by_the_robots_file(kind, table):
    spec = load_robot(table(kind))
    model = compile_model(spec)
    assert [model.actuator(i).name for i in range(model.nu)] == list(spec.joint_names)
    assert {model.sensor(i).name for i in range(model.nsensor)} == {"linear_acceleration", "contact_a", "contact_d"}
    assert model.nkey == 0
    assert model.opt.timestep == pytest.approx(0.002)
    assert model.opt.integrator == int(mujoco.mjtIntegrator.mjINT_EULER)
    assert np.array_equal(model.actuator_gainprm[:, 0], spec.kp)
    assert np.count_nonzero(model.jnt_type == int(mujoco.mjtJoint.mjJNT_FREE)) == 1
    assert model.jnt_type[model.body("top").jntadr[0]] == int(mujoco.mjtJoint.mjJNT_FREE)


@pytest.mark.parametrize("kind", MODELS)
def test_joints_are_paired_by_name_whatever_the_order_of_the_model(kind, table):
    spec = load_robot(table(kind, {"simulation.base_height": 3.0}))
    assert spec.joint_names == ("leg_c", "leg_a", "leg_d", "leg_b")
    robot = MujocoRobot(spec, noise=False)
    target = np.array([0.1, 0.2, 0.3, 0.4])
    state = robot.reset(Start(target), np.random.default_rng(0))
    assert state.joint_position == pytest.approx(target)
    for name, angle in zip(spec.joint_names, target, strict=True):
        assert robot.data.joint(name).qpos[0] == pytest.approx(angle)
    robot.model.opt.gravity[:] = 0
    for _ in range(50):
        state = robot.step(JointCommand(-target))
    assert state.joint_position == pytest.approx(-target, abs=1e-2)


def test_a_urdf_keeps_the_mass_of_its_fixed_links(table):
    model = compile_model(load_robot(table("urdf")))
    assert model.body_mass.sum() == pytest.approx(4 + 4 * 0.3)


def test_a_model_with_a_floor_of_its_own_gets_no_second_one(table, tmp_path):
    path = table("mjcf")
    assert np.count_nonzero(compile_model(load_robot(path)).geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)) == 1
    file = tmp_path / "models" / "table.xml"
    ground = '<geom name="ground" type="plane" size="1 1 1"/>'
    file.write_text(file.read_text().replace("<worldbody>", f"<worldbody>{ground}"))
    model = compile_model(load_robot(path))
    assert np.count_nonzero(model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)) == 1
    assert model.geom("ground").id >= 0


@pytest.mark.parametrize("name", builtin_robots())
@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
def test_physics_options_are_those_of_the_robots_file(name, cone, robot_spec):
    changes = {"simulation.cone": cone, "simulation.impratio": 10, "simulation.integrator": "implicitfast"}
    spec = robot_spec(name, changes)
    model = compile_model(spec)
    assert model.opt.timestep == pytest.approx(spec.simulation.physics_dt)
    assert model.opt.impratio == 10
    assert model.opt.cone == int({"pyramidal": 0, "elliptic": 1}[cone])
    assert model.opt.integrator == int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST)


def test_an_imu_without_a_site_sits_at_the_origin_of_the_base(table):
    model = compile_model(load_robot(table()))
    assert model.site_bodyid[model.site("imu").id] == model.body("top").id
    assert model.site("imu").pos.tolist() == [0, 0, 0]


# -- what can be wrong -------------------------------------------------------------------------------------------------


def test_a_missing_model_file_is_named(table):
    message = str(refusal(lambda: MujocoRobot(load_robot(table(changes={"simulation.model": "models/gone.xml"})))))
    assert "'table'" in message
    assert "simulation.model" in message
    assert "gone.xml" in message


@pytest.mark.parametrize(
    ("changes", "given", "allowed"),
    [
        (
            {"joints.leg_z": {"lower": -1, "upper": 1, "velocity": 1, "effort": 1, "home": 0, "kp": 1, "kd": 1}},
            "'leg_z'",
            "leg_a, leg_b, leg_c, leg_d",
        ),
        ({"simulation.foot_geoms": {"a": "foot_a", "d": "foot_z"}}, "'foot_z'", "foot_a"),
        ({"simulation.base_body": "bottom"}, "'bottom'", "top"),
        ({"objects": ["cup"], "sensors.objects": {}}, "'cup'", "top"),
    ],
    ids=["joint", "foot", "base", "object"],
)
def test_a_part_that_the_model_lacks_is_named_with_those_it_has(changes, given, allowed, table):
    error = refusal(lambda: MujocoRobot(load_robot(table(changes=changes))))
    assert isinstance(error, UnknownName)
    assert given in str(error)
    assert allowed in str(error)
    assert "'table'" in str(error)
    assert "table.xml" in str(error)


@pytest.mark.parametrize("kind", ["ball", "free"])
def test_a_joint_that_one_number_cannot_command_is_refused(kind, table, tmp_path):
    path = table()
    file = tmp_path / "models" / "table.xml"
    text = file.read_text()
    if kind == "ball":
        text = text.replace('name="leg_b" axis="0 1 0" range="-60 60"', 'name="leg_b" type="ball"')
    else:
        text = text.replace('joint name="leg_b"', 'joint name="other"').replace('joint="leg_b"', 'joint="other"')
        text = text.replace("<freejoint/>", '<freejoint name="leg_b"/>')
    file.write_text(text)
    message = str(refusal(lambda: MujocoRobot(load_robot(path))))
    assert "'leg_b'" in message
    assert "hinge or slide" in message


@pytest.mark.parametrize("text", ["<mujoco><worldbody>", "not xml at all", "<mujoco><nonsense/></mujoco>", ""])
def test_a_model_that_cannot_be_read_is_refused_in_one_line(text, table, tmp_path):
    path = table()
    (tmp_path / "models" / "table.xml").write_text(text)
    message = str(refusal(lambda: MujocoRobot(load_robot(path))))
    assert "table.xml" in message
    assert "'table'" in message


def test_a_model_that_cannot_be_compiled_is_refused_in_one_line(table, tmp_path):
    path = table()
    file = tmp_path / "models" / "table.xml"
    file.write_text(file.read_text().replace('name="board" type="box"', 'name="board" type="mesh" mesh="gone"'))
    message = str(refusal(lambda: MujocoRobot(load_robot(path))))
    assert "table.xml" in message
    assert "gone" in message


# -- MuJoCo Menagerie --------------------------------------------------------------------------------------------------


@pytest.fixture
def menagerie(tmp_path, monkeypatch):
    """A checkout of Menagerie that holds the table among others; the package is not installed."""
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", None)
    root = tmp_path / "menagerie"
    for name in ("acme_table", "acme_chair", "empty"):
        (root / name).mkdir(parents=True)
    (root / "acme_table" / "scene.xml").write_text("<mujoco/>")
    (root / "acme_table" / "table.xml").write_text(table_mjcf(free=True))
    (root / "acme_table" / "table_mjx.xml").write_text("<mujoco/>")
    (root / "acme_table" / "hands.xml").write_text("<mujoco/>")
    (root / "acme_chair" / "scene.xml").write_text("<mujoco/>")
    monkeypatch.setenv("MENAGERIE_ROOT", str(root))
    return root


def from_menagerie(write_robot, name):
    return load_robot(write_robot(table_values(f"menagerie:{name}")))


def test_a_menagerie_model_is_found_by_name_under_menagerie_root(menagerie: Path, write_robot):
    spec = from_menagerie(write_robot, "acme_table")
    env = RobotEnv(MujocoRobot(spec), Stand(spec))
    env.reset(seed=0)
    assert env.step(np.zeros(4))[1] > 0
    env.close()


def test_an_unknown_menagerie_model_lists_those_that_are_there(menagerie: Path, write_robot):
    error = refusal(lambda: MujocoRobot(from_menagerie(write_robot, "acme_tabel")))
    assert isinstance(error, UnknownName)
    assert "'acme_tabel'" in str(error)
    assert "acme_chair, acme_table" in str(error)
    assert str(menagerie) in str(error)


@pytest.mark.parametrize("name", ["empty", "acme_chair"])
def test_a_menagerie_folder_without_a_robot_is_refused(name, menagerie: Path, write_robot):
    assert f"'menagerie:{name}'" in str(refusal(lambda: MujocoRobot(from_menagerie(write_robot, name))))


def test_a_menagerie_root_that_is_no_folder_is_named(menagerie: Path, write_robot, monkeypatch):
    monkeypatch.setenv("MENAGERIE_ROOT", str(menagerie / "gone"))
    message = str(refusal(lambda: MujocoRobot(from_menagerie(write_robot, "acme_table"))))
    assert "MENAGERIE_ROOT" in message
    assert str(menagerie / "gone") in message
    assert "allowed:" not in message


def test_without_menagerie_the_message_says_how_to_get_it(menagerie: Path, write_robot, monkeypatch):
    monkeypatch.delenv("MENAGERIE_ROOT")
    message = str(refusal(lambda: MujocoRobot(from_menagerie(write_robot, "acme_table"))))
    assert "pip install mujoco-menagerie" in message
    assert "MENAGERIE_ROOT" in message


@pytest.mark.parametrize("direction", [0.0, np.pi / 8, np.pi / 4])
def test_what_a_hand_holds_slips_in_no_direction_below_its_friction(direction: float):
    # A pyramid inside the cone gives up to 30 % less between its edges: a box on a slope of 0.85, with a friction of 1,
    # that stays when it slopes along an edge slides half a metre in a second when it slopes between two.
    hand = compile_model(load_robot("dclaw"))
    world = mujoco.MjModel.from_xml_string(BOX_ON_PLANE_MJCF)
    world.opt.cone, world.opt.impratio, world.opt.timestep = hand.opt.cone, hand.opt.impratio, hand.opt.timestep
    slope = np.arctan(0.85)
    along, down = 9.81 * np.sin(slope), 9.81 * np.cos(slope)
    world.opt.gravity[:] = along * np.cos(direction), along * np.sin(direction), -down
    data = mujoco.MjData(world)
    mujoco.mj_step(world, data, round(1.0 / world.opt.timestep))
    assert np.linalg.norm(data.qpos[:2]) < 1e-3
