"""Legs as measured off a model, against where MuJoCo has the feet."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

import robot_rl
from robot_rl.cli import main
from robot_rl.errors import ConfigurationError
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import load_robot
from sim.legs import measured_legs
from sim.mujoco_model import compile_model

# Every body is turned, two hinges share one, and the foot hangs on a body that no joint moves.
TURNED = """
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <body name="trunk" pos="0 0 1" quat="0.6 0.48 -0.64 0">
      <inertial mass="3" pos="0 0 0" diaginertia="0.1 0.1 0.1"/>
      <body name="hip" pos="0.2 0.1 -0.05" quat="0.5 0.5 -0.5 0.5">
        <inertial mass="1" pos="0 0 0" diaginertia="0.1 0.1 0.1"/>
        <joint name="roll" axis="1 0 0" pos="0.01 0 0.02"/>
        <joint name="pitch" axis="0 0.6 0.8"/>
        <body name="shin" pos="0 0.03 -0.3" quat="0.8 0 0.6 0">
          <inertial mass="1" pos="0 0 0" diaginertia="0.1 0.1 0.1"/>
          <joint name="knee" axis="0 1 0" ref="0.3"/>
          <body name="sole" pos="0.02 0 -0.25" quat="0 1 0 0">
            <geom name="foot" type="sphere" size="0.025" pos="0 0.01 0" mass="0.1"/>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


def robot(folder: Path, **changes: object) -> Path:
    (folder / "turned.xml").write_text(TURNED)
    joint = {"lower": -1.5, "upper": 1.5, "velocity": 20, "effort": 10, "home": 0.1, "kp": 20, "kd": 1}
    values = {
        "name": "turned",
        "description": "one leg",
        "base": "floating",
        "control_rate": 50,
        "joints": {name: joint for name in ("roll", "pitch", "knee")},
        "feet": ["foot"],
        "sensors": {"joint_position": {}, "joint_velocity": {}, "orientation": {}},
        "action": {"kind": "position", "scale": 0.3},
        "simulation": {"model": "turned.xml", "physics_rate": 500, "base_body": "trunk", "base_height": 1.0},
    }
    path = folder / "turned.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return path


def without_legs(folder: Path, name: str) -> Path:
    values = yaml.safe_load((Path(robot_rl.__file__).parent / "robots" / f"{name}.yaml").read_text())
    del values["legs"]
    values["simulation"]["model"] = str(load_robot(name).simulation.model)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def places_in_mujoco(spec: RobotSpec, position: np.ndarray) -> np.ndarray:
    model = compile_model(spec)
    data = mujoco.MjData(model)
    for name, value in zip(spec.joint_names, position, strict=True):
        data.qpos[model.joint(name).qposadr[0]] = value
    mujoco.mj_kinematics(model, data)
    base = model.body(spec.simulation.base_body)
    places = [data.geom(geom).xpos - data.xpos[base.id] for geom in spec.simulation.foot_geoms]
    return np.array(places) @ data.xmat[base.id].reshape(3, 3)


@pytest.mark.parametrize("name", ["go2", "planar_arm", "turned"])
def test_what_is_printed_goes_into_the_file_and_knows_where_the_feet_are(name, tmp_path, capsys):
    path = robot(tmp_path) if name == "turned" else without_legs(tmp_path, name)
    assert load_robot(str(path)).legs is None
    assert main(["info", str(path), "--legs"]) == 0
    with path.open("a") as file:
        file.write(capsys.readouterr().out)
    spec = load_robot(str(path))
    for position in np.random.default_rng(0).uniform(-1.0, 1.0, (10, spec.joints)):
        np.testing.assert_allclose(
            spec.legs.kinematics(position).position, places_in_mujoco(spec, position), atol=5e-5
        )


@pytest.mark.parametrize(("name", "says"), [("minitaur", "'knee_FL_L', which is none"), ("dclaw", "has no feet")])
def test_other_legs_are_refused(name, says):
    with pytest.raises(ConfigurationError, match=says):
        measured_legs(load_robot(name))


def test_a_foot_that_is_no_ball_is_refused(tmp_path):
    path = robot(tmp_path)
    model = tmp_path / "turned.xml"
    model.write_text(TURNED.replace('type="sphere" size="0.025"', 'type="box" size="0.1 0.1 0.1"'))
    with pytest.raises(ConfigurationError, match="'foot' is no sphere"):
        measured_legs(load_robot(str(path)))


def test_only_robots_have_legs_to_print(capsys):
    assert main(["info", "go2-walk", "--legs"]) == 2
    assert "go2-walk is no robot" in capsys.readouterr().err
