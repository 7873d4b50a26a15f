"""The same robots in MuJoCo and in PyBullet: masses, free motion, standing, and shipped policies at work.

    python benchmarks/engines.py [--robot go2 ...] [--episodes 5] [--timestep 0.0001] [--json]

Four questions for every robot, each harder than the one before:

- mass matrix: largest difference relative to the largest entry, at random poses, the base held, armature left out
  (PyBullet has it as flywheels);
- swing: RMS difference of all joints over 2 s of falling from home under small equal torques, with damping and
  armature, without contacts, joint limits and dry friction, at a fine time step;
- standing: where the robot is after 5 s of holding its home pose, with its own control and physics rates;
- policy: what the shipped policies earn, with noise, and the share of their return in MuJoCo that is left.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from policies.contract import read_contract  # noqa: E402
from policies.runtime import OnnxPolicy  # noqa: E402
from robot_rl.commands.evaluate import actor, policy_task  # noqa: E402
from robot_rl.commands.policy_files import shipped_policies  # noqa: E402
from robot_rl.evaluation import evaluate  # noqa: E402
from robot_rl.make import SIMULATORS, make_env, make_robot  # noqa: E402
from robot_rl.robot import JointCommand, Start  # noqa: E402
from robot_rl.spec import RobotSpec  # noqa: E402
from robot_rl.spec_file import builtin_robots, load_robot  # noqa: E402
from sim.mujoco_model import held_model  # noqa: E402
from sim.pybullet_world import PyBulletWorld  # noqa: E402

MASS_TARGET = 1e-6
SWING_TARGET = 1e-3
"""rad, RMS over SWING_SECONDS."""
POSES = 20
SWING_SECONDS = 2.0
STANDING_SECONDS = 5.0
PUSH = 0.02
"""Amplitude of the torques of the swing, share of each joint's effort limit."""


def mass_matrix_error(spec: RobotSpec) -> float:
    """Largest relative difference over random poses."""
    model = held_model(spec, 0.001)
    data, world, rng = mujoco.MjData(model), PyBulletWorld(model), np.random.default_rng(0)
    worst = 0.0
    for _ in range(POSES):
        data.qpos[:] = model.qpos0 + rng.uniform(-1.0, 1.0, model.nq)
        mujoco.mj_forward(model, data)
        ours, addresses = world.mass_matrix(data.qpos)
        columns = np.zeros((model.nv, model.nv))
        for column, unit in zip(columns, np.eye(model.nv), strict=True):
            mujoco.mj_mulM(model, data, column, unit)
        theirs = (columns - np.diag(model.dof_armature))[np.ix_(addresses, addresses)]
        worst = max(worst, float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
    world.close()
    return worst


def swing(spec: RobotSpec, timestep: float) -> dict[str, float]:
    """Difference of the joints while the held robot swings, rad."""
    model = held_model(spec, timestep)
    data, world = mujoco.MjData(model), PyBulletWorld(model)
    if model.neq == 0:  # closed loops are closed where the model has them
        for joint, position in zip(spec.joint_names, spec.home, strict=True):
            data.joint(joint).qpos[0] = position
    world.place(data.qpos)
    driven = np.array([int(model.joint(name).dofadr[0]) for name in spec.joint_names])
    qpos, qvel, start = data.qpos.copy(), np.zeros(model.nv), data.qpos.copy()
    torque = np.zeros(model.nv)
    errors, moved = [], 0.0
    for step in range(round(SWING_SECONDS / timestep)):
        torque[driven] = PUSH * spec.effort_limit * np.sin(2.0 * np.pi * step * timestep)
        data.qfrc_applied[:] = torque
        mujoco.mj_step(model, data)
        world.step(torque - model.dof_damping * qvel)
        world.read(qpos, qvel)
        errors.append(float(np.mean(np.square(qpos - data.qpos))))
        moved = max(moved, float(np.abs(qpos - start).max()))
    world.close()
    return {"rms": float(np.sqrt(np.mean(errors))), "moved": moved}


def standing(spec: RobotSpec) -> dict[str, dict[str, float]]:
    """Where the robot is after holding its home pose, by engine; and ms that a control tick took."""
    found = {}
    joints = {}
    for engine in SIMULATORS:
        robot = make_robot(spec, engine, noise=False)
        state = robot.reset(Start(spec.home), np.random.default_rng(0))
        ticks = round(STANDING_SECONDS * spec.control_rate)
        began = time.perf_counter()
        for _ in range(ticks):
            state = robot.step(JointCommand(spec.home))
        found[engine] = {"tick_ms": 1e3 * (time.perf_counter() - began) / ticks}
        joints[engine] = state.joint_position
        if state.base_position is not None:
            found[engine]["height"] = float(state.base_position[2])
            found[engine]["tilt"] = float(np.arccos(np.clip(-state.gravity[2], -1.0, 1.0)))
        if state.contacts is not None:
            found[engine]["weight"] = float(state.contacts.sum())
        robot.close()
    apart = joints["pybullet"] - joints["mujoco"]
    found["pybullet"]["joints_apart"] = float(np.sqrt(np.mean(np.square(apart))))
    return found


def policies(spec: RobotSpec, episodes: int) -> dict[str, dict[str, dict[str, float]]]:
    """What the robot's shipped policies do, by policy and engine."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, path in shipped_policies().items():
        contract = read_contract(path)
        if contract.robot.name != spec.name or contract.composition is not None:
            continue
        task = policy_task(contract, spec)
        policy = OnnxPolicy.load(path, robot=spec, layout=task.layout)
        found[name] = {}
        for engine in SIMULATORS:
            env = make_env(spec, task, backend=engine)
            result = evaluate(env, actor(policy), episodes)
            summary = result.summary()
            found[name][engine] = {
                "return": summary["return"],
                "completed": summary["completed"],
                "successes": summary["successes"],
                **summary["figures"],
            }
            env.close()
        found[name]["pybullet"]["share"] = found[name]["pybullet"]["return"] / found[name]["mujoco"]["return"]
    return found


def verdict(value: float, target: float) -> str:
    """Whether a figure is within its target."""
    return "" if value <= target else f"   missed: {target:g}"


def main() -> int:
    """Reads the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--robot", nargs="+", default=list(builtin_robots()), help="built-in robots [all]")
    parser.add_argument("--episodes", type=int, default=5, help="of each policy in each engine [5]")
    parser.add_argument("--timestep", type=float, default=1e-4, help="s, of the swing [0.0001]")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    for name in arguments.robot:
        spec = load_robot(name)
        result: dict[str, Any] = {"mass_matrix": mass_matrix_error(spec), "swing": swing(spec, arguments.timestep)}
        result |= {"standing": standing(spec), "policies": policies(spec, arguments.episodes)}
        results[name] = result
        if arguments.json:
            continue
        error, moved = result["swing"]["rms"], result["swing"]["moved"]
        print(name)
        print(f"  mass matrix   {result['mass_matrix']:.1e} relative{verdict(result['mass_matrix'], MASS_TARGET)}")
        print(f"  swing, 2 s    {error:.1e} rad RMS of {moved:.2f} rad of motion{verdict(error, SWING_TARGET)}")
        for engine, figures in result["standing"].items():
            print(f"  standing      {engine:9s}" + "   ".join(f"{key} {value:.4g}" for key, value in figures.items()))
        for policy, engines in result["policies"].items():
            for engine, figures in engines.items():
                shown = "   ".join(f"{key} {value:.3g}" for key, value in figures.items())
                print(f"  {policy:13s} {engine:9s}{shown}", flush=True)
    if arguments.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
