"""The section `legs` of a robot's file, measured off its model: where each hinge is, its axis, and the foot."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError
from robot_rl.spec import RobotSpec
from sim.mujoco_model import compile_model

Array = NDArray[np.floating]

DIGITS = 5
"""Of lengths in m and of directions."""


def measured_legs(spec: RobotSpec) -> str:
    """Describes the legs of a robot whose feet are balls at the ends of chains of its own hinges.

    Frames are those of the base with all joints at zero, so it does not matter how the model's bodies are turned.

    Args:
        spec: the robot, with feet.

    Returns:
        YAML, as it stands in a robot's file.

    Raises:
        ConfigurationError: there are no feet, one is no ball, or something else than the robot's hinges moves it.
    """
    if not spec.feet:
        raise ConfigurationError(f"robot {spec.name!r} has no feet, so no legs; the key is 'feet'")
    model = compile_model(spec)
    data = mujoco.MjData(model)
    for name in spec.joint_names:
        data.qpos[model.joint(name).qposadr[0]] = 0.0
    mujoco.mj_kinematics(model, data)
    base = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, spec.simulation.base_body)
    place, turn = (data.xpos[base], data.xmat[base].reshape(3, 3)) if base > 0 else (np.zeros(3), np.eye(3))
    lines = ["legs:"]
    for foot, geom in zip(spec.feet, spec.simulation.foot_geoms, strict=True):
        ball = model.geom(geom)
        if ball.type[0] != mujoco.mjtGeom.mjGEOM_SPHERE:
            raise ConfigurationError(f"robot {spec.name!r}: foot geometry {geom!r} is no sphere; legs end in balls")
        joints = _hinges(model, spec, foot, int(ball.bodyid[0]), base)
        anchors = [(data.xanchor[joint] - place) @ turn for joint in joints]
        centre = (data.geom_xpos[ball.id] - place) @ turn
        lines += [f"  {foot}:", f"    radius: {ball.size[0]:g}", f"    tip: {_numbers(centre - anchors[-1])}"]
        lines.append("    joints:")
        for joint, anchor, before in zip(joints, anchors, [np.zeros(3), *anchors], strict=False):
            axis = _numbers(data.xaxis[joint] @ turn)
            lines.append(f"      {model.joint(joint).name}: {{origin: {_numbers(anchor - before)}, axis: {axis}}}")
    return "\n".join(lines) + "\n"


def _hinges(model: mujoco.MjModel, spec: RobotSpec, foot: str, body: int, base: int) -> list[int]:
    """The joints between a foot's body and the base, from the base outwards."""
    found: list[int] = []
    while body > max(base, 0):
        first, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
        found += reversed(range(first, first + count))
        body = int(model.body_parentid[body])
    for joint in found:
        name = model.joint(joint).name
        if name not in spec.joint_names or model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_HINGE:
            raise ConfigurationError(
                f"robot {spec.name!r}: foot {foot!r} is moved by {name!r}, which is none of its hinges; "
                "describe such legs by hand (docs/robots.md)"
            )
    if not found:
        raise ConfigurationError(f"robot {spec.name!r}: no joint moves foot {foot!r}")
    return found[::-1]


def _numbers(values: Array) -> str:
    rounded = np.round(values, DIGITS) + 0.0  # no -0
    return "[" + ", ".join(f"{value:g}" for value in rounded) + "]"
