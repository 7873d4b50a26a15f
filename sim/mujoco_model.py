"""Compiles a robot's MJCF or URDF file into the model that its spec describes.

The spec is the only place for gains, limits of effort, rates and sensors: whatever actuators, defaults of these, limits
of the joints' effort, sensors and keyframes the file brings are replaced. So a file made for another tool serves
unchanged.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.spec import FLOATING_ONLY, RobotSpec
from sim.height_field import add_field

_CONES = {"pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL, "elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC}
_INTEGRATORS = {"euler": mujoco.mjtIntegrator.mjINT_EULER, "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST}
_ONE_DOF = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
_CONTACT_FORCE = 1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE)
_LARGEST_FORCE = 2  # `reduce="maxforce"` of the contact sensor: the contacts of largest force, if there are more
_SAME_IN_DEGREES = 0.05
"""Relative, of a joint's limits in the spec to the model's in degrees: then one of the two has the wrong unit."""
_BEYOND = 0.01
"""rad or m that a joint's home may lie outside the model's range: ranges are rounded."""
_MOST_CONTACTS = 32
"""Of a foot, at once, that are read; a box on a plane has 4, a ball between the tops of rough ground up to 7."""
_OF_ONE_ACTUATOR = ("classname", "compiler", "id", "info", "name", "plugin", "signature", "target", "userdata")
"""What of MuJoCo's actuators is no setting."""


def compile_model(spec: RobotSpec, terrain: bool = False) -> mujoco.MjModel:
    """Builds the MuJoCo model of a robot.

    Actuator i drives joint i of `spec.joint_names` with the spec's PD gains and effort limit.

    Args:
        spec: the robot.
        terrain: whether the model gets a height field, hidden below the floor, for ground that is not flat.

    Raises:
        ConfigurationError: the model file is missing, cannot be compiled, lacks a part that the spec names, or
            contradicts what it says of the base and the joints.
    """
    path = model_path(spec)
    try:
        edit = mujoco.MjSpec.from_file(str(path))
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"robot {spec.name!r}: cannot read model {path}: {_one_line(error)}") from error
    edit.compiler.fusestatic = path.suffix == ".urdf"
    _set_options(edit, spec)
    _check_names(edit, spec, path)
    for element in [*edit.actuators, *edit.sensors, *edit.keys]:
        edit.delete(element)
    if spec.base == "floating":
        _add_free_joint(edit, spec)
        _add_floor(edit)
    else:
        _hold_base(edit, spec)
    if not edit.lights:
        _add_light(edit, spec)
    if terrain:
        add_field(edit)
    _add_actuators(edit, spec)
    _add_sensors(edit, spec)
    try:
        model = edit.compile()
    except ValueError as error:
        raise ConfigurationError(f"robot {spec.name!r}: cannot compile model {path}: {_one_line(error)}") from error
    _check_joints(model, spec, path)
    return model


def held_model(spec: RobotSpec, timestep: float) -> mujoco.MjModel:
    """The robot's file with its base held and nothing that touches, its joints without ends and dry friction.

    What is left is rigid bodies with damping and armature, whose motion two engines can be compared by.

    Args:
        spec: the robot.
        timestep: of the physics, s.
    """
    edit = mujoco.MjSpec.from_file(str(model_path(spec)))
    for joint in [j for j in edit.joints if j.type == mujoco.mjtJoint.mjJNT_FREE]:
        edit.delete(joint)
    for geom in edit.geoms:
        geom.contype = geom.conaffinity = 0
    edit.option.timestep = timestep
    model = edit.compile()
    model.jnt_limited[:] = 0
    model.dof_frictionloss[:] = 0.0
    return model


def held_spec(spec: RobotSpec) -> RobotSpec:
    """The robot held by its base, its legs in the air; a robot whose base is fixed as it is."""
    if spec.base == "fixed":
        return spec
    sensors = {name: noise for name, noise in spec.sensors.items() if name not in (*FLOATING_ONLY, "contacts")}
    return replace(
        spec,
        base="fixed",
        feet=(),
        legs=None,
        sensors=sensors,
        simulation=replace(spec.simulation, foot_geoms=(), truth=()),
        safety=replace(spec.safety, tilt="off", height="off", workspace="off"),
    )


def delay_steps(spec: RobotSpec) -> int:
    """Steps of the physics from a command to its effect: `simulation.actuator_delay`, rounded up."""
    return math.ceil(spec.simulation.actuator_delay / spec.simulation.physics_dt - 1e-6)


def model_path(spec: RobotSpec) -> Path:
    """The model file on disk; `menagerie:NAME` is looked up in the mujoco-menagerie package or under MENAGERIE_ROOT."""
    given = spec.simulation.model
    path = _menagerie_path(given.removeprefix("menagerie:")) if given.startswith("menagerie:") else Path(given)
    if not path.is_file():
        raise ConfigurationError(f"robot {spec.name!r}: simulation.model: no file {path}")
    return path


def _menagerie_path(name: str) -> Path:
    try:
        import mujoco_menagerie
    except ImportError as error:
        root = os.environ.get("MENAGERIE_ROOT")
        if root is None:
            raise ConfigurationError(
                f"model 'menagerie:{name}' needs the package mujoco-menagerie (pip install mujoco-menagerie), "
                "or MENAGERIE_ROOT set to a checkout of MuJoCo Menagerie"
            ) from error
        return _file_in_checkout(Path(root), name)
    try:
        robot = mujoco_menagerie.get(name)
        return Path(robot.xml(robot.default_model))
    except mujoco_menagerie.MenagerieError as error:
        raise ConfigurationError(f"model 'menagerie:{name}': {_one_line(error)}") from error


def _file_in_checkout(root: Path, name: str) -> Path:
    if not root.is_dir():
        raise ConfigurationError(f"model 'menagerie:{name}': MENAGERIE_ROOT is {root}, which is no folder")
    folder = root / name
    if not folder.is_dir():
        known = sorted(p.name for p in root.iterdir() if p.is_dir())
        raise UnknownName.of("Menagerie model", name, known, f"under MENAGERIE_ROOT {root}")
    # A Menagerie folder has scene files and variants beside the robot's own file.
    files = sorted(p for p in folder.glob("*.xml") if not p.stem.startswith("scene") and not p.stem.endswith("_mjx"))
    if not files:
        raise ConfigurationError(f"model 'menagerie:{name}': no robot file in {folder}")
    same = [p for p in files if p.stem in name]
    return (same or files)[0]


def _set_options(edit: mujoco.MjSpec, spec: RobotSpec) -> None:
    edit.option.timestep = spec.simulation.physics_dt
    edit.option.cone = _CONES[spec.simulation.cone]
    edit.option.integrator = _INTEGRATORS[spec.simulation.integrator]
    edit.option.impratio = spec.simulation.impratio


def _check_names(edit: mujoco.MjSpec, spec: RobotSpec, path: Path) -> None:
    def check(kind: str, wanted: tuple[str, ...], found: list[str]) -> None:
        for name in wanted:
            if name not in found:
                raise UnknownName.of(kind, name, (f for f in found if f), f"of robot {spec.name!r} in {path.name}")

    check("joint", spec.joint_names, [joint.name for joint in edit.joints])
    for joint in edit.joints:
        if joint.name in spec.joint_names and joint.type not in _ONE_DOF:
            raise ConfigurationError(
                f"robot {spec.name!r}: joint {joint.name!r} in {path.name}: expected a hinge or slide, "
                f"got {joint.type.name.removeprefix('mjJNT_').lower()}"
            )
    check("foot geometry", spec.simulation.foot_geoms, [geom.name for geom in edit.geoms])
    check("object body", spec.objects, [body.name for body in edit.bodies])
    if spec.base == "floating":
        check("base body", (spec.simulation.base_body,), [body.name for body in edit.bodies])


def _check_joints(model: mujoco.MjModel, spec: RobotSpec, path: Path) -> None:
    """Refuses a fixed robot that would fall, and joints whose home or limits only another unit explains."""
    for i, name in enumerate(spec.joint_names):
        joint, where = model.joint(name), f"robot {spec.name!r}: joint {name!r}"
        root = model.body(int(model.body_rootid[int(joint.bodyid[0])]))
        first = int(root.jntadr[0])
        if spec.base == "fixed" and first >= 0 and model.jnt_type[first] == mujoco.mjtJoint.mjJNT_FREE:
            raise ConfigurationError(
                f"{where} hangs on body {root.name!r} of {path.name}, which has a free joint, but base: fixed; say "
                f"simulation.base_body: {root.name} to hold it, got {spec.simulation.base_body!r}, or base: floating"
            )
        if not joint.limited[0]:
            continue
        unit = "rad" if joint.type[0] == mujoco.mjtJoint.mjJNT_HINGE else "m"
        low, high = joint.range.tolist()
        own = f"{low:.4g} to {high:.4g} {unit} of {path.name}"
        limits = (spec.lower[i], spec.upper[i])
        if unit == "rad" and np.allclose(limits, np.degrees(joint.range), rtol=_SAME_IN_DEGREES, atol=0.0):
            raise ConfigurationError(
                f"{where}: limits {limits[0]:g} to {limits[1]:g} are {own} in degrees; the robot's file is in radians, "
                'and so is a URDF; an MJCF is in degrees without <compiler angle="radian"/>'
            )
        if not low - _BEYOND <= spec.home[i] <= high + _BEYOND:
            raise ConfigurationError(
                f"{where}: home {spec.home[i]:g} {unit} is outside {own}; the robot's file is in radians and metres"
            )


def _add_free_joint(edit: mujoco.MjSpec, spec: RobotSpec) -> None:
    base = edit.body(spec.simulation.base_body)
    if not any(joint.type == mujoco.mjtJoint.mjJNT_FREE for joint in base.joints):
        base.add_freejoint(name="root")


def _hold_base(edit: mujoco.MjSpec, spec: RobotSpec) -> None:
    """Takes the free joint from the base of a robot that is said to be fixed."""
    base = edit.body(spec.simulation.base_body)
    for joint in [j for j in base.joints if j.type == mujoco.mjtJoint.mjJNT_FREE] if base is not None else ():
        edit.delete(joint)


def _add_floor(edit: mujoco.MjSpec) -> None:
    if any(geom.type == mujoco.mjtGeom.mjGEOM_PLANE for geom in edit.worldbody.geoms):
        return
    edit.add_texture(
        name="floor",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        width=256,
        height=256,
        rgb1=[0.36, 0.42, 0.48],
        rgb2=[0.30, 0.35, 0.40],
        mark=mujoco.mjtMark.mjMARK_EDGE,
        markrgb=[0.55, 0.6, 0.65],
    )
    material = edit.add_material(name="floor", texrepeat=[2, 2], texuniform=True, reflectance=0.05)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    edit.worldbody.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0, 0, 0.05],
        material="floor",
        contype=1,
        conaffinity=1,
        condim=3,
        friction=[0.8, 0.02, 0.01],
    )


def _add_light(edit: mujoco.MjSpec, spec: RobotSpec) -> None:
    """Daylight, for films of models that were made for the physics alone; the default is next to darkness."""
    # The sun goes with a robot that walks: shadows are drawn near it only.
    floating = spec.base == "floating"
    place = edit.body(spec.simulation.base_body) if floating else edit.worldbody
    edit.visual.headlight.ambient = [0.35, 0.35, 0.35]
    edit.visual.headlight.diffuse = [0.4, 0.4, 0.4]
    edit.visual.quality.shadowsize, edit.visual.map.shadowclip = 4096, 6  # shadows that are whole and fine
    if not any(texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX for texture in edit.textures):
        edit.add_texture(
            name="sky",
            type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
            rgb1=[0.62, 0.72, 0.83],
            rgb2=[0.94, 0.96, 0.98],
            width=64,
            height=384,
        )
    place.add_light(
        name="sun",
        mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM if floating else mujoco.mjtCamLight.mjCAMLIGHT_FIXED,
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[-0.9, -0.9, 3],
        dir=[0.3, 0.3, -1],
        diffuse=[0.7, 0.7, 0.7],
        specular=[0.2, 0.2, 0.2],
    )


def _add_actuators(edit: mujoco.MjSpec, spec: RobotSpec) -> None:
    late = delay_steps(spec)
    blank = mujoco.MjSpec()
    untouched = blank.add_actuator()
    settings = [n for n in dir(untouched) if n not in _OF_ONE_ACTUATOR and not n.startswith(("_", "set_to_"))]
    for i, name in enumerate(spec.joint_names):
        actuator = edit.add_actuator()
        # A new actuator is what the file's default class says: its gear, ranges, filter.
        for setting in settings:
            setattr(actuator, setting, getattr(untouched, setting))
        actuator.name, actuator.target, actuator.trntype = name, name, mujoco.mjtTrn.mjTRN_JOINT
        actuator.set_to_position(kp=spec.kp[i], kv=spec.kd[i])
        actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
        actuator.forcerange = [-spec.effort_limit[i], spec.effort_limit[i]]
        if late:
            # Between two samples: MuJoCo adds up its time, and on one of them an error of rounding would be a step.
            actuator.delay, actuator.nsample = (late - 0.5) * spec.simulation.physics_dt, late + 1
        # MuJoCo would hold the joint to this whatever the actuator gives; URDF's `<limit effort>` comes as it.
        edit.joint(name).actfrclimited = mujoco.mjtLimited.mjLIMITED_FALSE


def _add_sensors(edit: mujoco.MjSpec, spec: RobotSpec) -> None:
    present = {*spec.sensors, *spec.simulation.truth}
    if "linear_acceleration" in present:
        site = spec.simulation.imu_site
        if all(s.name != site for s in edit.sites):
            edit.body(spec.simulation.base_body).add_site(name=site)
        edit.add_sensor(
            name="linear_acceleration",
            type=mujoco.mjtSensor.mjSENS_ACCELEROMETER,
            objtype=mujoco.mjtObj.mjOBJ_SITE,
            objname=site,
        )
    if "contacts" in present:
        slots = _contacts_at_once(edit, spec)
        for foot, geom in zip(spec.feet, spec.simulation.foot_geoms, strict=True):
            edit.add_sensor(
                name=f"contact_{foot}",
                type=mujoco.mjtSensor.mjSENS_CONTACT,
                objtype=mujoco.mjtObj.mjOBJ_GEOM,
                objname=geom,
                intprm=[_CONTACT_FORCE, _LARGEST_FORCE, slots],
            )
    if "objects" in present:
        for name in spec.objects:
            for kind, sensor in (
                ("position", mujoco.mjtSensor.mjSENS_FRAMEPOS),
                ("orientation", mujoco.mjtSensor.mjSENS_FRAMEQUAT),
                ("linear_velocity", mujoco.mjtSensor.mjSENS_FRAMELINVEL),
                ("angular_velocity", mujoco.mjtSensor.mjSENS_FRAMEANGVEL),
            ):
                edit.add_sensor(
                    name=f"{name}_{kind}", type=sensor, objtype=mujoco.mjtObj.mjOBJ_XBODY, objname=name
                )


def _contacts_at_once(edit: mujoco.MjSpec, spec: RobotSpec) -> int:
    """Contacts that a foot may have at once: one, where every foot is a ball that can touch nothing but one plane."""
    for name in spec.simulation.foot_geoms:
        foot = edit.geom(name)
        others = [
            geom.type
            for geom in edit.geoms
            if geom.name != name and (geom.contype & foot.conaffinity or foot.contype & geom.conaffinity)
        ]
        ball = foot.type == mujoco.mjtGeom.mjGEOM_SPHERE
        if not ball or edit.pairs or others not in ([], [mujoco.mjtGeom.mjGEOM_PLANE]):
            return _MOST_CONTACTS
    return 1


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
