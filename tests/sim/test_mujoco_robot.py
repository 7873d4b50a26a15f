"""One robot in MuJoCo against physics done by hand: PD loop, gravity, contact, delay, noise."""

import dataclasses

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from robot_rl.errors import ConfigurationError, RobotFault
from robot_rl.robot import JointCommand, Start
from robot_rl.spec_file import builtin_robots
from sim.mujoco_robot import MujocoRobot
from tests.sim.conftest import WHEEL

ROBOTS = builtin_robots()
QUADRUPEDS = ("go2", "minitaur")
GRAVITY = 9.81
IN_THE_AIR = {"simulation.base_height": 5.0}


def start_at(robot, start=None, seed=0):
    return robot.reset(start or Start(robot.spec.home), np.random.default_rng(seed))


def hold(robot, ticks, command=None):
    """The last state of some ticks with one command."""
    for _ in range(ticks):
        state = robot.step(JointCommand(robot.spec.home if command is None else command))
    return state


def every_physics_step(robot_spec, name, changes=None):
    """The robot's spec with a control tick of one physics step."""
    spec = robot_spec(name)
    return robot_spec(name, {"control_rate": round(1 / spec.simulation.physics_dt), **(changes or {})})


# -- actuators ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROBOTS)
def test_the_pd_loop_in_the_model_is_the_one_written_by_hand(name, robot_spec):
    spec = robot_spec(name, IN_THE_AIR if name in QUADRUPEDS else {})
    robot, by_hand = MujocoRobot(spec, noise=False), MujocoRobot(spec, noise=False)
    # The second robot's actuators are plain motors: control is torque.
    by_hand.model.actuator_gainprm[:] = 0.0
    by_hand.model.actuator_gainprm[:, 0] = 1.0
    by_hand.model.actuator_biastype[:] = int(mujoco.mjtBias.mjBIAS_NONE)
    by_hand.model.actuator_forcelimited[:] = 0
    start = Start(spec.home)
    state = start_at(robot, start)
    start_at(by_hand, start)
    qpos = [by_hand.model.joint(joint).qposadr[0] for joint in spec.joint_names]
    qvel = [by_hand.model.joint(joint).dofadr[0] for joint in spec.joint_names]
    rng = np.random.default_rng(1)
    limited = False
    for _ in range(round(0.4 * spec.control_rate)):
        target = np.clip(spec.home + rng.uniform(-0.4, 0.4, spec.joints), spec.lower, spec.upper)
        state = robot.step(JointCommand(target))
        for _ in range(spec.substeps):
            data = by_hand.data
            torque = spec.kp * (target - data.qpos[qpos]) - spec.kd * data.qvel[qvel]
            limited |= bool(np.any(np.abs(torque) > spec.effort_limit))
            data.ctrl[:] = np.clip(torque, -spec.effort_limit, spec.effort_limit)
            mujoco.mj_step(by_hand.model, data)
        assert state.joint_position == pytest.approx(data.qpos[qpos], abs=1e-12)
        assert state.joint_velocity == pytest.approx(data.qvel[qvel], abs=1e-10)
    assert robot.data.actuator_force == pytest.approx(data.ctrl, abs=1e-10)
    if name in ("go2", "leap_hand"):
        assert limited


@pytest.mark.parametrize("name", ROBOTS)
def test_actuator_i_drives_joint_i(name, robot_spec):
    robot = MujocoRobot(robot_spec(name))
    names = [robot.model.joint(robot.model.actuator_trnid[i, 0]).name for i in range(robot.model.nu)]
    assert tuple(names) == robot.spec.joint_names
    assert np.array_equal(robot.model.actuator_gainprm[:, 0], robot.spec.kp)
    assert np.array_equal(robot.model.actuator_biasprm[:, 2], -robot.spec.kd)
    assert np.array_equal(robot.model.actuator_forcerange[:, 1], robot.spec.effort_limit)


def first_effort(robot, ticks, move=0.1):
    """After which step the actuators first answer a command given at time zero, and all efforts until then."""
    start = Start(robot.spec.home + 0.05)
    robot.model.opt.gravity[:] = 0.0
    start_at(robot, start)
    efforts = [robot.step(JointCommand(start.joint_position + move)).joint_effort for _ in range(ticks)]
    return next(i for i, effort in enumerate(efforts) if np.abs(effort).max() > 1e-9), efforts


@pytest.mark.parametrize(
    ("delay", "late"), [(0.0, 0), (0.005, 1), (0.02, 4), (0.1, 20), (0.012, 3)], ids=lambda value: f"{value}"
)
def test_a_command_acts_after_exactly_the_delay(delay, late, robot_spec):
    spec = every_physics_step(robot_spec, "go2", {"simulation.actuator_delay": delay, **IN_THE_AIR})
    assert spec.control_dt == pytest.approx(0.005)
    index, efforts = first_effort(MujocoRobot(spec, noise=False), 30)
    assert index == late
    # In full at once: the command is not smeared over the steps between.
    assert efforts[late] == pytest.approx(np.full(12, 40.0 * 0.1), rel=1e-6)


def test_a_delayed_robot_moves_as_an_undelayed_one_that_many_steps_later(robot_spec):
    changes = {"simulation.actuator_delay": 0.02, **IN_THE_AIR}
    late = MujocoRobot(every_physics_step(robot_spec, "go2", changes), noise=False)
    prompt = MujocoRobot(every_physics_step(robot_spec, "go2", IN_THE_AIR), noise=False)
    rng = np.random.default_rng(0)
    commands = [late.spec.home + rng.uniform(-0.2, 0.2, 12) for _ in range(40)]
    for robot in (late, prompt):
        robot.model.opt.gravity[:] = 0.0
        start_at(robot)
    positions = [late.step(JointCommand(c)).joint_position for c in commands]
    expected = [prompt.step(JointCommand(c)).joint_position for c in commands]
    assert np.array(positions[:4]) == pytest.approx(np.tile(late.spec.home, (4, 1)), abs=1e-12)
    assert np.array(positions[4:]) == pytest.approx(np.array(expected[:-4]), abs=1e-12)


@pytest.mark.parametrize("name", ["go2", "minitaur", "dclaw"])
def test_at_reset_the_delay_line_holds_the_start(name, robot_spec):
    changes = {"simulation.actuator_delay": 0.2, **(IN_THE_AIR if name in QUADRUPEDS else {})}
    spec = robot_spec(name, changes)
    robot = MujocoRobot(spec, noise=False)
    robot.model.opt.gravity[:] = 0.0
    start = Start(np.clip(spec.home + 0.1, spec.lower, spec.upper))
    start_at(robot, start)
    hold(robot, 5, spec.lower)  # fills the line with something else
    state = start_at(robot, start)
    assert state.applied == pytest.approx(start.joint_position)
    # Until the delay is over nothing pulls anywhere, neither towards zero nor towards what was sent before the reset.
    for _ in range(round(0.2 / spec.control_dt)):
        robot.step(JointCommand(spec.lower))
        assert np.abs(robot.data.actuator_force / spec.kp).max() < 1e-3
    assert np.abs(hold(robot, 1, spec.lower).joint_velocity).max() > 0.1


def test_an_actuator_gives_no_more_than_its_effort_limit(robot_spec):
    spec = robot_spec("go2", {"joints.FL_hip_joint.effort": 2.0, **IN_THE_AIR})
    robot = MujocoRobot(spec, noise=False)
    start_at(robot)
    effort = robot.step(JointCommand(spec.upper)).joint_effort
    assert effort[0] == pytest.approx(2.0)


# -- gravity, inertia, contact -----------------------------------------------------------------------------------------


def test_an_accelerometer_at_rest_shows_gravity_upwards(robot_spec):
    for name in QUADRUPEDS:
        spec = robot_spec(name, {"sensors.linear_acceleration": {}})
        robot = MujocoRobot(spec, noise=False)
        start_at(robot)
        state = hold(robot, 3 * round(spec.control_rate))
        assert np.linalg.norm(state.linear_acceleration) == pytest.approx(GRAVITY, rel=2e-3)
        assert state.linear_acceleration == pytest.approx(-GRAVITY * state.gravity, abs=0.05)


@pytest.mark.parametrize("name", QUADRUPEDS)
def test_the_feet_carry_the_weight(name, robot_spec):
    robot = MujocoRobot(robot_spec(name), noise=False)
    start_at(robot)
    state = hold(robot, 3 * round(robot.spec.control_rate))
    weight = robot.model.body_subtreemass[1] * GRAVITY
    assert state.contacts.sum() == pytest.approx(weight, rel=1e-3)
    assert np.all(state.contacts > 0)


@pytest.mark.parametrize("name", QUADRUPEDS)
def test_contacts_are_the_normal_forces_of_the_feet_in_their_order(name, robot_spec):
    robot = MujocoRobot(robot_spec(name), noise=False)
    spec, model, data = robot.spec, robot.model, robot.data
    # Crooked, so that every foot carries another share.
    state = start_at(robot, Start(spec.home + np.linspace(-0.05, 0.05, spec.joints)))
    expected = dict.fromkeys(spec.simulation.foot_geoms, 0.0)
    for i in range(data.ncon):
        force = np.zeros(6)
        mujoco.mj_contactForce(model, data, i, force)
        for geom in data.contact[i].geom:
            if model.geom(geom).name in expected:
                expected[model.geom(geom).name] += force[0]
    assert state.contacts == pytest.approx(list(expected.values()), abs=1e-9)
    assert len(np.unique(state.contacts)) > 1


def test_a_robot_on_two_legs_feels_these_two(robot_spec):
    robot = MujocoRobot(robot_spec("go2"), noise=False)
    spec = robot.spec
    start_at(robot)
    raised = {"FL_foot": "FL", "RR_foot": "RR"}
    command = np.array(spec.home)
    for i, joint in enumerate(spec.joint_names):
        if joint.startswith(tuple(raised.values())):
            command[i] += {"hip": 0.0, "thigh": 0.6, "calf": -0.7}[joint.split("_")[1]]
    state = hold(robot, 4, command)
    for foot, force in zip(spec.feet, state.contacts, strict=True):
        assert (force == 0.0) == (foot in raised), foot


def test_a_falling_robot_is_weightless_and_falls_as_galileo_says(robot_spec):
    spec = robot_spec("go2", IN_THE_AIR)
    robot = MujocoRobot(spec, noise=False)
    start_at(robot)
    dt = spec.simulation.physics_dt
    for tick in range(1, 21):
        state = robot.step(JointCommand(spec.home))
        steps = tick * spec.substeps
        # Semi-implicit Euler: position gains dt times the new velocity.
        assert state.base_position == pytest.approx([0, 0, 5.0 - GRAVITY * dt**2 * steps * (steps + 1) / 2], abs=1e-6)
        assert state.base_linear_velocity == pytest.approx([0, 0, -GRAVITY * dt * steps], abs=1e-6)
        assert np.abs(state.linear_acceleration).max() < 1e-6
        assert np.all(state.contacts == 0)


@pytest.mark.parametrize("name", QUADRUPEDS)
def test_velocities_are_the_differences_of_positions_in_their_documented_frames(name, robot_spec):
    spec = every_physics_step(robot_spec, name)
    robot = MujocoRobot(spec, noise=False)
    state = start_at(robot, Start(spec.home, base_yaw=1.0))
    rng = np.random.default_rng(0)
    dt = spec.control_dt
    target = np.array(spec.home)
    for tick in range(200):
        if tick % 10 == 0:
            target = np.clip(spec.home + rng.uniform(-0.5, 0.5, spec.joints), spec.lower, spec.upper)
        before, state = state, robot.step(JointCommand(target))
        assert (state.joint_position - before.joint_position) / dt == pytest.approx(state.joint_velocity, abs=1e-9)
        attitude, previous = Rotation.from_quat(state.orientation_xyzw), Rotation.from_quat(before.orientation_xyzw)
        assert (previous.inv() * attitude).as_rotvec() / dt == pytest.approx(state.angular_velocity, abs=1e-7)
        world_velocity = (state.base_position - before.base_position) / dt
        assert attitude.inv().apply(world_velocity) == pytest.approx(state.base_linear_velocity, abs=1e-9)
    assert np.linalg.norm(state.angular_velocity) > 1e-3  # it did move


def test_resets_turn_the_base_and_the_objects_about_the_vertical(robot_spec):
    robot = MujocoRobot(robot_spec("go2"), noise=False)
    state = start_at(robot, Start(robot.spec.home, base_yaw=-2.0))
    assert Rotation.from_quat(state.orientation_xyzw).as_rotvec() == pytest.approx([0, 0, -2.0])
    for name, thing in (("dclaw", "valve"), ("leap_hand", "cube")):
        hand = MujocoRobot(robot_spec(name), noise=False)
        still, turned = (start_at(hand, Start(hand.spec.home, object_yaw={thing: angle})) for angle in (0.0, 0.7))
        before, after = (Rotation.from_quat(state.objects[thing].orientation_xyzw) for state in (still, turned))
        assert (after * before.inv()).as_rotvec() == pytest.approx([0, 0, 0.7], abs=1e-9)
        assert turned.objects[thing].position == pytest.approx(still.objects[thing].position, abs=1e-9)


def test_resets_put_objects_where_the_start_says_and_turn_them_there(robot_spec):
    for name, thing in (("planar_arm", "cylinder"), ("leap_hand", "cube")):
        robot = MujocoRobot(robot_spec(name), noise=False)
        usual = start_at(robot).objects[thing]
        start = Start(robot.spec.home, object_yaw={thing: 0.7}, object_position={thing: (0.31, -0.12)})
        state = start_at(robot, start).objects[thing]
        assert state.position == pytest.approx([0.31, -0.12, usual.position[2]], abs=1e-12)
        turn = Rotation.from_quat(state.orientation_xyzw) * Rotation.from_quat(usual.orientation_xyzw).inv()
        assert turn.as_rotvec() == pytest.approx([0, 0, 0.7], abs=1e-9)


def test_an_object_that_only_turns_is_not_put_elsewhere(robot_spec):
    hand = MujocoRobot(robot_spec("dclaw"))
    with pytest.raises(ConfigurationError, match=r"'dclaw'.*'valve' cannot be moved"):
        start_at(hand, Start(hand.spec.home, object_position={"valve": (0.0, 0.1)}))


@pytest.mark.parametrize("joint", ["", '<joint type="slide" axis="1 0 0"/>', '<joint type="ball"/>'])
def test_an_object_that_cannot_turn_is_not_turned(joint, wheel, tmp_path):
    spec = wheel({"objects": ["rock"], "sensors.objects": {}})
    rock = f'<body name="rock" pos="1 0 0">{joint}<geom size="0.1"/></body>'
    (tmp_path / "model.xml").write_text(WHEEL.replace("</worldbody>", f"{rock}</worldbody>"))
    robot = MujocoRobot(spec)
    assert start_at(robot).objects["rock"].position == pytest.approx([1, 0, 0])
    with pytest.raises(ConfigurationError, match=r"'simple'.*'rock' cannot be turned.*hinge"):
        start_at(robot, Start(spec.home, object_yaw={"rock": 0.1}))


def test_objects_are_read_as_mujoco_has_them(robot_spec):
    spec = every_physics_step(robot_spec, "leap_hand")
    hand = MujocoRobot(spec, noise=False)
    start_at(hand)
    before = hold(hand, 20, spec.home + 0.1).objects["cube"]
    cube = hand.data.body("cube")
    # Objects are as of the start of the last physics step: one step back from the present.
    after = hold(hand, 1, spec.home + 0.1).objects["cube"]
    dt = spec.control_dt
    assert (after.position - before.position) / dt == pytest.approx(after.linear_velocity, abs=1e-6)
    turn = Rotation.from_quat(after.orientation_xyzw) * Rotation.from_quat(before.orientation_xyzw).inv()
    assert turn.as_rotvec() / dt == pytest.approx(after.angular_velocity, abs=1e-5)
    assert after.position == pytest.approx(cube.xpos, abs=1e-12)


def test_a_simulation_that_diverges_is_a_fault_and_not_a_silent_restart(robot_spec, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its own log where it runs
    robot = MujocoRobot(robot_spec("go2"), noise=False)
    start_at(robot)
    hold(robot, 2)
    robot.data.qvel[:] = 1e12
    with pytest.raises(RobotFault, match=r"robot 'go2' diverged 0\.040 s after its reset"):
        hold(robot, 1)
    assert np.all(np.isfinite(start_at(robot).joint_position))


# -- noise -------------------------------------------------------------------------------------------------------------

SENSORS = ("joint_position", "joint_velocity", "joint_effort", "angular_velocity", "linear_acceleration",
           "base_position", "base_linear_velocity", "contacts")  # fmt: skip


def readings_at_rest(spec, name, count=1500):
    """Many readings of the same instant, and the exact one."""
    start = Start(spec.home, base_yaw=0.7 if spec.base == "floating" else 0.0)
    exact = getattr(start_at(MujocoRobot(spec, noise=False), start), name)
    robot, rng = MujocoRobot(spec), np.random.default_rng(0)
    return np.stack([getattr(robot.reset(start, rng), name) for _ in range(count)]), exact


def assert_spread(samples, exact, deviation):
    """Mean and standard deviation of each component; five and a bit standard errors of slack."""
    count = len(samples)
    assert samples.mean(0) == pytest.approx(exact, abs=5.5 * deviation / np.sqrt(count))
    assert samples.std(0, ddof=1) == pytest.approx(np.full(exact.shape, deviation), rel=5.5 / np.sqrt(2 * count))


@pytest.mark.parametrize("sensor", SENSORS)
def test_each_noisy_sensor_spreads_as_its_file_says(sensor, robot_spec):
    spec = robot_spec("go2", {"sensors": {"joint_position": {}, "joint_velocity": {}, sensor: {"noise": 0.3}}})
    samples, exact = readings_at_rest(spec, sensor)
    assert_spread(samples, exact, 0.3)
    correlation = np.corrcoef(samples.T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 5.5 / np.sqrt(len(samples))


def test_all_sensors_of_a_robot_together_spread_as_its_file_says(robot_spec):
    spec = robot_spec("go2")
    for sensor, deviation in spec.sensors.items():
        if deviation and sensor != "orientation":
            assert_spread(*readings_at_rest(spec, sensor, 600), deviation)


@pytest.mark.parametrize("deviation", [0.01, 0.05])
def test_orientation_noise_is_a_rotation_by_that_angle_about_each_axis(deviation, robot_spec):
    spec = robot_spec("go2", {"sensors.orientation": {"noise": deviation}})
    samples, exact = readings_at_rest(spec, "orientation_xyzw")
    assert np.linalg.norm(samples, axis=1) == pytest.approx(np.ones(len(samples)), abs=1e-12)
    errors = (Rotation.from_quat(exact).inv() * Rotation.from_quat(samples)).as_rotvec()
    assert_spread(errors, np.zeros(3), deviation)


def test_truth_carries_no_noise(robot_spec):
    spec = robot_spec("go2")
    assert set(spec.simulation.truth) == {"base_position", "base_linear_velocity"}
    noisy, exact = MujocoRobot(spec), MujocoRobot(spec, noise=False)
    start_at(noisy)
    start_at(exact)
    for _ in range(10):
        state, truth = hold(noisy, 1), hold(exact, 1)
        assert np.array_equal(state.base_position, truth.base_position)
        assert np.array_equal(state.base_linear_velocity, truth.base_linear_velocity)
        assert not np.array_equal(state.orientation_xyzw, truth.orientation_xyzw)


def test_noise_never_reaches_the_physics(robot_spec):
    noisy, exact = MujocoRobot(robot_spec("go2")), MujocoRobot(robot_spec("go2"), noise=False)
    for robot in (noisy, exact):
        start_at(robot)
        hold(robot, 20, robot.spec.home + 0.1)
    assert np.array_equal(noisy.data.qpos, exact.data.qpos)


def test_every_reading_has_fresh_noise_from_the_generator_of_the_reset(robot_spec):
    robot = MujocoRobot(robot_spec("go2", IN_THE_AIR))
    rng = np.random.default_rng(3)
    runs = []
    for _ in range(2):
        rng = np.random.default_rng(3)
        runs.append([robot.reset(Start(robot.spec.home), rng), *(hold(robot, 1) for _ in range(3))])
    for state, again in zip(*runs, strict=True):
        assert np.array_equal(state.joint_position, again.joint_position)
    spread = {tuple(state.joint_position - robot.spec.home) for state in runs[0]}
    assert len(spread) == 4


def test_a_robot_without_noise_draws_nothing_from_the_generator(robot_spec):
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    robot = MujocoRobot(robot_spec("go2"), noise=False)
    robot.reset(Start(robot.spec.home), rng)
    hold(robot, 3)
    assert rng.bit_generator.state == before


def test_states_cannot_be_written(robot_spec):
    robot = MujocoRobot(robot_spec("leap_hand"))
    state = start_at(robot)
    arrays = [state.joint_position, state.applied, state.objects["cube"].position]
    arrays += [getattr(hold(robot, 1), field.name) for field in dataclasses.fields(state) if field.name == "applied"]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0.0
