"""The camera of a robot: what its small pictures show, and what happens where nothing can render."""

import ctypes.util
import os
import subprocess
import sys

import numpy as np
import pytest

from robot_rl.errors import ConfigurationError
from robot_rl.make import load_randomization, make_batch, make_camera, make_env, make_robot, make_task, make_vector_env
from robot_rl.robot import Start
from sim.camera import Eye, seeing

pytest.importorskip("mujoco")


@pytest.fixture(scope="module")
def task():
    return make_task("turn_valve", "dclaw", observation={"camera": True})


def red_arm(picture):
    """Angle of the red arm in a picture where x points up and y to the left."""
    red, green, blue = (picture[..., i].astype(int) for i in range(3))
    rows, columns = np.nonzero((red > 100) & (red > 2 * green) & (red > 2 * blue))
    centre = (np.array(picture.shape[:2]) - 1) / 2
    return np.arctan2(centre[1] - columns.mean(), centre[0] - rows.mean())


def test_the_picture_shows_the_angle_of_the_valve(task):
    robot = seeing(make_robot("dclaw", noise=False), task.camera)
    for yaw in np.linspace(-3.0, 3.0, 13):
        state = robot.reset(Start(task.spec.home, object_yaw={"valve": float(yaw)}), np.random.default_rng(0))
        assert state.camera.shape == (32, 32, 3)
        assert abs(np.angle(np.exp(1j * (red_arm(state.camera) - yaw)))) < 0.1
    robot.close()


def test_every_copy_sees_what_a_single_robot_sees(task):
    varied = load_randomization("mild", "dclaw")
    one, many = make_env("dclaw", task), make_vector_env("dclaw", task, 2)
    alike, other = make_batch("dclaw", 2, noise=False), make_batch("dclaw", 2, randomization=varied)
    single = seeing(make_robot("dclaw", noise=False), task.camera)
    starts = [Start(task.spec.home, object_yaw={"valve": yaw}) for yaw in (0.4, -2.0)]
    for batch in (seeing(alike, task.camera), seeing(other, task.camera)):
        pictures = batch.reset(np.arange(2), starts, np.random.default_rng(0)).camera
        for start, picture in zip(starts, pictures, strict=True):
            wanted = single.reset(start, np.random.default_rng(0)).camera
            assert np.abs(picture.astype(int) - wanted).max() <= 1
        batch.close()
    for robot in (one, many, single):
        robot.close()


def test_the_same_state_gives_the_same_picture_bit_for_bit(task):
    first, second = make_env("dclaw", task), make_env("dclaw", task)
    for env in (first, second):
        env.reset(seed=5)
    for action in np.random.default_rng(0).uniform(-1, 1, (8, 9)):
        ours, theirs = first.step(action)[0], second.step(action)[0]
        assert np.array_equal(ours["camera"], theirs["camera"])
    first.close()
    second.close()


def test_the_camera_of_the_policy_and_that_of_a_film_do_not_spoil_each_other(task):
    env = make_env("dclaw", task)
    before = env.reset(seed=0)[0]["camera"]
    film = make_camera(env.robot)
    frame = film().astype(int)
    again = env.reset(seed=0)[0]["camera"]
    assert np.array_equal(before, again)
    assert frame.shape == (480, 640, 3)
    assert np.abs(film() - frame).mean() < 0.1  # the renderer rounds; a spoilt picture differs everywhere
    film.close()
    assert np.array_equal(env.reset(seed=0)[0]["camera"], before)
    env.close()


def test_the_model_is_as_it_was(task):
    robot = make_robot("dclaw")
    visual = robot.model.vis
    before = (visual.global_.fovy, visual.global_.offwidth, visual.quality.shadowsize, visual.quality.offsamples)
    eye = Eye(task.camera, robot.model)
    eye.see(robot.model, robot.data)
    eye.close()
    eye.close()
    now = (visual.global_.fovy, visual.global_.offwidth, visual.quality.shadowsize, visual.quality.offsamples)
    assert now == before


def test_pybullet_shows_the_same_valve(task):
    pytest.importorskip("pybullet", reason="PyBullet is not installed (extra 'pybullet')")
    env = make_env("dclaw", task, backend="pybullet")
    env.reset(seed=0)
    for _ in range(3):
        observation, *_ = env.step(np.zeros(9))
    yaw = env.robot.data.joint("valve").qpos[0]
    assert abs(np.angle(np.exp(1j * (red_arm(observation["camera"]) - yaw)))) < 0.1
    env.close()


TRY = """
from robot_rl.errors import ConfigurationError
from robot_rl.make import make_env, make_task
try:
    make_env("dclaw", make_task("turn_valve", "dclaw", observation={"camera": True}))
except ConfigurationError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("environment", "tried"),
    [
        ({"MUJOCO_EGL_DEVICE_ID": "99", "DISPLAY": ""}, ["egl:", "osmesa:", "glfw:"]),
        ({"MUJOCO_EGL_DEVICE_ID": "99", "DISPLAY": "", "MUJOCO_GL": "disabled"}, ["egl:", "osmesa:", "glfw:"]),
        ({"DISPLAY": "", "MUJOCO_GL": "glfw"}, ["(glfw: "]),
    ],
)
def test_where_nothing_can_render_the_error_says_what_was_tried(environment, tried):
    if ctypes.util.find_library("OSMesa"):
        pytest.skip("OSMesa is installed here, so something can render")
    inherited = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    run = subprocess.run([sys.executable, "-c", TRY], env=inherited | environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "the camera cannot render" in run.stdout
    for word in (*tried, "libegl1", "libosmesa6", "MUJOCO_GL"):
        assert word in run.stdout


def test_a_robot_that_is_not_simulated_gives_no_pictures(task):
    class Elsewhere:
        spec = task.spec

    with pytest.raises(ConfigurationError, match="robot 'dclaw' gives no pictures here"):
        seeing(Elsewhere(), task.camera)
