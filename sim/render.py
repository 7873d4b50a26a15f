"""Pictures and videos of simulated robots, with or without a display."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError, StorageError

Frame = NDArray[np.uint8]

WIDTH, HEIGHT = 640, 480
SMOOTHING = 0.15
"""Share of the way to the robot that the camera moves per frame, so that a gait's bounce does not shake the picture."""


class Camera:
    """Films one simulated robot: follows a floating base from the side, looks at a fixed one from above.

    Attributes:
        lines: text in the picture's upper left corner, as pairs of a name and a value.
    """

    def __init__(self, robot: Any, width: int = WIDTH, height: int = HEIGHT) -> None:
        """Prepares the renderer.

        Args:
            robot: a robot simulated by MuJoCo, with `model`, `data` and `spec`.
            width: of a frame, pixels.
            height: of a frame, pixels.

        Raises:
            ConfigurationError: the robot is not simulated by MuJoCo, or nothing here can render.
        """
        if not hasattr(robot, "model") or not hasattr(robot, "data"):
            raise ConfigurationError(f"robot {robot.spec.name!r} cannot be filmed: it is not simulated by MuJoCo")
        self._model, self._data = robot.model, robot.data
        self._model.vis.global_.offwidth = max(width, self._model.vis.global_.offwidth)
        self._model.vis.global_.offheight = max(height, self._model.vis.global_.offheight)
        # A modest shadow map, one sample a pixel and no mirror: several times faster where the CPU has to draw.
        self._model.vis.quality.shadowsize = 2048
        self._model.vis.quality.offsamples = 0
        try:
            self._renderer = mujoco.Renderer(self._model, height, width)
        except Exception as error:  # OpenGL bindings raise many unrelated types
            raise ConfigurationError(
                f"cannot render: {' '.join(str(error).split()) or type(error).__name__}; "
                "without a display MuJoCo needs EGL (Debian: libegl1 libegl-mesa0 libgl1-mesa-dri), "
                "or OSMesa with MUJOCO_GL=osmesa"
            ) from error
        self._release = weakref.finalize(self, _close, self._renderer)
        # Runs at exit too, while OpenGL is still there to be asked. `finalize` alone may come too late: all finalizers
        # wait for the turn of the first one in the program, and OpenGL may have been loaded after that.
        atexit.register(self._release)
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._options = mujoco.MjvOption()
        self._options.geomgroup[3] = 0  # collision hulls
        self._floating = robot.spec.base == "floating"
        self._base = self._model.body(robot.spec.simulation.base_body).id if self._floating else 0
        self._view = mujoco.MjvCamera()
        self._view.type = mujoco.mjtCamera.mjCAMERA_FREE
        self._last_time = np.inf
        self.lines: Sequence[tuple[str, str]] = ()
        self._place()

    def _place(self) -> None:
        view = self._view
        if self._floating:
            size = max(2.0 * float(self._data.xpos[self._base][2]), 0.25)
            forward = self._data.xmat[self._base].reshape(3, 3)[:, 0]
            heading = np.degrees(np.arctan2(forward[1], forward[0]))
            # From the front right, walking to the right of the picture.
            view.distance, view.azimuth, view.elevation = 2.6 * size, heading + 125.0, -14.0
            view.lookat[:] = self._data.xpos[self._base]
            view.lookat[2] *= 0.75
        else:
            view.distance = 1.5 * float(self._model.stat.extent)
            view.azimuth, view.elevation = 135.0, -35.0
            view.lookat[:] = self._model.stat.center

    def __call__(self) -> Frame:
        """A picture of the robot as it is now, (height, width, 3)."""
        if self._data.time < self._last_time:  # a new episode: cut, do not pan
            self._place()
            self._show_ground()
        self._last_time = float(self._data.time)
        if self._floating:
            position = self._data.xpos[self._base]
            self._view.lookat[:2] += SMOOTHING * (position[:2] - self._view.lookat[:2])
        self._renderer.update_scene(self._data, self._view, self._options)
        frame = self._renderer.render()
        return write_lines(frame, self.lines) if self.lines else frame

    def _show_ground(self) -> None:
        """Hands heights that changed at the reset to the renderer, which keeps its own."""
        context = getattr(self._renderer, "_mjr_context", None)
        if self._model.nhfield and context is not None:
            self._renderer._gl_context.make_current()
            for field in range(self._model.nhfield):
                mujoco.mjr_uploadHField(self._model, context, field)

    def close(self) -> None:
        """Releases the OpenGL context."""
        self._release()
        atexit.unregister(self._release)


def _close(renderer: mujoco.Renderer) -> None:
    # The renderer deletes its textures in whatever context is current; with two cameras that may be the other one's.
    context = getattr(renderer, "_gl_context", None)
    if context is not None:
        context.make_current()
    renderer.close()


def write_lines(frame: Frame, lines: Sequence[tuple[str, str]]) -> Frame:
    """Writes names and values into the upper left corner of a frame, on a darkened box."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(frame).convert("RGBA")
    size = max(12, frame.shape[0] // 28)
    font = ImageFont.load_default(size=size)
    name_width = max(font.getlength(name) for name, _ in lines)
    value_width = max(font.getlength(value) for _, value in lines)
    line_height, margin = int(1.35 * size), int(0.6 * size)
    box = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(box)
    right = 2 * margin + name_width + margin + value_width
    draw.rectangle((margin, margin, margin + right, 2 * margin + line_height * len(lines)), fill=(20, 24, 30, 150))
    for row, (name, value) in enumerate(lines):
        top = int(1.5 * margin) + row * line_height
        draw.text((2 * margin, top), name, font=font, fill=(210, 216, 224, 255))
        left = margin + right - margin - font.getlength(value)
        draw.text((left, top), value, font=font, fill=(255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(image, box).convert("RGB"))


class Video:
    """An MP4 file that frames are added to; it appears under its name when it is closed."""

    def __init__(self, path: str | Path, rate: float) -> None:
        """Opens the file.

        Args:
            path: ends in .mp4.
            rate: frames per second.

        Raises:
            ConfigurationError: the name does not end in .mp4.
        """
        self.path = Path(path)
        if self.path.suffix != ".mp4":
            raise ConfigurationError(f"video {path}: the name must end in .mp4")
        self._beside = self.path.with_name(f".{self.path.stem}.tmp.mp4")
        self._rate = rate
        self._writer: Any = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"could not write {path}: {error.strerror}") from error

    def add(self, frame: Frame) -> None:
        """Adds a frame, (height, width, 3); all of one size."""
        import imageio_ffmpeg

        try:
            if self._writer is None:
                self._writer = imageio_ffmpeg.write_frames(
                    str(self._beside), (frame.shape[1], frame.shape[0]), fps=self._rate, macro_block_size=1, quality=7
                )
                self._writer.send(None)
            self._writer.send(np.ascontiguousarray(frame))
        except OSError as error:  # its text is all that ffmpeg had to say
            raise StorageError(f"could not write {self.path}: {str(error).splitlines()[0]}") from error

    def close(self) -> None:
        """Finishes the file and gives it its name."""
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        try:
            os.replace(self._beside, self.path)
        except OSError as error:
            raise StorageError(f"could not write {self.path}: {error.strerror}") from error

    def discard(self) -> None:
        """Gives up the file; does nothing after `close`."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._beside.unlink(missing_ok=True)
