"""What seeing costs: milliseconds a picture, and environment steps a second with and without the camera.

    python benchmarks/camera.py
    python benchmarks/camera.py --steps 200 --rounds 3

With and without take turns, so that a busy machine slows both. Processor time is printed beside the time that passed:
on a shared machine it is the steadier figure.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from robot_rl.make import make_env, make_task, make_vector_env
from robot_rl.robot import Start
from robot_rl.spec_file import load_robot
from sim.camera import Eye
from sim.mujoco_robot import MujocoRobot

COPIES = 8


def timed(work: Callable[[], None], times: int) -> tuple[float, float]:
    """Seconds a call: that passed, and of the processor."""
    passed, used = time.perf_counter(), time.process_time()
    for _ in range(times):
        work()
    return (time.perf_counter() - passed) / times, (time.process_time() - used) / times


def picture(times: int) -> tuple[float, float]:
    """Seconds of one picture of a D'Claw."""
    spec = load_robot("dclaw")
    robot = MujocoRobot(spec)
    robot.reset(Start(spec.home), np.random.default_rng(0))
    assert spec.camera is not None
    eye = Eye(spec.camera, robot.model)

    def look() -> None:
        eye.see(robot.model, robot.data)

    look()
    found = timed(look, times)
    eye.close()
    return found


def stepper(camera: bool, copies: int) -> Callable[[], None]:
    """A function that makes one step of the environment, of each copy."""
    task = make_task("turn_valve", "dclaw", observation={"camera": camera})
    rng = np.random.default_rng(0)
    if copies == 1:
        env = make_env("dclaw", task, time_limit=1e6)
        shape: tuple[int, ...] = (9,)
    else:
        env = make_vector_env("dclaw", task, copies, threads=1, time_limit=1e6)  # type: ignore[assignment]
        shape = (copies, 9)
    env.reset(seed=0)

    def step() -> None:
        env.step(rng.uniform(-1.0, 1.0, shape))

    step()
    return step


def main() -> None:
    """Measures in turns and prints the best and the median round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    rounds = 1e3 * np.array([picture(arguments.steps) for _ in range(arguments.rounds)])  # (rounds, 2)
    passed, used = np.median(rounds, axis=0)
    print(f"one picture, 32 x 32: {passed:.2f} ms, best {rounds[:, 0].min():.2f} ms; of processor time {used:.2f} ms")
    for copies in (1, COPIES):
        without, with_camera = stepper(False, copies), stepper(True, copies)
        times = np.array(
            [[timed(step, arguments.steps) for step in (without, with_camera)] for _ in range(arguments.rounds)]
        )  # (rounds, 2, 2)
        (dark, dark_used), (seen, seen_used) = np.median(times, axis=0)
        print(
            f"{copies} in step: {copies / dark:7.0f} steps/s without, {copies / seen:7.0f} with the camera; "
            f"of processor time {1e3 * dark_used / copies:.2f} and {1e3 * seen_used / copies:.2f} ms a step"
        )


if __name__ == "__main__":
    main()
