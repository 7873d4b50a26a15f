"""Learnt motors: the file, the fit, and how the simulation runs them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from robot_rl.actuator_network import ActuatorNetwork, read_actuator_network
from robot_rl.cli import main
from robot_rl.errors import ConfigurationError
from robot_rl.joint_log import JointLog
from robot_rl.robot import JointCommand, Start
from robot_rl.spec_file import load_robot
from robot_rl.training.actuator_fit import fit_actuator_network
from sim.mujoco_robot import MujocoRobot
from sim.randomization import Randomization

WHEEL = {"control_rate": 200, "joints.hinge.kd": 0.3, "joints.hinge.velocity": 5.0, "simulation.physics_rate": 1000}


def ideal(spec, interval=0.005, history=2):
    """A network that adds nothing."""
    return ActuatorNetwork(
        *(spec.name, spec.joint_names, interval, history),
        *(np.array(column) for column in (spec.kp, spec.kd, spec.effort_limit, spec.velocity_limit)),
        (np.zeros((2 * history, 4)), np.zeros((4, 1))),
        (np.zeros(4), np.zeros(1)),
        {},
    )


def robot_with(network, spec, folder, **terms):
    path = folder / "actuator.json"
    path.write_text(network.to_json())
    randomization = Randomization({"actuator_network": str(path), **terms}, spec)
    return reset(MujocoRobot(spec, noise=False, randomization=randomization))


def reset(robot, seed=0):
    robot.reset(Start(robot.spec.home), np.random.default_rng(seed))
    return robot


def excitation(count, seed):
    """Steps and swings, far and fast enough to saturate the motor."""
    rng = np.random.default_rng(seed)
    steps = np.repeat(rng.uniform(-2.0, 2.0, count // 100 + 1), 100)[:count]
    return (steps + 0.3 * np.sin(np.arange(count) * 0.02 * (1 + seed)))[:, None]


def play(robot, commands):
    return [robot.step(JointCommand(command)) for command in commands]


def log_of(robot, commands):
    """The command in force, and what was measured with it."""
    rows = []
    for command in commands:
        # The torque that a reading holds is that of the step that led to it; so all three are taken before a step.
        state = robot.data.qpos.copy(), robot.data.qvel.copy()
        after = robot.step(JointCommand(command))
        rows.append((command, *state, after.joint_effort))
    return JointLog(robot.spec.control_dt, *(np.array(column) for column in zip(*rows, strict=True)))


@pytest.mark.parametrize("name", ["go2", "wheel"])
def test_a_network_that_adds_nothing_is_the_ideal_motor(name, wheel, tmp_path):
    spec = wheel(WHEEL) if name == "wheel" else load_robot("go2")
    learnt, plain = robot_with(ideal(spec), spec, tmp_path), reset(MujocoRobot(spec, noise=False))
    commands = spec.home + np.random.default_rng(0).uniform(-0.3, 0.3, (40, spec.joints))
    for one, other in zip(play(learnt, commands), play(plain, commands), strict=True):
        assert one.joint_position == pytest.approx(other.joint_position, abs=1e-9)
        assert one.joint_effort == pytest.approx(other.joint_effort, abs=1e-7)


def test_the_file_keeps_every_digit(wheel, tmp_path):
    spec, rng = wheel(WHEEL), np.random.default_rng(0)
    network = replace(ideal(spec), weights=(rng.normal(size=(4, 4)), rng.normal(size=(4, 1))))
    path = tmp_path / "n.json"
    path.write_text(network.to_json())
    again = read_actuator_network(path, spec)
    error, velocity = rng.normal(size=(2, 7, 1)), rng.normal(size=(2, 7, 1))
    assert np.array_equal(again.torque(error, velocity), network.torque(error, velocity))
    # By hand: the law and what tanh layers add, within the limit.
    inputs = np.stack([*(spec.kp * error / 4.0)[..., 0], *(velocity / 5.0)[..., 0]], axis=-1)
    rest = np.tanh(inputs @ network.weights[0]) @ network.weights[1]
    expected = np.clip(np.clip(5.0 * error[1] - 0.3 * velocity[1], -4.0, 4.0) + 4.0 * rest, -4.0, 4.0)
    assert network.torque(error, velocity) == pytest.approx(expected)


def test_a_fitted_network_stands_for_a_motor_that_fades_with_speed(wheel, tmp_path):
    """The hidden motor has a torque-speed curve and 80 % of its strength; the fit sees commands and readings alone."""
    spec = wheel({**WHEEL, "control_rate": 1000})
    hidden = {"torque_speed": {"stall": 1.2, "no_load": 0.8}, "motor_strength": 0.8}
    true = reset(MujocoRobot(spec, noise=False, randomization=Randomization(hidden, spec)))
    network = fit_actuator_network(spec, [log_of(true, excitation(12000, 1))], history=1, hidden=(16, 16), steps=500)
    fit = network.fit
    assert fit["held_out_rms_N_m"] < 0.25 * fit["held_out_rms_without_network_N_m"]
    learnt, plain = robot_with(network, spec, tmp_path), reset(MujocoRobot(spec, noise=False))
    commands = excitation(1500, 5)
    paths = [np.array([s.joint_position for s in play(robot, commands)]) for robot in (reset(true), learnt, plain)]
    errors = [np.sqrt(np.mean((path - paths[0]) ** 2)) for path in paths[1:]]
    assert errors[0] < 0.25 * errors[1]


def test_a_restored_robot_with_a_learnt_motor_goes_on_exactly(wheel, tmp_path):
    spec, rng = wheel({**WHEEL, "control_rate": 50}), np.random.default_rng(0)
    network = replace(ideal(spec, history=3), weights=(0.3 * rng.normal(size=(6, 4)), 0.3 * rng.normal(size=(4, 1))))
    robot = robot_with(network, spec, tmp_path)
    commands = excitation(40, 2)
    play(robot, commands[:20])
    saved = robot.snapshot()
    expected = [state.joint_position for state in play(robot, commands[20:])]
    other = robot_with(network, spec, tmp_path)
    other.restore(saved)
    assert np.array_equal([state.joint_position for state in play(other, commands[20:])], expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"robot": "other"}, "fitted for robot 'other', not 'simple'"),
        ({"kp": [7.0]}, "other gains"),
        ({"weights": [[[0.0] * 4] * 3, [[0.0]] * 4]}, "wrong shapes"),
        ({"biases": [[0.0] * 4, ["much"]]}, "damaged"),
        ({"format": "else"}, "no actuator network"),
        ({"interval": 0.0007}, "no multiple"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(change, words, wheel, tmp_path):
    spec = wheel(WHEEL)
    path = tmp_path / "n.json"
    path.write_text(json.dumps({**json.loads(ideal(spec).to_json()), **change}))
    with pytest.raises(ConfigurationError, match=words) as caught:
        Randomization({"actuator_network": str(path)}, spec)
    assert str(path) in str(caught.value)


def test_a_learnt_motor_is_not_mixed_with_other_models_of_it(wheel, tmp_path):
    spec = wheel(WHEEL)
    with pytest.raises(ConfigurationError, match="no gains, torque_speed or battery"):
        robot_with(ideal(spec), spec, tmp_path, gains={"kp": 1.0, "kd": 1.0})


def test_the_command_fits_a_log_and_says_how_well(tmp_path, capsys):
    spec, rng = load_robot("planar_arm"), np.random.default_rng(0)
    error, velocity = rng.uniform(-0.2, 0.2, (2000, spec.joints)), rng.uniform(-1, 1, (2000, spec.joints))
    effort = 0.7 * (spec.kp * error - spec.kd * velocity)
    log, out = tmp_path / "log.npz", tmp_path / "arm.json"
    np.savez(log, interval=0.005, command=error, position=np.zeros_like(error), velocity=velocity, effort=effort)
    assert main(["actuator", "planar_arm", str(log), "--out", str(out), "--steps", "300", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["held_out_rms_N_m"] < 0.1 * found["held_out_rms_without_network_N_m"]
    assert read_actuator_network(out, spec).fit["samples"] == found["samples"]
    np.savez(log, interval=0.005, command=error)
    assert main(["actuator", "planar_arm", str(log), "--out", str(out)]) == 2
    assert "lacks position, velocity, effort" in capsys.readouterr().err
