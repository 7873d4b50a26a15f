"""A Gymnasium environment on a robot whose episodes are recorded."""

from __future__ import annotations

import time
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from hardware.policy_topics import about_task
from hardware.recorder import Recorder
from hardware.recorder_process import RecorderProcess
from hardware.ros_robot import RosRobot
from robot_rl.env import RobotEnv
from robot_rl.errors import RobotRLError

Array = NDArray[Any]


class RecordedEnv(gymnasium.Wrapper[Array, Array, Array, Array]):
    """The same environment; every episode becomes a file of the recorder's bag."""

    def __init__(self, env: RobotEnv, recorder: Recorder | RecorderProcess) -> None:
        """Wraps.

        Args:
            env: of a robot over ROS.
            recorder: closed by whoever made it.
        """
        super().__init__(env)
        assert isinstance(env.robot, RosRobot)
        self._of_robot, self._robot, self._recorder = env, env.robot, recorder
        self._observation = np.zeros(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begins an episode and its file."""
        self._recorder.end_episode("reset", self._robot.robot_time)
        self._observation, info = self.env.reset(seed=seed, options=options)
        about = about_task(self._of_robot.task)
        self._recorder.begin_episode(self._of_robot.goal, self._of_robot.state.applied, blend_time=0.0, **about)
        return self._observation, info

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Runs one control tick and records it."""
        moment, stamp, goal = time.time_ns(), self._robot.robot_time, self._of_robot.goal
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except RobotRLError as error:
            self._recorder.end_episode(str(error))
            raise
        self._recorder.policy(self._observation, action, info["applied"], goal, stamp, moment=moment)
        self._observation = observation
        if terminated or truncated:
            self._recorder.end_episode("time limit" if truncated else "terminated", self._robot.robot_time)
        return observation, float(reward), terminated, truncated, info
