"""Hidden numbers come back from logs alone; what a log does not tell is said, with the reason."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import yaml

from robot_rl.errors import CheckFailed, ConfigurationError, UnknownName
from robot_rl.motion_recording import record_motion
from robot_rl.spec_file import load_robot
from sim.channels import CommandChannel
from sim.excitation import held_motion, standing_motion
from sim.identification import identify
from sim.identification_replay import Replay
from sim.identified_terms import terms_of, to_yaml
from sim.mujoco_model import compile_model, held_spec
from sim.mujoco_robot import MujocoRobot
from sim.randomization import Randomization, load_randomization

HIDDEN = {
    "damping": {"value": {"hinge": 0.4}},
    "friction_loss": {"value": {"hinge": 0.25}},
    "armature": {"value": {"hinge": 0.05}},
    "gains": {"kp": {"hinge": 1.1}, "kd": 1.0},
    "actuation_delay": {"delay": 0.0134},
    "observation_delay": {"delay": 0.0061},
}
TRUTH = {
    "damping.hinge": 0.4,
    "friction_loss.hinge": 0.25,
    "armature.hinge": 0.05,
    "gains.kp.hinge": 1.1,
    "actuation_delay.delay": 0.0134,
    "observation_delay.delay": 0.0061,
}


def recorded(spec, hidden, seconds=14.0, noise=True, seed=1, amplitude=1.0):
    robot = MujocoRobot(spec, noise=noise, randomization=Randomization(hidden, spec) if hidden else None)
    commands = held_motion(spec, seconds, amplitude, seed)
    return record_motion(robot, commands, "held", np.random.default_rng(seed))


@pytest.fixture
def hinge(wheel):
    """A wheel on a hinge whose motor's controller has some damping, and whose velocity is noisy."""
    joint = {"lower": -3.0, "upper": 3.0, "velocity": 20.0, "effort": 6.0, "home": 0.0, "kp": 8.0, "kd": 0.5}
    return wheel({"joints.hinge": joint, "sensors.joint_velocity": {"noise": 0.1}, "simulation.physics_rate": 200})


def test_commands_reach_a_replay_as_they_reach_a_randomised_robot():
    """Against the channel that carries them in training, for delays of any length."""
    spec = load_robot("planar_arm")
    robot = MujocoRobot(spec, noise=False)
    log = record_motion(robot, held_motion(spec, 8.0), "held", np.random.default_rng(0))
    replay = Replay(spec, log, {"actuation_delay": {"delay": 0.0}})
    dt = spec.simulation.physics_dt
    for delay in (0.0, 0.3 * dt, 2.0 * dt, 3.7 * dt):
        channel = CommandChannel()
        channel.begin(log.command[0])
        for sent, command in zip(log.sent, log.command, strict=True):
            channel.send(command, sent + delay)
        edges = replay._edges
        wanted = [channel.over(a, b) for a, b in pairwise(edges)]
        np.testing.assert_allclose(replay.controls(delay), wanted, atol=1e-9)


@pytest.mark.parametrize("name", ["go2", "planar_arm"])
def test_a_replay_with_the_true_numbers_is_the_motion(name):
    spec = held_spec(load_robot(name))
    hidden = {"damping": {"add": 0.05}, "actuation_delay": {"delay": 0.013}, "observation_delay": {"delay": 0.0042}}
    log = recorded(spec, hidden, seconds=8.0, noise=False, amplitude=0.3)
    replay = Replay(load_robot(name), log, {"damping": {"add": 0.05}, "actuation_delay": {"delay": 0.013}})
    n = spec.joints
    error = replay.motion({}) - replay.measured
    assert np.abs(error[:, :n]).max() < 1e-5
    assert np.abs(replay.motion({"actuation_delay.delay": 0.0}) - replay.measured)[:, :n].max() > 1e-3


def test_hidden_numbers_of_a_joint_are_found_within_their_intervals(hinge):
    found = identify(hinge, [recorded(hinge, HIDDEN)])
    for name, truth in TRUTH.items():
        one = found[name]
        assert one.identified, one.reason
        assert one.value == pytest.approx(truth, rel=0.1), name
        assert abs(one.value - truth) <= 4.0 * one.deviation + 1e-9, name
    assert abs(found["actuation_delay.delay"].value - 0.0134) < 2e-3
    for one in found.validation:
        assert one.after <= one.before
        if one.noise:
            assert one.after == pytest.approx(one.noise, rel=0.15)


def test_the_stated_intervals_hold_the_truth(hinge):
    """Without torques, where sensor noise is all that stands between the log and the truth."""
    hidden = {name: HIDDEN[name] for name in ("damping", "friction_loss", "actuation_delay")}
    kinds, scores = list(hidden), []
    for seed in range(6):
        log = replace(recorded(hinge, hidden, seed=seed), effort=None)
        found = identify(hinge, [log], kinds)
        scores += [(one.value - TRUTH[one.name]) / one.deviation for one in found.found if one.identified]
    assert len(scores) == 18
    # Of 18 standard normal numbers: their spread, and none far out.
    assert 0.5 < np.std(scores) < 1.6
    assert np.mean(np.abs(scores) < 1.96) >= 0.8


def test_without_torques_damping_of_joint_and_controller_act_alike_and_it_is_said(hinge):
    log = replace(recorded(hinge, HIDDEN), effort=None)
    found = identify(hinge, [log], ["damping", "gains", "friction_loss"])
    kd = found["gains.kd.hinge"]
    assert not kd.identified
    assert "collinear" in kd.reason
    assert "damping.hinge" in kd.reason
    assert np.isnan(kd.value)
    # With the controller's damping in doubt the joint's own is no more certain than that.
    damping = found["damping.hinge"]
    assert not damping.identified or damping.deviation > 0.02


def test_gains_are_taken_from_the_file_where_no_torques_were_measured(hinge):
    found = identify(hinge, [replace(recorded(hinge, HIDDEN), effort=None)])
    assert not any(one.name.startswith("gains") for one in found.found)


def test_motor_strength_and_gains_are_told_apart_by_nothing(hinge):
    with pytest.raises(CheckFailed, match=r"motor_strength.hinge: collinear: in this motion it acts like gains.kp"):
        identify(hinge, [recorded(hinge, HIDDEN)], ["motor_strength", "gains"])


def test_the_curve_of_motors_is_found_where_they_reach_it_and_only_there(hinge):
    curve = {"torque_speed": {"stall": 0.7, "no_load": 0.12}}
    fast = record_motion(
        MujocoRobot(hinge, randomization=Randomization(curve, hinge)),
        np.where(np.sin(2.2 * np.arange(700) / 50.0) > 0, 2.0, -2.0)[:, None] * (np.arange(700) > 60)[:, None],
        "held",
        np.random.default_rng(0),
    )
    found = identify(hinge, [fast], ["torque_speed"])
    assert found["torque_speed.stall"].value == pytest.approx(0.7, rel=0.05)
    assert found["torque_speed.no_load"].value == pytest.approx(0.12, rel=0.05)
    with pytest.raises(CheckFailed, match=r"torque_speed.stall: too little motion"):
        identify(hinge, [recorded(hinge, {}, amplitude=0.2)], ["torque_speed"])


def test_payload_and_where_it_sits_are_found_on_the_feet():
    spec = load_robot("go2")
    hidden = {"payload": {"kg": 2.0}, "center_of_mass": {"meters": {"base.x": 0.02, "base.y": -0.01}}}
    robot = MujocoRobot(spec, randomization=Randomization(hidden, spec))
    log = record_motion(robot, standing_motion(spec, 12.0), "standing", np.random.default_rng(0))
    found = identify(spec, [log], ["payload", "center_of_mass"])
    assert found["payload.kg"].value == pytest.approx(2.0, rel=0.05)
    assert found["center_of_mass.base.x"].value == pytest.approx(0.02, abs=2e-3)
    assert found["center_of_mass.base.y"].value == pytest.approx(-0.01, abs=2e-3)


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(None, id="by default", marks=pytest.mark.long),
        pytest.param(["actuation_delay", "payload"], id="asked for"),
    ],
)
def test_on_its_feet_a_robot_of_unknown_friction_does_not_tell_its_delay(kinds):
    """Friction and damping of half as much again make it follow as late as 20 ms more would."""
    spec = load_robot("go2")
    hidden = {"actuation_delay": {"delay": 0.012}, "friction_loss": {"ratio": 1.5}, "damping": {"ratio": 1.5}}
    robot = MujocoRobot(spec, randomization=Randomization(hidden, spec))
    log = record_motion(robot, standing_motion(spec, 8.5), "standing", np.random.default_rng(0))
    found = identify(spec, [log], kinds)
    delay = found["actuation_delay.delay"]
    assert not delay.identified
    assert "acts like friction_loss and damping" in delay.reason
    assert "held" in delay.reason
    known = [one for one in found.found if one.identified]
    assert "payload.kg" in [one.name for one in known]
    assert all(one.low <= one.nominal <= one.high for one in known)  # the rest is as in the robot's file
    assert "actuation_delay" not in terms_of(found, spec)


def test_without_stamps_only_the_sum_of_both_delays_is_known(hinge):
    log = recorded(hinge, HIDDEN)
    ticks = 0.02 * np.arange(len(log.time))
    # What a program knows whose robot has a clock of its own: when readings came, not when they were measured.
    unstamped = replace(log, time=ticks, age=None)
    found = identify(hinge, [unstamped])
    assert not found["observation_delay.delay"].identified
    assert "collinear" in found["observation_delay.delay"].reason
    assert found["actuation_delay.delay"].value == pytest.approx(0.0134 + 0.0061, abs=2e-3)


def test_a_delay_is_found_where_it_is_the_only_unknown(hinge):
    log = recorded(hinge, {"actuation_delay": {"delay": 0.0134}})
    found = identify(hinge, [log], ["actuation_delay"])
    assert [one.name for one in found.found] == ["actuation_delay.delay"]
    delay = found["actuation_delay.delay"]
    assert delay.value == pytest.approx(0.0134, abs=1e-4)
    assert delay.low <= 0.0134 <= delay.high


def test_the_delay_of_the_readings_is_found_without_any_motion(hinge):
    log = recorded(hinge, {"observation_delay": {"delay": 0.0061}})
    for one in (log, replace(log, command=np.zeros_like(log.command))):
        found = identify(hinge, [one], ["observation_delay"])
        assert found["observation_delay.delay"].value == pytest.approx(0.0061, abs=1e-5)
        assert terms_of(found, hinge, fixed=True) == {"observation_delay": {"delay": pytest.approx(0.0061, abs=1e-5)}}
        assert found.validation == ()
    with pytest.raises(CheckFailed, match=r"nothing can be identified.*observation_delay.delay: collinear"):
        identify(hinge, [replace(log, age=None)], ["observation_delay"])


def test_readings_that_are_late_by_rounding_alone_are_on_time(hinge):
    log = recorded(hinge, {})
    assert log.age is not None
    found = identify(hinge, [log], ["damping", "observation_delay"])
    delay = found["observation_delay.delay"]
    assert delay.identified
    assert (delay.value, delay.low, delay.high) == (0.0, 0.0, 0.0)
    assert terms_of(found, hinge).keys() == {"damping"}


def test_a_robot_that_does_not_move_is_refused_with_what_cannot_be_known(hinge):
    log = recorded(hinge, {})
    still = replace(log, command=np.zeros_like(log.command))
    with pytest.raises(CheckFailed, match=r"too little motion.*hinge.*friction_loss, armature, damping"):
        identify(hinge, [still])


def test_a_joint_that_stays_is_named_while_the_others_are_identified():
    spec = load_robot("planar_arm")
    commands = held_motion(spec, 12.0)
    commands[:, 0] = spec.home[0]
    robot = MujocoRobot(spec)
    log = record_motion(robot, commands, "held", np.random.default_rng(0))
    found = identify(spec, [log], ["friction_loss"])
    still, moving = (found[f"friction_loss.{name}"] for name in (spec.joint_names[0], spec.joint_names[1]))
    assert not still.identified or still.deviation > moving.deviation
    assert moving.identified


def test_what_is_asked_for_must_exist_and_apply(hinge):
    log = recorded(hinge, {}, seconds=8.0)
    with pytest.raises(UnknownName, match=r"unknown parameter 'masses'; allowed: actuation_delay, .*payload"):
        identify(hinge, [log], ["masses"])
    with pytest.raises(ConfigurationError, match="payload: robot 'simple' has no part"):
        identify(hinge, [log], ["payload"])
    with pytest.raises(ConfigurationError, match="not of 'go2'"):
        identify(load_robot("go2"), [log])
    with pytest.raises(ConfigurationError, match="expected at least 3 s"):
        identify(hinge, [log.part(0.0, 4.0)])


def test_the_file_is_read_by_training_and_draws_what_was_found(hinge, tmp_path):
    found = identify(hinge, [recorded(hinge, HIDDEN)])
    path = tmp_path / "identified.yaml"
    path.write_text(to_yaml(found, hinge, "a log"))
    varied = load_randomization(str(path), hinge)
    robot = MujocoRobot(hinge, randomization=varied)
    from robot_rl.robot import Start

    rng, drawn = np.random.default_rng(0), []
    for _ in range(300):
        robot.reset(Start(hinge.home), rng)
        drawn.append(dict(robot.drawn))
    for name in ("damping.hinge", "friction_loss.hinge", "gains.kp.hinge", "actuation_delay.delay"):
        values = [one[name] for one in drawn]
        assert np.mean(values) == pytest.approx(found[name].value, rel=0.02)
        assert np.std(values) == pytest.approx(found[name].deviation, rel=0.25)
    fixed = terms_of(found, hinge, fixed=True)
    assert fixed["damping"]["value"]["hinge"] == pytest.approx(found["damping.hinge"].value, rel=1e-4)
    assert yaml.safe_load(path.read_text()).keys() >= {"damping", "friction_loss", "actuation_delay"}


def test_a_held_robot_is_the_robot_without_its_free_joint():
    spec = load_robot("go2")
    model, held = compile_model(spec), compile_model(held_spec(spec))
    assert (model.nv, held.nv) == (18, 12)
    np.testing.assert_array_equal(held.dof_damping, model.dof_damping[6:])
    np.testing.assert_array_equal(held.actuator_gainprm, model.actuator_gainprm)
    assert held_spec(load_robot("dclaw")) is not None
    assert compile_model(held_spec(load_robot("dclaw"))).nv == compile_model(load_robot("dclaw")).nv


def test_without_the_engine_it_is_said_which_extra_to_install():
    script = (
        "import sys; sys.modules['mujoco'] = None; from robot_rl.cli import main; "
        "sys.exit(main(['excite', 'dclaw', '--out', 'x.npz']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'mujoco' is not installed" in done.stderr
    assert "'train'" in done.stderr
