"""Robots that see: their camera's pictures from an off-screen renderer, small ones and quickly.

Shadows, reflections and the sky are left out: at 32 pixels nobody can tell, and they are most of the cost.
"""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import frozen
from robot_rl.camera_spec import CameraSpec
from robot_rl.errors import ConfigurationError
from robot_rl.robot import BatchRobot, JointCommand, Robot, RobotState, Start

Picture = NDArray[np.uint8]

PLATFORMS = ("egl", "osmesa", "glfw")
"""Ways to OpenGL in the order in which they are tried, unless MUJOCO_GL names another than the first."""
_COSTLY = (
    mujoco.mjtRndFlag.mjRND_SHADOW,
    mujoco.mjtRndFlag.mjRND_REFLECTION,
    mujoco.mjtRndFlag.mjRND_SKYBOX,
    mujoco.mjtRndFlag.mjRND_HAZE,
)


class Eye:
    """Renders what a camera sees of any copy of one model."""

    def __init__(self, camera: CameraSpec, model: mujoco.MjModel) -> None:
        """Opens an OpenGL context.

        Args:
            camera: what to render.
            model: of the robot.

        Raises:
            ConfigurationError: nothing here can render; says what was tried.
        """
        self.camera = camera
        self._gl, self._context = open_gl(model, camera.width, camera.height)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, model.ngeom + 100)
        for flag in _COSTLY:
            self._scene.flags[flag] = 0
        self._options = mujoco.MjvOption()
        self._options.geomgroup[3] = 0  # collision hulls
        self._view = _view(camera)
        self._frame = mujoco.MjrRect(0, 0, camera.width, camera.height)
        self._bottom_up = np.zeros(camera.shape, dtype=np.uint8)
        self._release = weakref.finalize(self, _release, self._gl, self._context)
        atexit.register(self._release)  # while OpenGL is still there to be asked; see `sim.render`

    def see(self, model: mujoco.MjModel, data: mujoco.MjData) -> Picture:
        """The picture of one copy, (height, width, 3), the first row on top; a new array."""
        self._gl.make_current()
        view = model.vis.global_
        theirs, view.fovy = view.fovy, self.camera.field_of_view
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(model, data, self._options, None, self._view, everything, self._scene)
        view.fovy = theirs
        for field in range(model.nhfield):
            mujoco.mjr_uploadHField(model, self._context, field)
        mujoco.mjr_render(self._frame, self._scene, self._context)
        mujoco.mjr_readPixels(self._bottom_up, None, self._frame, self._context)
        return self._bottom_up[::-1].copy()

    def close(self) -> None:
        """Releases the OpenGL context."""
        self._release()
        atexit.unregister(self._release)


def _set_buffers(model: mujoco.MjModel, shadows: int, samples: int, width: int, height: int) -> None:
    model.vis.quality.shadowsize, model.vis.quality.offsamples = shadows, samples
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height


def _release(gl: Any, context: mujoco.MjrContext) -> None:
    gl.make_current()
    context.free()
    gl.free()


def _view(camera: CameraSpec) -> mujoco.MjvCamera:
    view = mujoco.MjvCamera()
    view.type = mujoco.mjtCamera.mjCAMERA_FREE
    way = np.array(camera.look_at) - camera.position
    view.lookat[:] = camera.look_at
    view.distance = float(np.linalg.norm(way))
    view.azimuth = float(np.degrees(np.arctan2(way[1], way[0])))
    view.elevation = float(np.degrees(np.arcsin(way[2] / view.distance)))
    return view


def open_gl(model: mujoco.MjModel, width: int, height: int) -> tuple[Any, mujoco.MjrContext]:
    """An off-screen OpenGL context, and MuJoCo's in it: by EGL, or OSMesa where there is none, or GLFW on a display.

    The environment variable MUJOCO_GL chooses one of the others, as it does for all of MuJoCo.

    Args:
        model: to be rendered.
        width: pixels.
        height: pixels.

    Raises:
        ConfigurationError: none works; says why not.
    """
    quality, size = model.vis.quality, model.vis.global_
    theirs = (quality.shadowsize, quality.offsamples, size.offwidth, size.offheight)
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    reasons = []
    for platform in (chosen,) if chosen in PLATFORMS[1:] else PLATFORMS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what GLFW says of a missing display comes back as an error
                gl = importlib.import_module(f"mujoco.{platform}").GLContext(width, height)
                gl.make_current()
            _set_buffers(model, 0, 0, width, height)
            return gl, mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except Exception as error:  # OpenGL bindings raise many unrelated types
            reasons.append(f"{platform}: {' '.join(str(error).split()) or type(error).__name__}")
            _forget_platform(platform)
        finally:
            _set_buffers(model, *theirs)
    raise ConfigurationError(
        f"the camera cannot render ({'; '.join(reasons)}). Without a display MuJoCo needs EGL (Debian: libegl1 "
        "libegl-mesa0 libgl1-mesa-dri) or OSMesa (libosmesa6); the environment variable MUJOCO_GL, if set, must be one "
        f"of: {', '.join(PLATFORMS)}"
    )


def _forget_platform(platform: str) -> None:
    """PyOpenGL keeps to the first platform that it was loaded for; the next one needs it loaded anew."""
    if platform not in ("egl", "osmesa"):
        return
    os.environ.pop("PYOPENGL_PLATFORM", None)
    for name in list(sys.modules):
        if name.split(".")[0] == "OpenGL" or name.startswith(f"mujoco.{platform}"):
            del sys.modules[name]


class _Seeing:
    """What a robot and a batch that see have in common; all but the pictures is the robot's own."""

    def __init__(self, robot: Any, camera: CameraSpec) -> None:
        self._robot = robot
        self.spec = robot.spec
        self.provides = frozenset({*robot.provides, "camera"})
        self.model = robot.model
        self._eye = Eye(camera, robot.model)

    def close(self) -> None:
        """Releases the robot and the renderer. May be called any number of times."""
        self._eye.close()
        self._robot.close()

    def truth(self) -> RobotState:
        """See `robot_rl.robot.Truthful`."""
        return self._robot.truth()

    @property
    def drawn(self) -> Mapping[str, Any]:
        """See `robot_rl.robot.Randomized`."""
        return getattr(self._robot, "drawn", {})

    def snapshot(self) -> dict[str, Any]:
        """The robot's; a picture follows from it."""
        return self._robot.snapshot()

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back."""
        self._robot.restore(snapshot)

    def use_rng(self, rng: np.random.Generator) -> None:
        """Draws sensor noise from `rng` from now on."""
        self._robot.use_rng(rng)


class SeeingRobot(_Seeing):
    """A simulated robot whose states carry its camera's picture of the tick itself, whatever delays other readings."""

    def __init__(self, robot: Any, camera: CameraSpec) -> None:
        """Args: robot: with `model` and `data`; camera: what to render."""
        super().__init__(robot, camera)
        self.data = robot.data

    def reset(self, start: Start, rng: np.random.Generator) -> RobotState:
        """See `robot_rl.robot.Robot`."""
        return self._seen(self._robot.reset(start, rng))

    def step(self, command: JointCommand) -> RobotState:
        """See `robot_rl.robot.Robot`."""
        return self._seen(self._robot.step(command))

    def stop(self) -> None:
        """See `robot_rl.robot.Robot`."""
        self._robot.stop()

    def _seen(self, state: RobotState) -> RobotState:
        return with_picture(state, self._eye.see(self.model, self.data))


class SeeingBatch(_Seeing):
    """Copies of a simulated robot that see, rendered one after the other."""

    def __init__(self, robot: Any, camera: CameraSpec) -> None:
        """Args: robot: with `models` and `datas`, one a copy; camera: what to render."""
        super().__init__(robot, camera)
        self.count = robot.count

    def reset(self, rows: NDArray[np.intp], starts: Sequence[Start], rng: np.random.Generator) -> RobotState:
        """See `robot_rl.robot.BatchRobot`."""
        return self._seen(self._robot.reset(rows, starts, rng), rows)

    def step(self, command: JointCommand) -> RobotState:
        """See `robot_rl.robot.BatchRobot`."""
        return self._seen(self._robot.step(command), np.arange(self.count))

    def _seen(self, state: RobotState, rows: NDArray[np.intp]) -> RobotState:
        models, datas = self._robot.models, self._robot.datas
        return with_picture(state, np.stack([self._eye.see(models[row], datas[row]) for row in rows]))


def with_picture(state: RobotState, picture: Picture) -> RobotState:
    """The same state with a camera's picture, (..., height, width, 3), which becomes read-only."""
    return RobotState.of({**vars(state), "camera": frozen(picture)})


def seeing(robot: Any, camera: CameraSpec) -> Any:
    """A simulated robot, or batch, that sees.

    Raises:
        ConfigurationError: the robot is not simulated, or nothing here can render.
    """
    if isinstance(robot, BatchRobot) and hasattr(robot, "datas"):
        return SeeingBatch(robot, camera)
    if isinstance(robot, Robot) and hasattr(robot, "data"):
        return SeeingRobot(robot, camera)
    raise ConfigurationError(
        f"robot {robot.spec.name!r} gives no pictures here: the camera is for robots simulated by MuJoCo, or one at a "
        "time by PyBullet"
    )
