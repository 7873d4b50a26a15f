"""How well leg odometry knows the velocity and the height of a walking robot.

    python benchmarks/leg_odometry.py [--robot go2] [--episodes 3] [--seconds 10] [--ros] [--json]

The robot walks with its shipped policy, under the noise of its file; the estimate is set beside the simulator's truth,
at the policy's rate and at the sensors'. With --ros it walks as the twin in lock step, in another process that sends no
odometry of its own, and the truth comes from the same walk in this process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from policies.runtime import OnnxPolicy  # noqa: E402
from robot_rl.commands.evaluate import policy_task  # noqa: E402
from robot_rl.leg_odometry import LegOdometry  # noqa: E402
from robot_rl.make import make_env, make_robot  # noqa: E402
from robot_rl.robot import JointCommand, Robot, RobotState, Start  # noqa: E402
from robot_rl.spec import RobotSpec  # noqa: E402
from robot_rl.spec_file import load_robot  # noqa: E402

TARGET = 0.08
"""m/s, RMS of the length of the velocity's error."""


class Watched:
    """A robot that keeps every state it gives, several in each control tick where its sensors are faster."""

    def __init__(self, robot: Robot, spec: RobotSpec) -> None:
        """Args: robot: steps at a multiple of the spec's control rate; spec: for its user."""
        self.robot, self.spec, self.provides = robot, spec, robot.provides
        self._readings = round(robot.spec.control_rate / spec.control_rate)
        self.states: list[RobotState] = []

    def reset(self, start: Start, rng: np.random.Generator) -> RobotState:
        """Begins a new list."""
        self.states = [self.robot.reset(start, rng)]
        return self.states[0]

    def step(self, command: JointCommand) -> RobotState:
        """Holds the command for one control tick."""
        for _ in range(self._readings):
            self.states.append(self.robot.step(command))
        return self.states[-1]

    def stop(self) -> None:
        """Stops the robot."""
        self.robot.stop()

    def close(self) -> None:
        """Leaves the robot."""
        self.robot.close()


def walk(robot: Robot, policy: OnnxPolicy, seconds: float, seed: int) -> list[RobotState]:
    """All states of one walk."""
    watched = Watched(robot, load_robot(robot.spec.name))
    env = make_env(watched, policy_task(policy.contract, watched.spec), time_limit=seconds)
    observation, _ = env.reset(seed=seed)
    ended = False
    while not ended:
        observation, _, fell, over, _ = env.step(policy.act(observation).action)
        ended = fell or over
    return watched.states


def estimate(spec: RobotSpec, states: Sequence[RobotState]) -> tuple[np.ndarray, np.ndarray]:
    """Velocity (ticks, 3) in the base frame and height (ticks,) of leg odometry."""
    odometry = LegOdometry(spec)
    found = [odometry.update(state) for state in states]
    return np.array([motion.linear_velocity for motion in found]), np.array([motion.position[2] for motion in found])


def errors(velocity: np.ndarray, height: np.ndarray, truth: Sequence[RobotState]) -> dict[str, Any]:
    """RMS of the errors."""
    off = velocity - np.array([state.base_linear_velocity for state in truth])
    above = height - np.array([state.base_position[2] for state in truth])
    return {
        "velocity_rms": float(np.sqrt((off**2).sum(-1).mean())),
        "velocity_rms_by_axis": np.sqrt((off**2).mean(0)).tolist(),
        "velocity_bias": off.mean(0).tolist(),
        "height_rms": float(np.sqrt((above**2).mean())),
    }


def over_ros(name: str, policy: OnnxPolicy, seconds: float, seed: int) -> dict[str, Any]:
    """The same for the twin in lock step; its noise is seeded, so this process can walk the same walk and know."""
    from hardware.ros_robot import RosRobot, RosSettings

    os.environ.setdefault("ROS_DOMAIN_ID", "39")
    command = [sys.executable, "-m", "robot_rl.cli", "twin", name, "--lock-step", "--no-odometry"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    twin = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        robot = RosRobot(load_robot(name), RosSettings(lock_step=True))
        states = walk(robot, policy, seconds, seed)
        robot.close()
    finally:
        twin.terminate()
        twin.wait()
    truth = walk(_Reseeded(make_robot(name)), policy, seconds, seed)
    joints = [np.abs(np.array(a.joint_position) - b.joint_position).max() for a, b in zip(states, truth, strict=True)]
    if max(joints) > 1e-6:
        raise SystemExit(f"the walk over ROS and the one in this process differ by {max(joints):.3g} rad")
    velocity = np.array([state.base_linear_velocity for state in states])
    return errors(velocity, np.array([state.base_position[2] for state in states]), truth)


class _Reseeded(Watched):
    """Draws its noise as the twin does when it is asked to reset: from a seed drawn from the caller's."""

    def __init__(self, robot: Robot) -> None:
        super().__init__(robot, robot.spec)

    def reset(self, start: Start, rng: np.random.Generator) -> RobotState:
        return super().reset(start, np.random.default_rng(int(rng.integers(2**31))))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Error of leg odometry on a walking robot.")
    parser.add_argument("--robot", default="go2", help="go2 or minitaur [go2]")
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--ros", action="store_true", help="walk once more as the twin in lock step")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    spec = load_robot(arguments.robot)
    policy = OnnxPolicy.load(ROOT / "policies" / "trained" / f"{spec.name}-walk.onnx")
    physics = 1.0 / spec.simulation.physics_dt
    sensors = physics if physics <= 200.0 else physics / 2.0
    result: dict[str, Any] = {"robot": spec.name, "target": TARGET, "walks": []}
    for rate in (spec.control_rate, sensors):
        robot = make_robot(replace(spec, control_rate=rate))
        for seed in range(arguments.episodes):
            states = walk(robot, policy, arguments.seconds, seed)
            found = errors(*estimate(spec, states), states)
            result["walks"].append({"where": "simulation", "rate": rate, "seed": seed, **found})
    if arguments.ros:
        found = over_ros(spec.name, policy, arguments.seconds, 0)
        result["walks"].append({"where": "ROS, lock step", "rate": spec.control_rate, "seed": 0, **found})
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{spec.name}, {arguments.seconds:g} s each; target: velocity RMS under {TARGET:g} m/s")
    for row in result["walks"]:
        axes = " ".join(f"{value:.3f}" for value in row["velocity_rms_by_axis"])
        print(
            f"  {row['where']:<15} {row['rate']:3.0f} Hz  seed {row['seed']}  velocity {row['velocity_rms']:.3f} m/s "
            f"(x y z {axes})  height {1e3 * row['height_rms']:.1f} mm"
        )


if __name__ == "__main__":
    main()
