"""Pictures and videos of simulated robots."""

import imageio_ffmpeg
import numpy as np
import pytest

from robot_rl.errors import ConfigurationError
from robot_rl.filming import film
from robot_rl.make import make_camera, make_env, make_video
from robot_rl.spec_file import builtin_robots
from sim.render import Camera

TASK_OF = {"planar_arm": "push", "dclaw": "turn_valve", "leap_hand": "rotate_cube"}


@pytest.fixture
def env():
    env = make_env("go2", "stand", time_limit=0.4)
    env.reset(seed=0)
    yield env
    env.close()


@pytest.mark.parametrize("name", builtin_robots())
def test_every_robot_is_in_the_middle_of_its_picture(name):
    env = make_env(name, TASK_OF.get(name, "stand"))
    env.reset(seed=0)
    camera = make_camera(env.robot)
    frame = camera()
    camera.close()
    middle, corner = frame[160:320, 240:400], frame[:80, -80:]
    assert frame.shape == (480, 640, 3)
    assert middle.std() > 2 * corner.std()


def test_the_camera_follows_a_robot_that_walks_away(env):
    camera = Camera(env.robot, 160, 120)  # which takes a tenth of the time of pictures in full size
    before = camera().astype(int)
    env.robot.data.qpos[0] += 5.0
    env.robot.data.qpos[1] += 5.0
    import mujoco

    mujoco.mj_forward(env.robot.model, env.robot.data)
    for _ in range(40):
        after = camera().astype(int)
    camera.close()
    middle = np.s_[40:80, 60:100]
    assert np.abs(after[middle] - before[middle]).mean() < 20


def test_two_cameras_do_not_spoil_each_other(env):
    first, second = make_camera(env.robot), make_camera(env.robot)
    frame = first().astype(int)
    second.close()
    assert np.abs(first() - frame).max() < 8  # the renderer rounds; a spoilt picture differs by a hundred
    first.close()


def test_lines_are_written_into_the_corner(env):
    camera = make_camera(env.robot)
    plain = camera().astype(int)
    camera.lines = [("speed", "0.60 m/s")]
    written = camera().astype(int)
    camera.close()
    changed = np.argwhere(np.abs(written - plain).sum(-1) > 24)
    assert len(changed) > 100
    assert changed.max(axis=0)[0] < 100
    assert changed.max(axis=0)[1] < 320


def test_a_film_lasts_as_long_as_its_episode(env, tmp_path):
    path = tmp_path / "films" / "stand.mp4"
    film(env, lambda observation: np.zeros(12), path)
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    assert frames == 11  # 0.4 s at 25 Hz and the start
    assert seconds == pytest.approx(0.44, abs=0.02)
    assert [p.name for p in path.parent.iterdir()] == ["stand.mp4"]


def test_a_film_that_breaks_off_leaves_no_file(env, tmp_path):
    def act(observation):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        film(env, act, tmp_path / "stand.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_video_has_to_be_an_mp4(tmp_path):
    with pytest.raises(ConfigurationError, match=r"\.mp4"):
        make_video(tmp_path / "video.avi", 25)
