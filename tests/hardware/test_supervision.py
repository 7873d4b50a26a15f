"""Ramps, the supervisor of hardware, and real-time options."""

import gc
import os
import sys
import threading

import numpy as np
import pytest

from hardware.ramp import Ramp
from hardware.real_time import RealTime, real_time
from hardware.supervision import Supervision
from robot_rl.errors import InvalidInput
from robot_rl.robot import RobotState


def state_of(spec, height=0.3, **changes):
    values = {
        "stamp": 0.0,
        "joint_position": np.array(spec.home),
        "joint_velocity": np.zeros(spec.joints),
        "joint_effort": np.zeros(spec.joints),
        "orientation_xyzw": np.array([0.0, 0.0, 0.0, 1.0]),
        "base_position": np.array([0.0, 0.0, height]),
    }
    return RobotState(**{**values, **changes})


def supervision_of(robot_spec, **safety):
    lines = []
    spec = robot_spec("go2", {f"safety.{key}": value for key, value in safety.items()})
    return Supervision(spec, lambda level, line: lines.append((level, line))), lines


def test_ramp_ends_exactly_at_its_goal_and_is_nowhere_faster_than_told():
    first, last = np.array([0.0, 1.0, -0.3]), np.array([0.5, 0.2, -0.3])
    ramp = Ramp(first, last, speed=0.8, period=0.02, settle_time=0.1)
    targets = [first]
    while not ramp.finished:
        targets.append(ramp.next())
    speeds = np.abs(np.diff(targets, axis=0)) / 0.02
    assert targets[-1] == pytest.approx(last)
    assert speeds.max() <= 0.8 + 1e-9
    assert len(targets) - 1 == 50 + 5  # .8 rad at .8 rad/s, then .1 s


def test_ramp_of_no_length_is_one_tick_long():
    ramp = Ramp(np.ones(3), np.ones(3), speed=1.0, period=0.02)
    assert ramp.next() == pytest.approx(np.ones(3))
    assert ramp.finished


def test_clipped_command_is_counted_and_said_once(robot_spec):
    supervision, lines = supervision_of(robot_spec)
    spec = supervision.spec
    supervision.begin(spec.home)
    for _ in range(3):
        wanted = spec.home + 10.0
        applied = supervision.limit(wanted)
        assert np.all(applied <= spec.upper)
        supervision.check(state_of(spec), 0.0)
    assert supervision.counts["joint_position"] == 3
    assert [level for level, _ in lines] == ["warn"] * len(lines)
    assert len([line for _, line in lines if line.startswith("joint_position: command of ")]) == 1
    assert not supervision.stopped


def test_fall_stops_and_the_reason_has_both_numbers(robot_spec):
    supervision, lines = supervision_of(robot_spec, tilt="stop")
    supervision.begin(supervision.spec.home)
    tilted = np.array([np.sin(0.75), 0.0, 0.0, np.cos(0.75)])  # by 1.5 rad
    supervision.check(state_of(supervision.spec, orientation_xyzw=tilted), 0.0)
    assert supervision.stopped == "tilted by 1.50 rad, allowed 1"
    assert lines == [("stop", "stopped (tilt): tilted by 1.50 rad, allowed 1")]


def test_stop_stays_until_reset_and_keeps_its_first_reason(robot_spec):
    supervision, _ = supervision_of(robot_spec)
    assert supervision.stop("emergency_stop", "first")
    assert not supervision.stop("tilt", "second")
    supervision.begin(supervision.spec.home)
    assert supervision.stopped == "first"
    assert supervision.reset() == "first"
    assert not supervision.stopped


def test_of_many_threads_that_stop_one_is_the_first(robot_spec):
    supervision, lines = supervision_of(robot_spec)
    found = []
    threads = [
        threading.Thread(target=lambda k=k: found.append(supervision.stop("emergency_stop", str(k)))) for k in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == 1
    assert len(lines) == 1


def test_low_base_matters_only_while_the_policy_moves_it(robot_spec):
    supervision, _ = supervision_of(robot_spec, height="stop", height_limit=0.2)
    low = state_of(supervision.spec, height=0.1)
    supervision.begin(supervision.spec.home)
    supervision.check(low, 0.0, moving=False)
    assert not supervision.stopped
    supervision.check(low, 0.0, moving=True)
    assert supervision.stopped == "base at 0.100 m, allowed from 0.2"


@pytest.mark.parametrize(("response", "stops"), [("off", False), ("warn", False), ("stop", True)])
def test_late_tick_does_as_the_file_says(response, stops, robot_spec):
    supervision, _ = supervision_of(robot_spec, late_tick=response)
    supervision.begin(supervision.spec.home)
    supervision.check(state_of(supervision.spec), late=0.019)
    assert supervision.counts["late_tick"] == 0
    supervision.check(state_of(supervision.spec), late=0.021)
    assert bool(supervision.stopped) == stops
    assert supervision.counts["late_tick"] == (response != "off")


@pytest.mark.parametrize("temperature", [80.1, np.nan])
def test_hot_or_unreadable_motor_stops(temperature, robot_spec):
    supervision, _ = supervision_of(robot_spec)
    supervision.check_temperature("FL_hip_joint", 80.0)
    assert not supervision.stopped
    supervision.check_temperature("FL_hip_joint", temperature)
    assert "motor of FL_hip_joint" in supervision.stopped


def test_command_that_is_not_finite_is_never_passed_on(robot_spec):
    supervision, _ = supervision_of(robot_spec)
    with pytest.raises(InvalidInput, match="not finite"):
        supervision.limit(np.full(12, np.nan))


def test_real_time_options_end_with_the_loop():
    interval, collecting = sys.getswitchinterval(), gc.isenabled()
    with real_time(RealTime(priority=5, lock_memory=True, pause_collector=True)) as warnings:
        assert not gc.isenabled()
        permitted = os.sched_getscheduler(0) == os.SCHED_FIFO
        assert permitted != any("no real-time priority 5" in warning for warning in warnings)
    assert gc.isenabled() == collecting
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert sys.getswitchinterval() == interval
