"""Every term changes what it says it changes, by the right amount, against physics worked out by hand."""

import math

import mujoco
import numpy as np
import pytest

from robot_rl import rotation
from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.robot import JointCommand, Randomized, Start
from robot_rl.spec_file import builtin_robots, load_robot
from sim.mujoco_batch import MujocoBatch
from sim.mujoco_robot import MujocoRobot
from sim.randomization import TERMS, Randomization, load_randomization, presets
from tests.sim.conftest import BALL_MASS, BALL_RADIUS, WHEEL_INERTIA

G = 9.81


def make(spec, noise=False, seed=0, **terms):
    """A robot with these terms, reset to its home."""
    robot = MujocoRobot(spec, noise=noise, randomization=Randomization(terms, spec))
    robot.reset(Start(spec.home), np.random.default_rng(seed))
    return robot


def hold(robot, seconds, command=None):
    command = JointCommand(robot.spec.home if command is None else np.asarray(command, dtype=float))
    for _ in range(round(seconds * robot.spec.control_rate)):
        state = robot.step(command)
    return state


def inertia_of(robot):
    """The mass matrix at the robot's present posture, (nv, nv)."""
    model, data = robot.model, mujoco.MjData(robot.model)
    data.qpos[:] = robot.data.qpos
    mujoco.mj_forward(model, data)
    full = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, full)
    return full, data


# -- masses -----------------------------------------------------------------------------------------------------------


def test_a_payload_presses_on_the_ground_by_its_weight():
    spec = load_robot("go2")
    forces = [
        np.mean([hold(robot, 0.02).contacts.sum() for _ in range(25)])
        for robot in (make(spec, payload={"kg": kg}) for kg in (0.0, 3.0))
        if hold(robot, 1.5) is not None
    ]
    assert forces[0] == pytest.approx(15.206 * G, rel=0.01)
    assert forces[1] - forces[0] == pytest.approx(3.0 * G, rel=0.02)


def test_a_payload_off_the_centre_adds_the_inertia_of_a_point_mass():
    spec, place = load_robot("go2"), np.array([0.1, -0.05, 0.12])
    plain, loaded = make(spec), make(spec, payload={"kg": 2.0, "at": place.tolist()})
    before, data = inertia_of(plain)
    after, _ = inertia_of(loaded)
    base = plain.model.body("base").id
    point = data.xpos[base] + data.xmat[base].reshape(3, 3) @ (plain.model.body_ipos[base] + place)
    jacobian = np.zeros((3, plain.model.nv))
    mujoco.mj_jac(plain.model, data, jacobian, None, point, base)
    assert after - before == pytest.approx(2.0 * jacobian.T @ jacobian, abs=1e-9)


def test_masses_and_inertias_are_scaled_body_by_body():
    spec = load_robot("go2")
    robot = make(spec, mass=[0.8, 1.2], inertia=[0.5, 1.5])
    nominal = make(spec).model
    for name in ("base", "FL_hip", "RR_calf"):
        mass, more = robot.drawn[f"mass.{name}"], robot.drawn[f"inertia.{name}"]
        body = nominal.body(name).id
        assert robot.model.body_mass[body] == pytest.approx(mass * nominal.body_mass[body])
        assert robot.model.body_inertia[body] == pytest.approx(mass * more * nominal.body_inertia[body])
    assert len({robot.drawn[f"mass.{leg}_calf"] for leg in ("FL", "FR", "RL", "RR")}) == 4
    # What follows from the masses was computed anew.
    assert robot.model.body_subtreemass[1] == pytest.approx(robot.model.body_mass.sum())


def test_a_shifted_centre_of_mass_turns_the_robot_by_its_lever():
    spec, shift = load_robot("go2"), 0.03
    plain, shifted = make(spec), make(spec, center_of_mass={"meters": shift})
    force = []
    for robot in (plain, shifted):
        _, data = inertia_of(robot)
        force.append(data.qfrc_bias[3:6].copy())  # the torque about the base's axes that gravity asks for
    mass = plain.model.body_mass[plain.model.body("base").id]
    # Upright, so the body's axes are the world's: torque = r x (0, 0, -m g).
    assert force[1] - force[0] == pytest.approx(-np.cross([shift] * 3, [0, 0, -mass * G]), abs=1e-9)


def test_one_shift_for_all_bodies_is_the_same_along_the_axes_of_each(robot_spec):
    spec = load_robot("dclaw")
    plain, shifted = make(spec), make(spec, center_of_mass={"meters": [-0.01, 0.01], "each": False})
    moved = np.unique((shifted.model.body_ipos - plain.model.body_ipos).round(12), axis=0)
    moved = moved[moved.any(axis=1)]
    assert moved.shape == (1, 3)
    assert len(set(moved[0])) == 3
    name = next(iter(shifted.drawn)).rpartition(".")[0]
    assert [shifted.drawn[f"{name}.{axis}"] for axis in "xyz"] == pytest.approx(moved[0])
    # Their own radii of gyration set the measure of a share.
    shares = make(spec, center_of_mass={"share": [-0.1, 0.1], "each": False}).drawn
    ratios = {name: value / shares[f"{name[:-1]}x"] for name, value in shares.items() if name.endswith("y")}
    assert np.ptp(list(ratios.values())) == pytest.approx(0.0, abs=1e-9)
    assert len({value for name, value in shares.items() if name.endswith("x")}) > 1


def test_the_share_of_a_shift_is_of_the_radius_of_gyration():
    robot = make(load_robot("go2"), center_of_mass=0.1)
    radius = math.sqrt((0.107027 + 0.0980771 + 0.0244531) / (2 * 6.921))
    assert robot.drawn["center_of_mass.base.x"] == pytest.approx(0.1 * radius, rel=1e-4)


# -- contacts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "slides"), [(0.9, False), (0.7, True)])
def test_friction_decides_at_which_slope_a_box_slides(ratio, slides, ball):
    slope, friction = 0.38, 0.5 * ratio  # tan .38 = .40, between .35 and .45
    robot = make(ball(shape="box"), friction=ratio, gravity_tilt=slope)
    # Not from the beginning, while the box still settles.
    before, after = (np.linalg.norm(hold(robot, seconds).base_linear_velocity) for seconds in (0.2, 0.4))
    speed = after - before
    expected = 0.4 * G * (math.sin(slope) - friction * math.cos(slope)) if slides else 0.0
    assert speed == pytest.approx(expected, rel=0.05, abs=0.01)


def test_a_box_slides_where_gravity_points(ball):
    robot = make(ball(shape="box"), friction={"value": 0.0}, gravity_tilt=0.1)
    state = hold(robot, 0.2)
    moved = state.base_position[:2]
    heading = robot.drawn["gravity_tilt.heading"]
    assert math.atan2(moved[1], moved[0]) == pytest.approx(heading, abs=1e-3)
    assert np.linalg.norm(moved) == pytest.approx(0.5 * G * math.sin(0.1) * 0.2**2, rel=0.02)


@pytest.mark.parametrize("coefficient", [0.3, 0.6, 0.8])
def test_a_ball_rebounds_with_the_coefficient_of_restitution(coefficient, ball):
    spec = ball({"simulation.base_height": 0.4, "simulation.physics_rate": 5000, "control_rate": 500})
    robot = make(spec, restitution=coefficient)
    speeds = [float(robot.step(JointCommand(spec.home)).base_linear_velocity[2]) for _ in range(250)]
    impact = -min(speeds)
    rebound = max(speeds[int(np.argmin(speeds)) :])
    assert impact == pytest.approx(math.sqrt(2 * G * 0.3), rel=0.02)
    assert rebound / impact == pytest.approx(coefficient, abs=0.05)


# -- joints -----------------------------------------------------------------------------------------------------------


def spinning(robot, speed=5.0):
    """The robot with its motor off and its wheel turning."""
    robot.drive("limp")
    robot.data.qvel[0] = speed
    return robot


def test_damping_slows_a_wheel_exponentially(wheel):
    robot = spinning(make(wheel(), damping={"add": 0.5}))
    state = hold(robot, 0.4)
    assert state.joint_velocity[0] == pytest.approx(5.0 * math.exp(-0.501 / WHEEL_INERTIA * 0.4), rel=2e-3)


def test_friction_loss_slows_a_wheel_evenly(wheel):
    robot = spinning(make(wheel({"simulation.model": "model.xml"}), friction_loss={"add": 0.5}))
    assert hold(robot, 0.4).joint_velocity[0] == pytest.approx(5.0 - 0.5 / WHEEL_INERTIA * 0.4, rel=0.01)


def test_armature_is_inertia_at_the_joint():
    spec = load_robot("planar_arm")
    plain, heavy = inertia_of(make(spec))[0], inertia_of(make(spec, armature={"add": 0.05, "each": False}))[0]
    driven = [make(spec).model.joint(name).dofadr[0] for name in spec.joint_names]
    added = np.diag(heavy - plain)
    assert added[driven] == pytest.approx(0.05)


def test_gains_and_strength_scale_the_torque(wheel):
    spec = wheel({"joints.hinge.kd": 0.4})
    for terms, torque in (
        ({}, 5.0 * 0.2 - 0.4 * 1.0),
        ({"gains": {"kp": 1.2, "kd": 0.5}}, 6.0 * 0.2 - 0.2 * 1.0),
        ({"motor_strength": 0.7}, 0.7 * (5.0 * 0.2 - 0.4 * 1.0)),
    ):
        robot = make(spec, **terms)
        robot.data.qvel[0] = 1.0
        robot.data.ctrl[0] = 0.2
        mujoco.mj_forward(robot.model, robot.data)
        assert robot.data.actuator_force[0] == pytest.approx(torque), terms


def test_a_weak_motor_has_a_lower_limit(wheel):
    state = hold(make(wheel(), motor_strength=0.6), 0.02, [40.0])
    assert state.joint_effort[0] == pytest.approx(0.6 * 4.0)


# -- motors -----------------------------------------------------------------------------------------------------------


def effort_at(robot, speed, command):
    """Torque of the wheel's motor while it turns at a speed."""
    robot.data.qvel[0] = speed
    robot.data.qpos[0] = 0.0
    return float(robot.step(JointCommand(np.array([command]))).joint_effort[0])


@pytest.mark.parametrize(
    ("voltage", "speed", "command", "torque"),
    [
        (1.0, 0.0, 40.0, 4.0),  # the driver's limit
        (1.0, 10.0, 40.0, 4.0),  # 8 (1 - 10/20) = 4
        (1.0, 15.0, 40.0, 2.0),  # 8 (1 - 15/20)
        (1.0, 15.0, -40.0, -4.0),  # braking
        (0.5, 0.0, 40.0, 4.0),  # half the voltage, half of 8
        (0.5, 5.0, 40.0, 2.0),  # 4 (1 - 5/10)
        (0.5, 12.0, 40.0, -0.8),  # faster than its no-load speed: 4 (1 - 12/10)
    ],
)
def test_a_motor_gives_what_its_speed_and_voltage_leave(voltage, speed, command, torque, wheel):
    spec = wheel({"control_rate": 1000, "sensors.joint_position.noise": 0.0})
    robot = make(spec, torque_speed={"stall": 2.0, "no_load": 1.0}, battery=voltage)
    assert effort_at(robot, speed, command) == pytest.approx(torque, abs=1e-9)


MOTOR = {"voltage": 16.0, "resistance": 2.0, "torque_constant": 0.5, "current_limit": 6.0}


def test_a_motor_of_the_robots_file_runs_up_to_its_no_load_speed(wheel):
    spec = wheel({"simulation.motor": MOTOR, "joints.hinge.kp": 1000.0, "joints.hinge.upper": 1e6})
    robot = MujocoRobot(spec, noise=False)
    robot.reset(Start(spec.home), np.random.default_rng(0))
    # kV/R = 4 N m at rest, 3 N m by the current; friction aside it ends at V/k = 32 rad/s.
    first = robot.step(JointCommand(np.array([1e5])))
    assert first.joint_effort[0] == pytest.approx(0.5 * 6.0)
    fast = hold(robot, 20.0, [1e5]).joint_velocity[0]
    slope = 0.5**2 / 2.0
    assert fast == pytest.approx(4.0 / (slope + 0.001), rel=1e-3)  # where torque and damping are equal
    assert robot.drawn == {}


def test_a_battery_in_volts_needs_and_uses_the_robots_motor(wheel):
    robot = make(wheel({"simulation.motor": MOTOR, "control_rate": 1000}), battery={"volts": 12.0})
    assert effort_at(robot, 0.0, 40.0) == pytest.approx(0.5 * 12.0 / 2.0)
    with pytest.raises(ConfigurationError, match="nominal voltage is unknown"):
        make(load_robot("go2"), battery={"volts": 12.0})


# -- sensors ----------------------------------------------------------------------------------------------------------


def test_an_encoder_that_reads_too_much_holds_the_joint_too_low(wheel):
    robot = make(wheel({"joints.hinge.kd": 2.0}), encoder_offset=0.1)
    state = hold(robot, 8.0, [0.5])
    assert state.joint_position[0] == pytest.approx(0.5, abs=1e-4)
    assert robot.data.qpos[0] == pytest.approx(0.4, abs=1e-4)


def test_noise_and_bias_of_sensors_have_the_size_that_was_drawn(ball):
    spec = ball({"sensors.joint_position.noise": 0.02})
    bias = {"angular_velocity": [0.1, 0.2], "joint_velocity": 0.3}
    robot = make(spec, noise=True, sensor_noise=1.5, sensor_bias=bias)
    states = [robot.step(JointCommand(spec.home)) for _ in range(400)]
    position = np.array([state.joint_position[0] for state in states])
    spin = np.array([state.angular_velocity for state in states])
    assert position.std() == pytest.approx(1.5 * 0.02, rel=0.15)  # 4 standard errors
    assert spin.mean(axis=0) == pytest.approx([robot.drawn[f"sensor_bias.angular_velocity.{i}"] for i in range(3)])
    assert np.mean([state.joint_velocity[0] for state in states]) == pytest.approx(0.3, abs=1e-6)


def test_a_bias_of_the_orientation_turns_it_by_so_much_and_leaves_the_truth_alone(ball):
    robot = make(ball(), sensor_bias={"orientation": 0.05})
    robot.data.qvel[:3] = 1.0, 0.0, 0.0
    state = robot.step(JointCommand(robot.spec.home))
    true = rotation.from_wxyz(robot.data.qpos[3:7])
    velocity = rotation.rotate_inverse(true, robot.data.qvel[:3])
    between = rotation.multiply(rotation.conjugate(true), state.orientation_xyzw)
    assert 2.0 * between[:3] == pytest.approx([0.05] * 3, rel=1e-2)
    assert np.linalg.norm(state.orientation_xyzw) == pytest.approx(1.0)
    assert state.base_linear_velocity == pytest.approx(velocity, abs=1e-9)


# -- the world --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duration", [0.001, 0.012, 0.1])
def test_a_push_that_lasts_no_whole_number_of_steps_is_no_stronger(duration):
    spec = load_robot("go2")
    robot = make(spec, push={"velocity": 0.5, "interval": 1.0, "duration": duration})
    robot.model.opt.gravity[:] = 0.0
    robot.data.qpos[2] = 5.0
    for _ in range(58):  # 1.16 s
        robot.step(JointCommand(spec.home))
    mujoco.mj_subtreeVel(robot.model, robot.data)
    assert np.linalg.norm(robot.data.subtree_linvel[1]) == pytest.approx(0.5, rel=1e-3)


def test_a_push_changes_the_momentum_by_mass_times_speed():
    spec = load_robot("go2")
    robot = make(spec, push={"velocity": 0.7, "interval": 0.1, "duration": 0.08})
    robot.model.opt.gravity[:] = 0.0
    robot.data.qpos[2] = 5.0
    speeds = []
    for _ in range(14):  # up to 0.28 s, when the second push begins
        robot.step(JointCommand(spec.home))
        mujoco.mj_subtreeVel(robot.model, robot.data)
        speeds.append(np.linalg.norm(robot.data.subtree_linvel[1]))
    assert speeds[4] == pytest.approx(0.0, abs=1e-6)
    assert 0.0 < speeds[6] < 0.7
    assert speeds[9:] == pytest.approx([0.7] * 5, rel=1e-3)


def test_on_a_slope_the_ground_pushes_at_a_right_angle_to_it(ball):
    robot = make(ball({"joints.hinge.kp": 0.1}), terrain={"kinds": ["slope"], "slope": 0.2})
    heading = robot.drawn["terrain.heading"]
    state = hold(robot, 0.3)
    normal = robot.data.contact[0].frame[:3]
    uphill = np.array([math.cos(heading), math.sin(heading), 0.0])
    assert normal @ uphill == pytest.approx(-math.sin(0.2))
    assert normal[2] == pytest.approx(math.cos(0.2))
    assert robot.data.qvel[:3] @ uphill < -0.3  # it rolls down
    # The height that is read is above the ground below, whatever the ground's own height.
    assert state.base_position[2] == pytest.approx(BALL_RADIUS / math.cos(0.2), abs=2e-3)
    assert robot.data.qpos[2] < BALL_RADIUS - 0.01


def test_a_ball_that_rolls_down_a_slope_takes_five_sevenths_of_its_pull(ball):
    robot = make(ball({"joints.hinge.kp": 0.1}), terrain={"kinds": ["slope"], "slope": 0.2}, friction={"value": 1.0})
    before = hold(robot, 0.1)
    speed = np.linalg.norm(hold(robot, 0.5).base_linear_velocity) - np.linalg.norm(before.base_linear_velocity)
    # 2/5 m r^2 = .008 kg m^2
    assert speed == pytest.approx(0.5 * 5 / 7 * G * math.sin(0.2), rel=0.03)


@pytest.mark.parametrize("place", [(3.0, 0.0), (-3.0, 1.0), (0.0, 4.0), (2.0, -5.0)])
@pytest.mark.parametrize("kind", ["slope", "steps", "rough"])
def test_far_from_the_start_the_ground_still_carries(kind, place, ball):
    spec = ball({"joints.hinge.kp": 0.1})
    robot = make(spec, terrain={"kinds": [kind], kind: 0.2})
    ground = robot._varied.ground
    # Dropped from a little above, everything in the model's memory as at the reset.
    highest = max(ground.height(place[0] + dx, place[1] + dy) for dx in (-0.1, 0.0, 0.1) for dy in (-0.1, 0.0, 0.1))
    robot.data.qpos[:3] = *place, highest + BALL_RADIUS + 0.02
    lowest = np.inf
    for _ in range(40):
        robot.step(JointCommand(spec.home))
        x, y, z = robot.data.qpos[:3]
        lowest = min(lowest, z - ground.height(x, y) - BALL_RADIUS)
    slope = 0.2 if kind == "slope" else 0.0
    floor = BALL_RADIUS * (1.0 / math.cos(slope) - 1.0)
    assert floor - 0.01 < lowest < (floor + 0.002 if kind == "slope" else 0.2)


def test_a_walking_robot_has_its_feet_on_the_slope():
    spec = load_robot("go2")
    robot = make(spec, terrain={"kinds": ["slope"], "slope": 0.1}, push={"velocity": 1.0, "interval": 0.1})
    ground = robot._varied.ground
    for _ in range(100):  # shoved around, so it slides and stumbles far
        robot.step(JointCommand(spec.home))
        for foot in robot._terms.parts.feet:
            x, y, z = robot.data.geom_xpos[foot]
            assert z - ground.height(x, y) > 0.022 / math.cos(0.1) - 0.012
    assert np.linalg.norm(robot.data.qpos[:2]) > 0.3


def test_on_steps_the_ball_lies_on_its_tile(ball):
    robot = make(ball(), terrain={"kinds": ["steps"], "steps": 0.3}, damping={"add": 0.1})
    hold(robot, 0.5)
    height = robot._varied.ground.height(*robot.data.qpos[:2])
    assert 0.0 < height < 0.3
    assert robot.data.qpos[2] == pytest.approx(height + BALL_RADIUS, abs=3e-3)


def test_no_foot_begins_inside_rough_ground():
    robot = make(load_robot("go2"), terrain={"kinds": ["rough"], "rough": 0.08})
    for seed in range(5):
        robot.reset(Start(robot.spec.home), np.random.default_rng(seed))
        deepest = min((contact.dist for contact in robot.data.contact), default=0.0)
        assert deepest > -0.005


# -- as a whole -------------------------------------------------------------------------------------------------------


def arrays_of(model):
    names = [name for name in dir(model) if isinstance(getattr(model, name, None), np.ndarray)]
    return {name: getattr(model, name).copy() for name in names} | {"gravity": model.opt.gravity.copy()}


@pytest.mark.parametrize("name", builtin_robots())
def test_a_reset_depends_on_its_seed_alone_and_nothing_is_compiled(name):
    spec = load_robot(name)
    robot = MujocoRobot(spec, randomization=load_randomization("strong", spec))
    place, start = robot.model.body_mass.ctypes.data, Start(spec.home)

    def drawn(seed):
        robot.reset(start, np.random.default_rng(seed))
        found = dict(robot.drawn), arrays_of(robot.model)
        for _ in range(3):
            robot.step(JointCommand(spec.home))
        return found

    values, arrays = drawn(1)
    others = [drawn(seed)[0] for seed in range(2, 6)]
    again, arrays_again = drawn(1)
    assert values == again
    assert all(other[key] != values[key] for other in others for key in values if key.startswith("mass."))
    hidden = {"hfield_data"} if values.get("terrain.kind", 0) < 2 else set()  # below the floor while it is not used
    for key in set(arrays) - hidden:
        assert np.array_equal(arrays[key], arrays_again[key], equal_nan=True), key
    assert robot.model.body_mass.ctypes.data == place


@pytest.mark.parametrize("name", builtin_robots())
def test_without_terms_the_model_is_the_compiled_one_bit_for_bit(name):
    spec = load_robot(name)
    robot = MujocoRobot(spec, randomization=load_randomization("mild", spec))
    for seed in range(3):
        robot.reset(Start(spec.home), np.random.default_rng(seed))
    robot._varied._nominal_state()
    mujoco.mj_setConst(robot.model, robot.data)
    found = arrays_of(robot.model)
    for key, array in arrays_of(MujocoRobot(spec).model).items():
        assert np.array_equal(found[key], array, equal_nan=True), key


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize("name", builtin_robots())
def test_presets_suit_every_robot(name, preset):
    spec = load_robot(name)
    randomization = load_randomization(preset, spec)
    assert set(randomization.settings) | set(randomization.left_out) <= set(TERMS)
    # What a run keeps is enough to have it again.
    assert load_randomization(randomization.settings, spec).settings == randomization.settings
    robot = MujocoRobot(spec, randomization=randomization)
    assert isinstance(robot, Randomized)
    robot.reset(Start(spec.home), np.random.default_rng(0))
    state = hold(robot, 5 * spec.control_dt)
    assert np.isfinite(state.joint_position).all()
    assert {key.split(".")[0] for key in robot.drawn} == {
        *(set(randomization.settings) - {"push", "period_jitter"}),
        "seed",
    }


CONSTANT = {
    "mass": 1.1,
    "friction": 0.7,
    "encoder_offset": 0.02,
    "sensor_bias": {"joint_velocity": 0.1},
    "actuation_delay": 0.013,
    "observation_delay": 0.007,
    "torque_speed": {"stall": 2.0, "no_load": 1.0},
    "terrain": {"kinds": ["steps"], "steps": 0.0},
}


def test_a_copy_of_a_batch_is_the_single_robot_with_the_same_values():
    spec = load_robot("go2")
    randomization = Randomization(CONSTANT, spec)
    batch = MujocoBatch(spec, 3, threads=2, noise=False, randomization=randomization)
    single = MujocoRobot(spec, noise=False, randomization=randomization)
    start, rng = Start(spec.home), np.random.default_rng(0)
    states = [batch.reset(np.arange(3), [start] * 3, rng)]
    one = [single.reset(start, rng)]
    for _ in range(15):
        command = spec.home + rng.uniform(-0.2, 0.2, 12)
        states.append(batch.step(JointCommand(np.tile(command, (3, 1)))))
        one.append(single.step(JointCommand(command)))
    batch.close()
    for many, state in zip(states, one, strict=True):
        for field in ("stamp", "joint_position", "joint_velocity", "joint_effort", "orientation_xyzw", "base_position"):
            assert np.array_equal(getattr(many, field)[1], getattr(state, field)), field


def test_the_copies_of_a_batch_differ_and_say_how():
    spec = load_robot("minitaur")
    batch = MujocoBatch(spec, 3, threads=1, randomization=load_randomization("strong", spec))
    rng = np.random.default_rng(0)
    batch.reset(np.arange(3), [Start(spec.home)] * 3, rng)
    masses = batch.drawn["mass.base"]
    assert len(set(masses)) == 3
    loads = batch.drawn["payload.kg"]
    for model, ratio, load in zip(batch.models, masses, loads, strict=True):
        assert model.body("base").mass[0] == pytest.approx(3.0 * ratio + load)
    before = batch.drawn
    batch.reset(np.array([1]), [Start(spec.home)], rng)
    assert list(batch.drawn["mass.base"] == before["mass.base"]) == [True, False, True]
    batch.close()


def test_a_payload_counts_in_the_mass_of_a_ball(ball):
    robot = make(ball(), payload=0.5)
    assert robot.drawn["payload.kg"] == pytest.approx(0.5 * BALL_MASS)


def test_numbers_by_name_are_of_those_parts_and_leave_the_others_alone():
    spec = load_robot("go2")
    terms = {
        "damping": {"value": {"FL_hip_joint": 0.7, "RR_calf_joint": [0.3, 0.4]}},
        "friction_loss": {"add": {"FR_thigh_joint": 0.05}},
        "gains": {"kp": {"FL_hip_joint": 1.2}, "kd": 1.0},
        "mass": {"ratio": {"base": 1.1}},
        "center_of_mass": {"meters": {"base.x": 0.02}},
    }
    robot, plain = MujocoRobot(spec, randomization=Randomization(terms, spec)), MujocoRobot(spec).model
    robot.reset(Start(spec.home), np.random.default_rng(0))
    model, joint = robot.model, [plain.joint(name).dofadr[0] for name in spec.joint_names]
    damping, before = model.dof_damping[joint], plain.dof_damping[joint]
    assert damping[0] == 0.7
    assert 0.3 <= damping[11] <= 0.4
    np.testing.assert_array_equal(damping[1:11], before[1:11])
    added = model.dof_frictionloss[joint] - plain.dof_frictionloss[joint]
    np.testing.assert_allclose(added, 0.05 * (np.arange(12) == 4), atol=1e-12)
    np.testing.assert_allclose(model.actuator_gainprm[:, 0] / plain.actuator_gainprm[:, 0], [1.2, *[1.0] * 11])
    np.testing.assert_allclose(model.body_mass / plain.body_mass.clip(1e-9), [0.0, 1.1, *[1.0] * 12], atol=1e-9)
    np.testing.assert_allclose(model.body("base").ipos - plain.body("base").ipos, [0.02, 0.0, 0.0], atol=1e-12)


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"mas": [0.9, 1.1]}, ["unknown term 'mas'", "mass", "friction"]),
        ({"mass": [1.1, 0.9]}, ["randomize.mass.ratio", "[1.1, 0.9]", "upside down"]),
        ({"mass": [0.0, 1.0]}, ["randomize.mass.ratio", "above 0"]),
        ({"mass": "heavy"}, ["randomize.mass.ratio", "'heavy'"]),
        ({"mass": {"ratio": 1.0, "bodies": ["trunk"]}}, ["unknown body 'trunk'", "FL_hip"]),
        ({"damping": {"ratio": 1.0, "joints": ["knee"]}}, ["unknown joint 'knee'", "FL_calf_joint"]),
        ({"mass": {"ratios": 1.0}}, ["missing key 'ratio'"]),
        ({"mass": {"ratio": {"trunk": 1.1}}}, ["unknown part 'trunk'", "base", "randomize.mass.ratio"]),
        ({"damping": {"value": {"FL_hip_joint": -1.0}}}, ["damping.value.FL_hip_joint", "at least 0"]),
        ({"damping": {"value": {"FL_hip_joint": 1.0}, "each": False}}, ["damping.each", "cannot be false"]),
        ({"damping": {"value": 0.1, "add": 0.1}}, ["exactly one of ratio, add, value"]),
        ({"mass": {"ratio": 1.0, "own": True}}, ["unknown key 'own'", "ratio"]),
        ({"payload": {"ratio": 0.1, "kg": 1.0}}, ["exactly one of ratio, kg"]),
        ({"sensor_bias": {"compass": 0.1}}, ["unknown sensor 'compass'", "joint_position"]),
        ({"sensor_bias": {}}, ["randomize.sensor_bias", "ratio", "joint_position"]),
        ({"sensor_noise": {}}, ["randomize.sensor_noise", "ratio", "joint_position"]),
        ({"actuation_delay": -0.01}, ["actuation_delay.delay", "at least 0"]),
        ({"observation_delay": {"drop": 1.5}}, ["observation_delay.drop", "at most 1"]),
        ({"battery": 0.9}, ["battery", "torque_speed", "simulation.motor"]),
        ({"terrain": {"kinds": ["stairs"]}}, ["unknown terrain 'stairs'", "steps"]),
        ({"terrain": {"kinds": []}}, ["randomize.terrain.kinds", "at least one", "flat, slope, steps, rough"]),
        ({"timing": {"log": "/nowhere.csv"}}, ["/nowhere.csv"]),
        ({"friction": {"normal": [1.0, -0.1]}}, ["friction.value", "normal"]),
    ],
)
def test_a_mistake_is_named_in_one_line(terms, words):
    with pytest.raises(ConfigurationError) as caught:
        Randomization(terms, load_robot("go2"))
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        if word != "friction.value":
            assert word in text


@pytest.mark.parametrize("term", ["payload", "push", "terrain", "friction_loss"])
def test_a_term_the_robot_has_no_part_for_is_refused_by_name(term):
    settings = {term: {"kinds": ["slope"]} if term == "terrain" else 0.1}
    with pytest.raises(ConfigurationError, match=rf"randomize\.{term}: .*'dclaw'"):
        Randomization(settings, load_robot("dclaw"))


def test_an_unknown_preset_names_those_there_are(tmp_path):
    with pytest.raises(UnknownName, match=r"'wild'.*mild, outdoors, strong"):
        load_randomization("wild", load_robot("go2"))
    with pytest.raises(ConfigurationError, match=r"cannot read randomisation .*none\.yaml"):
        load_randomization(tmp_path / "none.yaml", load_robot("go2"))
