"""The built-in models against published numbers, reference models and plain physics."""

import os
import warnings
from pathlib import Path

import mujoco
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / "sim" / "models"
REFERENCES = Path(os.environ.get("ROBOT_RL_REFERENCE_MODELS", REPOSITORY.parent / "shared" / "reference_models"))

GO2_LEGS = ("FL", "FR", "RL", "RR")
GO2_JOINTS = [f"{leg}_{part}_joint" for leg in GO2_LEGS for part in ("hip", "thigh", "calf")]
GO2_HOME = np.tile([0.0, 0.9, -1.8], 4)

MINITAUR_LEGS = ("FL", "BL", "FR", "BR")
MINITAUR_MOTORS = [f"motor_{leg}_{side}" for leg in MINITAUR_LEGS for side in "LR"]
MINITAUR_DIRECTION = np.repeat([-1.0, 1.0], 4)
MINITAUR_HOME = MINITAUR_DIRECTION * np.pi / 2

DCLAW_JOINTS = [f"finger{finger}_joint{joint}" for finger in (1, 2, 3) for joint in (1, 2, 3)]
DCLAW_HOME = np.tile([0.0, -np.pi / 3, np.pi / 3], 3)

LEAP_JOINTS = [f"{finger}_{part}" for finger in ("if", "mf", "rf") for part in ("mcp", "rot", "pip", "dip")]
LEAP_JOINTS += ["th_cmc", "th_axl", "th_mcp", "th_ipl"]
LEAP_HOME = np.array([0.6, 0.0, 0.8, 0.7] * 3 + [0.9, 1.0, 0.1, 0.4])

ARM_JOINTS = ["joint1", "joint2", "joint3"]
ARM_HOME = np.array([-1.1, 1.5, 0.3])

MODEL_NAMES = ("go2", "minitaur", "dclaw", "leap_hand", "planar_arm")
HOMES = {
    "go2": (GO2_JOINTS, GO2_HOME),
    "minitaur": (MINITAUR_MOTORS, MINITAUR_HOME),
    "dclaw": (DCLAW_JOINTS, DCLAW_HOME),
    "leap_hand": (LEAP_JOINTS, LEAP_HOME),
    "planar_arm": (ARM_JOINTS, ARM_HOME),
}


def load(name, *, floor=False, servos=None, base_held=False, timestep=0.002):
    """Compiles a model, where asked with a floor, servos (joints, kp, kd, effort limit), or its base held still.

    Returns:
        The model, and data at the model's own default pose.
    """
    spec = mujoco.MjSpec.from_file(str(MODELS / f"{name}.xml"))
    spec.option.timestep = timestep
    spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    if floor:
        spec.worldbody.add_geom(
            name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.05], contype=1, conaffinity=0
        )
    if base_held:
        spec.delete(spec.joint("root"))
    if servos is not None:
        joints, kp, kd, effort = servos
        for joint in joints:
            servo = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            servo.biastype = mujoco.mjtBias.mjBIAS_AFFINE
            servo.gainprm[0] = kp
            servo.biasprm[1:3] = -kp, -kd
            servo.forcelimited = True
            servo.forcerange = [-effort, effort]
    model = spec.compile()
    return model, mujoco.MjData(model)


def place(data, joints, positions):
    for joint, position in zip(joints, positions, strict=True):
        data.joint(joint).qpos[0] = position


def mass_matrix(model, data, joints, *, floating=False):
    """Joint-space inertia in the given joint order, the free joint first where there is one."""
    full = np.zeros((model.nv, model.nv))
    for column, unit in enumerate(np.eye(model.nv)):
        mujoco.mj_mulM(model, data, full[column], unit)
    order = list(range(6)) if floating else []
    order += [int(model.joint(joint).dofadr[0]) for joint in joints]
    return full[np.ix_(order, order)]


def reference(file):
    path = REFERENCES / file
    if not path.exists():
        reason = f"no reference model at {path}; set ROBOT_RL_REFERENCE_MODELS to the folder that has it"
        print(reason)
        pytest.skip(reason)
    model = mujoco.MjModel.from_xml_path(str(path))
    return model, mujoco.MjData(model)


def worst_mass_matrix_error(ours, theirs, joints, *, floating=False, poses=100):
    """Largest relative Frobenius difference of two (model, data) pairs over random poses within the limits."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(poses):
        positions = [rng.uniform(*ours[0].joint(joint).range) for joint in joints]
        orientation = rng.normal(size=4)
        matrices = []
        for model, data in (ours, theirs):
            if floating:
                data.qpos[:7] = [0, 0, 1, *orientation / np.linalg.norm(orientation)]
            place(data, joints, positions)
            mujoco.mj_fwdPosition(model, data)
            matrices.append(mass_matrix(model, data, joints, floating=floating))
        worst = max(worst, np.linalg.norm(matrices[0] - matrices[1]) / np.linalg.norm(matrices[1]))
    return worst


def body_mass(model, name):
    return float(model.body(name).mass[0])


def base_upright(data):
    """Vertical component of the base's up axis, 1 when level."""
    _, x, y, _ = data.qpos[3:7]
    return 1 - 2 * (x * x + y * y)


def loop_error(data):
    """Largest gap between the two halves of a Minitaur leg, m."""
    return max(
        float(np.linalg.norm(data.site(f"{leg}_loop_L").xpos - data.site(f"{leg}_loop_R").xpos))
        for leg in MINITAUR_LEGS
    )


def leg_to_motors(extension, swing):
    """The linear leg map that the comment in minitaur.xml promises; (4,), (4,) -> (8,) rad."""
    sign = np.tile([1.0, -1.0], 4)
    common = 5 * np.pi / 8 + np.pi / 4 * np.repeat(extension, 2)
    return MINITAUR_DIRECTION * common + np.pi / 4 * np.repeat(swing, 2) * sign


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_models_compile_and_step_without_warnings(name, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, data = load(name)
        mujoco.mj_step(model, data, 50)
    assert not any(warning.number for warning in data.warning)
    assert np.all(np.isfinite(data.qpos))
    assert "warning" not in "".join(capfd.readouterr()).lower()


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_models_leave_actuators_sensors_and_keyframes_to_the_simulator(name):
    model, _ = load(name)
    assert (model.nu, model.nsensor, model.nkey) == (0, 0, 0)


@pytest.mark.parametrize("name", ["go2", "minitaur"])
def test_floating_robots_bring_a_free_base_an_imu_and_no_floor(name):
    model, _ = load(name)
    assert model.joint("root").type[0] == mujoco.mjtJoint.mjJNT_FREE
    assert model.site("imu").bodyid[0] == model.body("base").id
    assert not np.any(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE)


@pytest.mark.parametrize(("name", "kilograms"), [("go2", 15.206), ("minitaur", 6.0)])
def test_quadrupeds_weigh_what_is_published(name, kilograms):
    model, _ = load(name)
    assert model.body_mass.sum() == pytest.approx(kilograms, abs=1e-3)


def test_dclaw_parts_weigh_what_is_published():
    model, _ = load("dclaw")
    assert body_mass(model, "base") == pytest.approx(0.11, abs=1e-3)
    for finger in (1, 2, 3):
        for part, kilograms in (("base", 0.093), ("link1", 0.105), ("link2", 0.105), ("link3", 0.032)):
            assert body_mass(model, f"finger{finger}_{part}") == pytest.approx(kilograms, abs=1e-3)


def test_leap_hand_and_cube_weigh_what_is_published():
    model, _ = load("leap_hand")
    cube = body_mass(model, "cube")
    assert cube == pytest.approx(0.1, abs=1e-3)
    assert model.body_mass.sum() - cube == pytest.approx(0.749, abs=1e-3)


def test_joint_limits_equal_the_published_ones():
    go2, dclaw, leap = {}, {}, {}
    for leg in GO2_LEGS:
        go2[f"{leg}_hip_joint"] = (-1.0472, 1.0472)
        go2[f"{leg}_thigh_joint"] = (-1.5708, 3.4907) if leg[0] == "F" else (-0.5236, 4.5379)
        go2[f"{leg}_calf_joint"] = (-2.7227, -0.83776)
    for finger in (1, 2, 3):
        dclaw |= {f"finger{finger}_joint1": (-0.45, 1.35)}
        dclaw |= {f"finger{finger}_joint2": (-2.0, 2.0), f"finger{finger}_joint3": (-2.0, 2.0)}
    for finger in ("if", "mf", "rf"):
        leap |= {f"{finger}_mcp": (-0.314, 2.23), f"{finger}_rot": (-1.047, 1.047)}
        leap |= {f"{finger}_pip": (-0.506, 1.885), f"{finger}_dip": (-0.366, 2.042)}
    leap |= {"th_cmc": (-0.349, 2.094), "th_axl": (-0.349, 2.094), "th_mcp": (-0.47, 2.443), "th_ipl": (-1.34, 1.88)}
    for name, limits in (("go2", go2), ("dclaw", dclaw), ("leap_hand", leap)):
        model, _ = load(name)
        assert set(limits) == set(HOMES[name][0])
        for joint, limit in limits.items():
            assert model.joint(joint).range == pytest.approx(limit, abs=1e-9), joint


@pytest.mark.parametrize(
    ("name", "file", "joints"),
    [("go2", "unitree_go2.xml", GO2_JOINTS), ("leap_hand", "leap_right_hand.xml", LEAP_JOINTS)],
)
def test_mass_matrix_and_limits_agree_with_the_reference(name, file, joints):
    theirs = reference(file)
    ours = load(name)
    for joint in joints:
        assert ours[0].joint(joint).range == pytest.approx(theirs[0].joint(joint).range)
    assert worst_mass_matrix_error(ours, theirs, joints, floating=name == "go2") < 1e-4


def test_leap_links_agree_with_the_reference_also_without_the_armature():
    theirs = reference("leap_right_hand.xml")
    ours = load("leap_hand")
    for model, _ in (ours, theirs):
        model.dof_armature[:] = 0
    assert worst_mass_matrix_error(ours, theirs, LEAP_JOINTS) < 1e-3


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_home_pose_touches_only_the_world_and_the_objects_and_nothing_deeply(name):
    joints, home = HOMES[name]
    model, data = load(name, floor=name in ("go2", "minitaur"))
    place(data, joints, home)
    mujoco.mj_forward(model, data)
    for contact in data.contact:
        bodies = {model.body(model.geom_bodyid[geom]).name for geom in (contact.geom1, contact.geom2)}
        assert bodies & {"world", "cube", "valve", "cylinder"}, bodies
        assert contact.dist > -1e-3, bodies


def test_go2_feet_touch_the_floor_at_home():
    model, data = load("go2")
    place(data, GO2_JOINTS, GO2_HOME)
    mujoco.mj_forward(model, data)
    for leg in GO2_LEGS:
        foot = data.geom(f"{leg}_foot")
        assert foot.xpos[2] - model.geom(f"{leg}_foot").size[0] == pytest.approx(0, abs=5e-4)
        assert np.allclose(foot.xpos, data.site(f"{leg}_foot_site").xpos)


@pytest.mark.parametrize(
    ("name", "servo", "timestep"), [("go2", (40.0, 1.0, 23.7), 0.005), ("minitaur", (8.0, 0.2, 3.5), 0.002)]
)
def test_quadrupeds_stand_still_for_five_seconds(name, servo, timestep):
    joints, home = HOMES[name]
    model, data = load(name, floor=True, servos=(joints, *servo), timestep=timestep)
    place(data, joints, home)
    height = data.qpos[2]
    data.ctrl[:] = home
    mujoco.mj_step(model, data, round(5 / timestep))
    assert data.qpos[2] > 0.8 * height
    assert base_upright(data) > 0.98
    assert np.abs(data.qvel).max() < 0.05


def test_minitaur_rest_pose_is_closed_and_is_the_default():
    model, data = load("minitaur")
    mujoco.mj_forward(model, data)
    assert loop_error(data) < 1e-5
    for motor, position in zip(MINITAUR_MOTORS, MINITAUR_HOME, strict=True):
        assert data.joint(motor).qpos[0] == pytest.approx(position, abs=1e-5)
        knee = motor.replace("motor", "knee")
        assert data.joint(knee).qpos[0] == pytest.approx(-np.sign(position) * 2.1834, abs=1e-4)


def test_minitaur_loops_stay_closed_within_two_millimetres_while_trotting():
    model, data = load("minitaur", floor=True, servos=(MINITAUR_MOTORS, 8.0, 0.2, 3.5))
    diagonal = np.array([0.0, np.pi, np.pi, 0.0])
    worst = 0.0
    for step in range(1500):
        time = step * model.opt.timestep
        phase = 2 * np.pi * 2 * time + diagonal
        amplitude = 0.4 * min(1.0, time)
        data.ctrl[:] = leg_to_motors(-0.3 + amplitude * np.sin(phase), amplitude * np.cos(phase))
        mujoco.mj_step(model, data)
        worst = max(worst, loop_error(data))
    assert worst < 2e-3
    assert base_upright(data) > 0.9


def settled_feet(extension, swing):
    """Where the feet settle relative to their hips with the base held in the air, (4, 2), x and z in m."""
    model, data = load("minitaur", base_held=True, servos=(MINITAUR_MOTORS, 8.0, 0.2, 3.5))
    model.opt.gravity[:] = 0
    target = leg_to_motors(np.full(4, extension), np.full(4, swing))
    for step in range(1000):
        data.ctrl[:] = MINITAUR_HOME + (target - MINITAUR_HOME) * min(1.0, step / 500)
        mujoco.mj_step(model, data)
    mujoco.mj_forward(model, data)
    hips = np.array([[0.21, 0], [-0.21, 0], [0.21, 0], [-0.21, 0]])
    feet = np.array([data.geom(f"{leg}_foot").xpos[[0, 2]] for leg in MINITAUR_LEGS])
    return feet - data.body("base").xpos[[0, 2]] - hips


@pytest.mark.parametrize("extension", [-1.0, -0.5, 0.0, 0.8])
@pytest.mark.parametrize("swing", [-0.5, 0.5])
def test_minitaur_extension_sets_the_length_of_a_leg_and_swing_its_angle(extension, swing):
    bend = np.pi / 4 * (1.5 - extension)  # the upper links' angle from straight down
    length = 0.115 * np.cos(bend) + np.sqrt(0.2**2 - (0.115 * np.sin(bend)) ** 2)
    angle = np.pi / 4 * swing
    expected = length * np.array([np.sin(angle), -np.cos(angle)])
    assert np.abs(settled_feet(extension, swing) - expected).max() < 2e-3


def test_valve_spins_freely_and_coasts_as_far_as_its_damping_allows():
    model, data = load("dclaw")
    assert not model.jnt_limited[model.joint("valve").id]
    place(data, DCLAW_JOINTS, DCLAW_HOME)
    mujoco.mj_forward(model, data)
    inertia = mass_matrix(model, data, ["valve"])[0, 0]
    damping = 0.1
    data.joint("valve").qpos[0] = 40.0
    data.joint("valve").qvel[0] = 5.0
    model.opt.timestep = 1e-4
    mujoco.mj_step(model, data, 2000)
    assert data.joint("valve").qpos[0] - 40.0 == pytest.approx(5.0 * inertia / damping, rel=0.05)


def test_every_fingertip_reaches_a_valve_arm():
    model, data = load("dclaw")
    tips = [model.geom(f"finger{finger}_tip").id for finger in (1, 2, 3)]
    arms = [model.geom(f"valve_arm{arm}").id for arm in (1, 2, 3)]
    closest = np.full(3, np.inf)
    for swing in np.linspace(-0.45, 0.48, 6):
        for middle in np.linspace(-np.pi / 3, np.pi / 3, 7):
            for distal in np.linspace(-np.pi / 2, np.pi / 2, 7):
                place(data, DCLAW_JOINTS, np.tile([swing, middle, distal], 3))
                mujoco.mj_kinematics(model, data)
                for index, tip in enumerate(tips):
                    gap = min(mujoco.mj_geomDistance(model, data, tip, arm, 1.0, None) for arm in arms)
                    closest[index] = min(closest[index], gap)
    assert np.all(closest < 0), closest


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_fingers_turn_the_valve_both_ways(direction):
    model, data = load("dclaw", servos=(DCLAW_JOINTS, 2.0, 0.0, 1.0), timestep=0.0025)
    place(data, DCLAW_JOINTS, DCLAW_HOME)
    wide, near = (-1.0, 1.0), (0.1, 0.0)
    for swing, curl in 2 * [(-0.45, wide), (-0.45, near), (0.45, near), (0.45, wide)]:
        data.ctrl[:] = np.tile([direction * swing, *curl], 3)
        mujoco.mj_step(model, data, 200)
    assert -direction * data.joint("valve").qpos[0] > 1.0


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.005, 0.005), (-0.005, -0.005)])
def test_cube_stays_in_the_hand_at_home(offset):
    model, data = load("leap_hand", servos=(LEAP_JOINTS, 3.0, 0.01, 0.95), timestep=0.005)
    place(data, LEAP_JOINTS, LEAP_HOME)
    cube = data.joint("cube_joint")
    cube.qpos[:2] += offset
    cube.qpos[2] += 0.02
    data.ctrl[:] = LEAP_HOME
    mujoco.mj_step(model, data, 800)
    assert data.body("cube").xpos[2] > 0.2
    assert np.linalg.norm(data.body("cube").xpos - data.site("palm_site").xpos) < 0.07
    assert np.abs(cube.qvel).max() < 0.05
    assert data.body("cube").xmat[8] > 0.8


def test_cube_that_misses_the_hand_falls_to_the_floor():
    model, data = load("leap_hand")
    data.joint("cube_joint").qpos[:3] = [0.5, 0.0, 0.3]
    data.joint("cube_joint").qpos[3:] = [1.0, 0.0, 0.0, 0.0]
    mujoco.mj_step(model, data, 1000)
    assert data.body("cube").xpos[2] == pytest.approx(0.035, abs=2e-3)


def slide_until_rest(velocity):
    """How far the cylinder slides on the table, m along x and y, by small steps."""
    model, data = load("planar_arm", timestep=1e-4)
    place(data, ARM_JOINTS, [-1.6, 1.0, 0.3])  # out of the way
    start = data.qpos.copy()
    for joint, speed in zip(("cylinder_x", "cylinder_y"), velocity, strict=True):
        data.joint(joint).qvel[0] = speed
    mujoco.mj_step(model, data, 4000)
    return [data.joint(name).qpos[0] - start[model.joint(name).qposadr[0]] for name in ("cylinder_x", "cylinder_y")]


@pytest.mark.parametrize("speed", [0.3, -0.6])
def test_the_cylinder_slides_as_far_as_drag_and_friction_allow(speed):
    mass, drag, friction = 0.2, 1.0, 0.4
    # m dv/dt = -c v - f  from v until rest:  distance = m/c (v - f/c log(1 + c v / f))
    v = abs(speed)
    distance = mass / drag * (v - friction / drag * np.log(1 + drag * v / friction))
    for velocity, expected in (((speed, 0.0), (distance, 0.0)), ((0.0, speed), (0.0, distance))):
        assert slide_until_rest(velocity) == pytest.approx(np.sign(speed) * np.array(expected), abs=0.03 * distance)


def test_the_arm_lies_in_the_plane_as_its_file_says():
    model, data = load("planar_arm")
    rng = np.random.default_rng(0)
    for positions in rng.uniform(-1.2, 1.8, (20, 3)):
        place(data, ARM_JOINTS, positions)
        mujoco.mj_forward(model, data)
        headings = np.cumsum(positions)
        tip = np.array([0.22, 0.20, 0.14]) @ np.stack([np.cos(headings), np.sin(headings)], axis=-1)
        assert data.geom("fingertip").xpos == pytest.approx([*tip, 0.04], abs=1e-12)


@pytest.mark.parametrize("away", [(0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (0.6, 0.8)])
def test_arm_and_cylinder_touch_exactly_where_their_outlines_meet(away):
    model, data = load("planar_arm")
    place(data, ARM_JOINTS, [0.0, 0.0, 0.0])
    tip, outlines = np.array([0.56, 0.0]), 0.018 + 0.04
    for gap, contacts in ((1e-3, False), (-1e-3, True)):
        place(data, ["cylinder_x", "cylinder_y"], tip + (outlines + gap) * np.array(away))
        mujoco.mj_forward(model, data)
        assert (data.ncon > 0) == contacts
        if contacts:
            assert data.contact.dist.min() == pytest.approx(gap, abs=1e-9)
