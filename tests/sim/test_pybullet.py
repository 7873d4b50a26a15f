"""Robots in PyBullet, beside the same robots in MuJoCo and beside closed forms."""

import os
import subprocess
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest

from robot_rl.errors import ConfigurationError, RobotFault
from robot_rl.make import make_batch, make_camera, make_robot
from robot_rl.robot import JointCommand, Start
from robot_rl.spec_file import load_robot
from sim.mujoco_model import held_model
from sim.mujoco_robot import MujocoRobot
from tests.sim.conftest import BALL_MASS

pytest.importorskip("pybullet", reason="PyBullet is not installed (extra 'pybullet')")

from sim.pybullet_robot import PyBulletRobot
from sim.pybullet_world import PyBulletWorld

ROOT = Path(__file__).parents[2]


@pytest.fixture
def world():
    """Makes worlds of models and leaves them afterwards."""
    opened = []

    def make(model, *arguments):
        opened.append(PyBulletWorld(model, *arguments))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def both():
    """A robot in MuJoCo and in PyBullet, without noise."""
    opened = []

    def make(spec):
        opened.extend([MujocoRobot(spec, noise=False), PyBulletRobot(spec, noise=False)])
        return opened[-2:]

    yield make
    for robot in opened:
        robot.close()


@pytest.mark.parametrize(
    ("name", "timestep"), [("go2", 0.0005), ("minitaur", 0.0002), ("dclaw", 0.0005), ("leap_hand", 0.0005)]
)
def test_a_held_robot_swings_as_in_mujoco(name, timestep, world):
    model = held_model(load_robot(name), timestep)
    data, spec = mujoco.MjData(model), load_robot(name)
    if name != "minitaur":  # its loops are closed where the model has them
        for joint, position in zip(spec.joint_names, spec.home, strict=True):
            data.joint(joint).qpos[0] = position
    bullet = world(model)
    bullet.place(data.qpos)
    start, qpos, qvel = data.qpos.copy(), data.qpos.copy(), np.zeros(model.nv)
    error, moved = [], 0.0
    for _ in range(round(0.5 / timestep)):
        mujoco.mj_step(model, data)
        bullet.step(-model.dof_damping * qvel)
        bullet.read(qpos, qvel)
        error.append(qpos - data.qpos)
        moved = max(moved, np.abs(qpos - start).max())
    assert moved > 0.1
    assert np.sqrt(np.mean(np.square(error))) < 1e-3


def turntable(joint):
    """One hinge about the vertical that carries a cube of 3 kg and 0.2 m, without gravity."""
    cube = "<geom type='box' size='.1 .1 .1' mass='3' contype='0' conaffinity='0'/>"
    return mujoco.MjModel.from_xml_string(
        "<mujoco><option gravity='0 0 0' timestep='.001'/><worldbody><body>"
        f"<joint name='turn' axis='0 0 1' {joint}/>{cube}</body></worldbody></mujoco>"
    )


INERTIA = 3 * (0.2**2 + 0.2**2) / 12
"""Of the cube, kg m^2."""


def test_armature_slows_a_joint_exactly(world):
    # (I + a) q'' = tau
    bullet = world(turntable("armature='.03'"))
    qpos, qvel = np.zeros(1), np.zeros(1)
    bullet.place(qpos)
    for _ in range(100):
        bullet.step(np.array([0.5]))
    bullet.read(qpos, qvel)
    assert qvel[0] == pytest.approx(0.5 * 0.1 / (INERTIA + 0.03), rel=1e-6)


def test_friction_in_a_joint_holds_what_is_weaker_and_brakes_what_is_stronger(world):
    bullet = world(turntable("frictionloss='.2'"))
    for torque, speed in ((0.15, 0.0), (0.5, 0.3 * 0.1 / INERTIA)):
        qpos, qvel = np.zeros(1), np.zeros(1)
        bullet.place(qpos)
        for _ in range(100):
            bullet.step(np.array([torque]))
        bullet.read(qpos, qvel)
        assert qvel[0] == pytest.approx(speed, rel=1e-6, abs=1e-9)


def test_a_robot_in_the_air_tumbles_as_in_mujoco(both, robot_spec):
    spec = robot_spec("go2", {"simulation.base_height": 3.0, "simulation.physics_rate": 2000})
    theirs, ours = both(spec)
    rng = np.random.default_rng(0)
    commands = [JointCommand(spec.home + rng.uniform(-0.3, 0.3, spec.joints)) for _ in range(15)]
    for robot in (theirs, ours):
        robot.reset(Start(spec.home, base_yaw=0.7), np.random.default_rng(0))
    for command in commands:
        expected, found = theirs.step(command), ours.step(command)
    assert np.linalg.norm(expected.angular_velocity) > 0.1
    assert found.base_position == pytest.approx(expected.base_position, abs=2e-3)
    assert found.base_linear_velocity == pytest.approx(expected.base_linear_velocity, abs=1e-2)
    assert found.orientation_xyzw == pytest.approx(expected.orientation_xyzw, abs=5e-3)
    assert found.angular_velocity == pytest.approx(expected.angular_velocity, abs=0.05)
    assert found.joint_position == pytest.approx(expected.joint_position, abs=5e-3)
    assert np.linalg.norm(found.linear_acceleration) < 5.0  # free fall: no weight, but what the legs do to the base


def test_a_standing_robot_weighs_what_it_weighs_and_feels_gravity(both):
    _, robot = both(load_robot("go2"))
    robot.reset(Start(robot.spec.home), np.random.default_rng(0))
    for _ in range(100):
        state = robot.step(JointCommand(robot.spec.home))
    weight = robot.model.body_subtreemass[0] * 9.81
    assert state.contacts.sum() == pytest.approx(weight, rel=0.01)
    assert np.linalg.norm(state.linear_acceleration) == pytest.approx(9.81, abs=0.2)
    assert state.linear_acceleration[2] > 9.0


def test_a_flat_foot_feels_in_both_engines_all_that_rests_on_it(both, ball):
    # It begins 2 mm within the floor, in contact.
    spec = ball({"feet": ["hull"], "sensors.contacts": {}, "simulation.base_height": 0.098}, "box")
    for robot in both(spec):
        robot.reset(Start(spec.home), np.random.default_rng(0))
        for _ in range(50):
            state = robot.step(JointCommand(spec.home))
        assert state.contacts == pytest.approx([BALL_MASS * 9.81], rel=1e-3)


def test_five_bar_loops_stay_closed_while_the_robot_moves(both):
    _, robot = both(load_robot("minitaur"))
    spec = robot.spec
    robot.reset(Start(spec.home), np.random.default_rng(0))
    model, data, worst = robot.model, robot.data, 0.0
    for tick in range(50):
        robot.step(JointCommand(spec.home + 0.3 * np.sin(0.5 * tick)))
        for loop in range(model.neq):
            ends = [data.site_xpos[site] for site in (model.eq_obj1id[loop], model.eq_obj2id[loop])]
            worst = max(worst, np.linalg.norm(ends[0] - ends[1]))
    assert worst < 1e-3


def test_commands_arrive_after_the_delay(both, robot_spec):
    spec = robot_spec("dclaw", {"simulation.actuator_delay": 0.02})
    theirs, ours = both(spec)
    command = JointCommand(spec.home + 0.2)
    for robot in (theirs, ours):
        robot.reset(Start(spec.home), np.random.default_rng(0))
    for _ in range(3):
        expected, found = theirs.step(command), ours.step(command)
        assert found.joint_position == pytest.approx(expected.joint_position, abs=2e-3)


@pytest.mark.parametrize(
    ("delay", "steps"), [(0.0, 0), (0.0005, 1), (0.0025, 1), (0.005, 1), (0.0071, 2), (0.02, 4)]
)
def test_a_delay_is_in_both_engines_the_next_whole_step_of_the_physics(delay, steps, both, wheel):
    rates = {"control_rate": 200, "simulation.physics_rate": 200, "joints.hinge.lower": -1e3, "joints.hinge.upper": 1e3}
    spec = wheel({**rates, "simulation.actuator_delay": delay})
    for robot, before in zip(both(spec), (5000, 50), strict=True):  # the clock of a long episode is no round number
        robot.reset(Start(spec.home), np.random.default_rng(0))
        for _ in range(before):
            assert robot.step(JointCommand(np.zeros(1))).joint_effort == 0.0
        efforts = [robot.step(JointCommand(np.full(1, 0.1))).joint_effort[0] for _ in range(steps + 1)]
        assert np.flatnonzero(efforts).tolist() == [steps]


def test_dc_motors_give_in_both_engines_what_their_speed_and_current_leave(both, wheel):
    # At rest kV/R = 4 N m, by the current limit 3 N m; without load V/k = 32 rad/s.
    motor = {"voltage": 16.0, "resistance": 2.0, "torque_constant": 0.5, "current_limit": 6.0}
    spec = wheel({"simulation.motor": motor, "joints.hinge.kp": 1000.0, "joints.hinge.upper": 1e6})
    efforts = []
    for robot in both(spec):
        robot.reset(Start(spec.home), np.random.default_rng(0))
        efforts.append([robot.step(JointCommand(np.array([1e5]))).joint_effort[0] for _ in range(150)])
    assert efforts[1][0] == pytest.approx(3.0)
    assert efforts[1][-1] < 1.0
    assert efforts[1] == pytest.approx(efforts[0], abs=0.01)


def test_objects_can_be_turned_and_pushed(both):
    _, arm = both(load_robot("planar_arm"))
    start = Start(arm.spec.home, object_position={"cylinder": (0.2, 0.1)}, object_yaw={"cylinder": 0.5})
    state = arm.reset(start, np.random.default_rng(0))
    assert state.objects["cylinder"].position[:2] == pytest.approx([0.2, 0.1])
    assert state.objects["cylinder"].orientation_xyzw == pytest.approx([0, 0, np.sin(0.25), np.cos(0.25)])
    for joint in np.linspace(arm.spec.home[0], arm.spec.upper[0], 20):
        state = arm.step(JointCommand(np.array([joint, *arm.spec.home[1:]])))
    assert np.linalg.norm(state.objects["cylinder"].position[:2] - [0.2, 0.1]) > 0.02


def test_friction_that_no_product_gives_is_refused_by_name(world):
    def model_of(*frictions):
        balls = "".join(
            f"<body pos='{i} 0 1'><freejoint/><geom name='ball{i}' size='.1' friction='{mu}'/></body>"
            for i, mu in enumerate(frictions)
        )
        return mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{balls}</worldbody></mujoco>")

    world(model_of(0.2, 0.9))
    # MuJoCo: .9, .9, .9, .5, .5 and .4 for six pairs, which no four numbers have as products.
    with pytest.raises(ConfigurationError, match=r"ball\d.*PyBullet multiplies"):
        world(model_of(0.2, 0.9, 0.5, 0.4))


def test_a_simulation_that_blows_up_is_a_fault(both, robot_spec):
    _, robot = both(robot_spec("leap_hand", {"simulation.physics_rate": 20}))
    robot.reset(Start(robot.spec.home), np.random.default_rng(0))

    def shake():
        for tick in range(40):
            robot.step(JointCommand(robot.spec.upper if tick % 2 else robot.spec.lower))

    with pytest.raises(RobotFault, match="diverged"):
        shake()


def test_noise_is_that_of_the_spec_and_follows_the_generator():
    robots = [make_robot("go2", "pybullet"), make_robot("go2", "pybullet"), make_robot("go2", "pybullet", noise=False)]
    states = [robot.reset(Start(robot.spec.home), np.random.default_rng(5)) for robot in robots]
    assert np.array_equal(states[0].joint_position, states[1].joint_position)
    assert np.abs(states[0].joint_position - states[2].joint_position).max() > 1e-3
    for robot in robots:
        robot.close()


def test_a_batch_does_what_its_robots_do_one_by_one():
    spec = load_robot("planar_arm")
    batch = make_batch(spec, 2, "pybullet", noise=False)
    single = make_robot(spec, "pybullet", noise=False)
    starts = [Start(spec.home), Start(spec.home + 0.1)]
    batch.reset(np.arange(2), starts, np.random.default_rng(0))
    single.reset(starts[1], np.random.default_rng(0))
    command = np.stack([spec.home, spec.home - 0.2])
    together, alone = batch.step(JointCommand(command)), single.step(JointCommand(command[1]))
    assert np.array_equal(together.joint_position[1], alone.joint_position)
    with pytest.raises(ConfigurationError, match="at least 1"):
        make_batch(spec, 0, "pybullet")
    batch.close()
    single.close()


def test_it_is_filmed_where_it_is(both):
    _, robot = both(load_robot("dclaw"))
    robot.reset(Start(robot.spec.home), np.random.default_rng(0))
    camera = make_camera(robot)
    before = camera().copy()
    for _ in range(5):
        robot.step(JointCommand(robot.spec.upper))
    assert np.abs(camera().astype(int) - before).mean() > 1.0
    camera.close()


def run_python(script):
    command = [sys.executable, "-W", "error", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_the_engine_says_nothing_when_it_is_loaded():
    done = run_python("from robot_rl.make import make_robot; make_robot('minitaur', 'pybullet').close()")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_camera_that_nobody_closed_says_nothing_at_exit():
    done = run_python(
        "import numpy as np; from robot_rl.make import make_camera, make_robot; from robot_rl.robot import Start\n"
        "robot = make_robot('dclaw', 'pybullet'); robot.reset(Start(robot.spec.home), np.random.default_rng(0))\n"
        "camera = make_camera(robot); camera()"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_engine_that_is_not_installed_names_its_extra():
    done = run_python(
        "import sys; sys.modules['pybullet'] = None; from robot_rl.cli import main; "
        "raise SystemExit(main(['evaluate', 'go2-walk', '--sim', 'pybullet']))"
    )
    assert done.returncode == 2
    assert "'.[pybullet]'" in done.stderr
    assert "Traceback" not in done.stderr
