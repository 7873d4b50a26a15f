"""What a robot does that is told to stay at home, against what statics say of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.optimize import brentq

import robot_rl
from robot_rl.cli import main
from robot_rl.make import make_camera, make_robot
from robot_rl.robot import Start
from robot_rl.spec_file import builtin_robots, load_robot
from sim.home import hold_home
from sim.mujoco_model import compile_model

MASS, LENGTH, KP = 0.8, 0.5, 20.0

SHOULDER = {"lower": -1.5, "upper": 1.5, "velocity": 20, "effort": 10, "home": 0.0, "kp": KP, "kd": 2.0}
ARM = f"""
<mujoco>
  <worldbody>
    <body name="base">
      <body name="link">
        <joint name="shoulder" axis="0 1 0"/>
        <geom type="sphere" size="0.02" pos="{LENGTH} 0 0" mass="{MASS}" contype="0" conaffinity="0"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


def arm(folder: Path, **joint: float) -> str:
    """A weight at the end of a level arm."""
    (folder / "arm.xml").write_text(ARM)
    values = {
        "name": "arm",
        "description": "a weight on a spring",
        "base": "fixed",
        "control_rate": 50,
        "joints": {"shoulder": SHOULDER | joint},
        "sensors": {"joint_position": {}, "joint_velocity": {}},
        "action": {"kind": "position", "scale": 0.3},
        "simulation": {"model": "arm.xml", "physics_rate": 500, "base_body": "base"},
    }
    (folder / "arm.yaml").write_text(yaml.safe_dump(values))
    return str(folder / "arm.yaml")


def test_an_arm_sags_to_where_its_spring_carries_its_weight(tmp_path):
    found = hold_home(load_robot(arm(tmp_path)))
    torque = MASS * 9.81 * LENGTH
    sag = brentq(lambda angle: KP * angle - torque * np.cos(angle), 0.0, 1.5)
    assert found.mass == pytest.approx(MASS)
    assert found.sag == pytest.approx([sag], rel=1e-3)
    assert found.effort == pytest.approx([KP * sag / 10.0], rel=1e-3)
    assert (found.seconds, found.stopped, found.heights, found.tilt) == (5.0, "", None, None)


def test_effort_is_a_share_of_the_limit_and_no_more(tmp_path):
    found = hold_home(load_robot(arm(tmp_path, effort=1.0)))
    assert found.effort == pytest.approx([1.0])


@pytest.mark.parametrize("robot", builtin_robots())
def test_built_in_robots_hold_out_within_the_reach_of_an_action(robot, capsys):
    assert main(["info", robot]) == 0
    told = capsys.readouterr().out
    assert "holds out       yes" in told
    assert "Raise" not in told
    assert "effort limit" not in told


GO2 = Path(robot_rl.__file__).parent / "robots" / "go2.yaml"


def go2(folder: Path, **changes: float) -> str:
    values = yaml.safe_load(GO2.read_text())
    values["simulation"]["model"] = str(load_robot("go2").simulation.model)
    for joint in values["joints"].values():
        joint |= changes
    (folder / "soft.yaml").write_text(yaml.safe_dump(values))
    return str(folder / "soft.yaml")


def test_joints_that_weight_moves_further_than_an_action_are_named(tmp_path, capsys):
    assert main(["info", go2(tmp_path, kp=20)]) == 0
    advice = capsys.readouterr().out.splitlines()[-1]
    assert "RL_calf_joint" in advice
    assert "hip" not in advice
    assert "Raise their kp" in advice


def test_a_robot_that_falls_is_told_with_the_check_that_stopped_it(tmp_path, capsys):
    assert main(["info", go2(tmp_path, kp=5)]) == 0
    told = capsys.readouterr().out
    assert "no: stopped after" in told
    assert "allowed from 0.15" in told
    assert "would begin with a fall" in told


def test_a_robot_is_filmed_and_nothing_else_is(tmp_path, capsys):
    assert main(["info", "planar_arm", "--video", str(tmp_path / "home.mp4")]) == 0
    assert (tmp_path / "home.mp4").stat().st_size > 1000
    assert main(["info", "go2-walk", "--video", str(tmp_path / "walk.mp4")]) == 2
    assert "go2-walk is no robot" in capsys.readouterr().err


def test_a_model_without_a_light_is_filmed_by_daylight(tmp_path):
    robot = make_robot(arm(tmp_path), noise=False)
    robot.reset(Start(robot.spec.home), np.random.default_rng(0))
    camera = make_camera(robot)
    assert camera().mean() > 100  # of 255; without a light it was black
    camera.close()
    assert compile_model(load_robot("go2")).nlight == 1  # it brings one
