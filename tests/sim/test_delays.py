"""Delays are in seconds, losses are as likely as they say, ticks come when they should, and logs are replayed."""

import numpy as np
import pytest
from scipy.stats import binom

from robot_rl.errors import ConfigurationError
from robot_rl.robot import JointCommand, Start
from robot_rl.timing import TimingLog, read_timing
from sim.mujoco_robot import MujocoRobot
from sim.randomization import Randomization
from tests.sim.conftest import WHEEL_INERTIA

TORQUE = 2.0


def make(spec, seed=0, **terms):
    robot = MujocoRobot(spec, noise=False, randomization=Randomization(terms, spec))
    robot.reset(Start(spec.home), np.random.default_rng(seed))
    return robot


def free(robot, mode="effort"):
    """The wheel without damping, its command a torque."""
    robot.model.dof_damping[:] = 0.0
    robot.drive(mode)
    return robot


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.0075, 0.02, 0.0333])
def test_a_torque_acts_after_the_delay_to_the_microsecond(delay, wheel):
    robot = free(make(wheel(), actuation_delay=delay))
    for _ in range(5):
        state = robot.step(JointCommand(np.array([TORQUE])))
    # w = tau / I (t - d), though a delay may end between two steps of 1 ms.
    assert state.joint_velocity[0] == pytest.approx(TORQUE / WHEEL_INERTIA * (0.1 - delay), rel=1e-9)


@pytest.mark.parametrize("delay", [0.003, 0.0105, 0.02, 0.047])
def test_a_reading_is_as_old_as_the_delay(delay, wheel):
    robot = free(make(wheel(), observation_delay=delay), "limp")
    robot.data.qvel[0] = 3.0
    for tick in range(1, 8):
        state = robot.step(JointCommand(np.zeros(1)))
        now = 0.02 * tick
        measured = max(0.0, now - delay)
        assert state.stamp == pytest.approx(measured)
        if measured > 0.002:  # the reading after the reset was made before we turned the wheel
            assert state.joint_position[0] == pytest.approx(3.0 * measured, abs=1e-9)


def test_both_delays_add_up_to_the_shift_of_the_response(wheel):
    changes = {"control_rate": 1000, "joints.hinge.kd": 0.3}
    spec, shift = wheel(changes), 30
    commands = 0.3 * np.sin(np.arange(300) * 0.03)

    def response(robot):
        return [robot.step(JointCommand(np.array([c]))).joint_position[0] for c in commands]

    prompt = response(make(spec))
    late = response(make(spec, actuation_delay=0.021, observation_delay=0.009))
    assert late[shift:] == pytest.approx(prompt[:-shift], abs=1e-9)


def test_commands_are_lost_as_often_as_they_should_be(wheel):
    ticks, share = 600, 0.1
    robot = free(make(wheel(), actuation_delay={"delay": 0.0, "drop": share}))
    lost = 0
    for tick in range(ticks):
        robot.step(JointCommand(np.array([0.001 * (tick + 1)])))
        lost += robot.data.ctrl[0] != 0.001 * (tick + 1)
    low, high = binom.interval(0.9999, ticks, share)
    assert low <= lost <= high


def test_lost_readings_leave_the_one_before(wheel):
    ticks, share = 600, 0.2
    robot = make(wheel(), observation_delay={"drop": share})
    stamps = [robot.step(JointCommand(np.zeros(1))).stamp for _ in range(ticks)]
    low, high = binom.interval(0.9999, ticks, share)
    assert low <= np.count_nonzero(np.diff([0.0, *stamps]) == 0.0) <= high
    assert set(np.round(np.array(stamps) / 0.02, 6) % 1.0) <= {0.0}  # and those that came are of their tick


def test_jitter_makes_a_delay_differ_from_tick_to_tick_and_order_is_kept(wheel):
    robot = make(wheel(), observation_delay={"delay": 0.03, "jitter": [0.0, 0.04]})
    ticks = 500
    stamps = np.array([robot.step(JointCommand(np.zeros(1))).stamp for _ in range(ticks)])
    ages = 0.02 * np.arange(1, ticks + 1) - stamps
    assert (np.diff(stamps) >= 0.0).all()
    assert ages[10:].min() >= 0.03 - 1e-9
    assert ages[10:].max() <= 0.07 + 1e-9
    assert ages[10:].std() > 0.005


def test_an_overtaken_command_never_acts(wheel):
    robot = free(make(wheel(), actuation_delay={"delay": 0.0, "jitter": {"choice": [0.0, 0.05]}}))
    newest = 0.0
    for tick in range(200):
        robot.step(JointCommand(np.array([0.001 * (tick + 1)])))
        assert robot.data.ctrl[0] >= newest
        newest = robot.data.ctrl[0]
    assert newest > 0.19


def test_late_ticks_keep_their_absolute_deadlines(wheel):
    robot = make(wheel(), period_jitter=[0.0, 0.008])
    stamps = np.array([robot.step(JointCommand(np.zeros(1))).stamp for _ in range(500)])
    late = stamps - 0.02 * np.arange(1, 501)
    assert late.min() >= -0.0005
    assert late.max() <= 0.0085
    assert late.mean() == pytest.approx(0.004, abs=0.0005)
    assert np.diff(stamps).std() > 0.002


# -- measured logs ----------------------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path):
    """A log of 200 ticks at 50 Hz, written by the log that real loops keep."""
    rng = np.random.default_rng(3)
    kept = TimingLog()
    for _ in range(200):
        kept.add(0.02 + rng.uniform(-0.004, 0.004), rng.uniform(0.001, 0.006), rng.uniform(0.0, 0.012))
    path = tmp_path / "timing.csv"
    path.write_text(kept.trace().to_csv())
    return path


def test_a_log_is_replayed_tick_by_tick(log, wheel):
    trace = read_timing(log)
    robot = free(make(wheel(), timing={"log": str(log)}))
    begin, before = int(robot.drawn["timing.start"]), 0.0
    rows = [(begin + i) % 200 for i in range(300)]  # further than the log is long
    due = np.cumsum(trace.period[rows])
    for row, moment in zip(rows, due, strict=True):
        state = robot.step(JointCommand(np.zeros(1)))
        now = robot.data.time
        assert now == pytest.approx(moment, abs=0.00051)  # to the step of the physics
        # As old as it was measured, unless a newer reading had come already.
        assert state.stamp == pytest.approx(max(now - trace.state_age[row], before))
        before = state.stamp


def test_the_work_of_the_policy_delays_its_command(log, wheel):
    trace = read_timing(log)
    robot = free(make(wheel(), timing={"log": str(log)}))
    row = int(robot.drawn["timing.start"])
    robot.step(JointCommand(np.array([TORQUE])))
    expected = TORQUE / WHEEL_INERTIA * (robot.data.time - trace.compute[row])
    assert robot.data.qvel[0] == pytest.approx(expected, rel=1e-9)


def test_a_log_keeps_its_order_when_it_is_full():
    kept = TimingLog(capacity=5)
    for tick in range(8):
        kept.add(0.02 + 0.001 * tick, 0.0, 0.0)
    assert kept.trace().period == pytest.approx(0.02 + 0.001 * np.arange(3, 8))
    assert TimingLog().trace().period.size == 0


def test_a_log_of_another_rate_is_refused(log, wheel):
    with pytest.raises(ConfigurationError, match=r"recorded at [45].* Hz, robot 'simple' is controlled at 100 Hz"):
        Randomization({"timing": {"log": str(log)}}, wheel({"control_rate": 100}))


def test_a_log_that_changed_is_noticed(log, wheel):
    spec = wheel()
    settings = Randomization({"timing": {"log": str(log)}}, spec).settings
    Randomization(settings, spec)
    log.write_text(log.read_text().replace("0.02", "0.021", 3))
    with pytest.raises(ConfigurationError, match="has changed since"):
        Randomization(settings, spec)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no ticks"),
        ("compute\n0.1\n", "no column 'period'"),
        ("period\nsoon\n", "column 'period'"),
        ("period\n0.02\n-0.01\n", "-0.01 s is no time"),
        ("period,state_age\n0.02,nan\n", "nan s is no time"),
    ],
)
def test_a_damaged_log_is_named(text, words, tmp_path):
    path = tmp_path / "timing.csv"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_timing(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
