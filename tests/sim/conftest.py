"""Two robots simple enough to be computed by hand."""

from pathlib import Path

import pytest
import yaml

from robot_rl.spec_file import load_robot

WHEEL_INERTIA = 0.25
"""kg m^2 about the hinge."""
BALL_MASS, BALL_RADIUS = 2.0, 0.1

WHEEL = """<mujoco><worldbody><body name="wheel">
  <inertial pos="0 0 0" mass="1" diaginertia="0.2 0.2 0.25"/>
  <joint name="hinge" type="hinge" axis="0 0 1" damping="0.001"/>
</body></worldbody></mujoco>"""

BALL = """<mujoco><worldbody>
  <geom name="floor" type="plane" size="0 0 1" friction="0.8 0 0" contype="1" conaffinity="1"/>
  <body name="base" pos="0 0 0.1"><freejoint/>
    <inertial pos="0 0 0" mass="1.99" diaginertia="0.00796 0.00796 0.00796"/>
    {shape}
    <body name="fin"><inertial pos="0 0 0" mass="0.01" diaginertia="0.00001 0.00001 0.00001"/>
      <joint name="hinge" type="hinge" axis="0 0 1" damping="0.01"/></body>
  </body></worldbody></mujoco>"""


def robot_file(folder: Path, xml: str, base: str, changes: dict) -> Path:
    (folder / "model.xml").write_text(xml)
    values = {
        "name": "simple",
        "description": "one hinge",
        "base": base,
        "control_rate": 50,
        "joints": {
            "hinge": {"lower": -50.0, "upper": 50.0, "velocity": 20.0, "effort": 4.0, "home": 0.0, "kp": 5.0, "kd": 0.0}
        },
        "sensors": {"joint_position": {"noise": 0.01}, "joint_velocity": {}, "joint_effort": {}},
        "action": {"kind": "position", "scale": 1.0},
        "simulation": {"model": "model.xml", "physics_rate": 1000, "cone": "elliptic", "base_height": BALL_RADIUS},
        "safety": {"tilt": "off"} if base == "floating" else {},
    }
    if base == "floating":
        values["sensors"] |= {"orientation": {"noise": 0.01}, "angular_velocity": {}}
        values["simulation"]["truth"] = ["base_position", "base_linear_velocity"]
    for path, value in changes.items():
        section = values
        *sections, key = path.split(".")
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
    path = folder / "robot.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def wheel(tmp_path):
    """`wheel({"control_rate": 100})`: a wheel of WHEEL_INERTIA on a vertical axis, nothing else."""
    return lambda changes=None: load_robot(robot_file(tmp_path, WHEEL, "fixed", changes or {}))


@pytest.fixture
def ball(tmp_path):
    """A ball (or, with `shape="box"`, a flat box) of BALL_MASS that lies on the floor."""
    shapes = {
        "sphere": f'<geom name="hull" type="sphere" size="{BALL_RADIUS}" mass="0" friction="0.5 0 0"/>',
        "box": f'<geom name="hull" type="box" size="0.2 0.2 {BALL_RADIUS}" mass="0" friction="0.5 0 0" priority="1"/>',
    }

    def build(changes=None, shape="sphere"):
        return load_robot(robot_file(tmp_path, BALL.format(shape=shapes[shape]), "floating", changes or {}))

    return build
