"""What the doctor's passive checks say of readings with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hardware.checks import check_stance, passive_findings
from hardware.faults import Faults
from hardware.finding import Finding
from hardware.installation import both_installed
from hardware.window import Sample, TopicFacts, Window
from robot_rl import rotation
from robot_rl.spec_file import load_robot

GO2 = load_robot("go2")


@pytest.fixture(scope="module")
def healthy(standing: Callable[..., Any]) -> Window:
    return standing(GO2).window()


@pytest.fixture
def read_with(standing: Callable[..., Any]) -> Callable[[Faults], Window]:
    return lambda faults: standing(GO2, faults).window()


def changed(window: Window, name: str, change: Callable[[Sample], Any]) -> Window:
    """The window with every sample of a topic changed."""
    samples = {**window.samples, name: [change(sample) for sample in window.samples[name]]}
    return replace(window, samples=samples, _cache={})


def failures(window: Window) -> list[Finding]:
    return [finding for finding in passive_findings(window) if finding.verdict == "fail"]


def only(window: Window) -> Finding:
    (finding,) = failures(window)
    return finding


def test_a_healthy_robot_passes_every_check(healthy: Window) -> None:
    assert {finding.verdict for finding in passive_findings(healthy)} == {"ok"}


def test_degrees_are_told_by_their_range(read_with: Callable[[Faults], Window]) -> None:
    finding = only(read_with(Faults(degrees=True)))
    assert finding.check == "unit of positions"
    assert "degrees" in finding.found
    assert finding.blocks


def test_a_missing_joint_is_named(healthy: Window) -> None:
    def without(sample: Sample) -> Sample:
        value = sample.value
        keep = [k for k, name in enumerate(value.names) if name != "FR_calf_joint"]
        return sample._replace(value=type(value)(*(tuple(part[k] for k in keep) for part in value)))

    finding = only(changed(healthy, "joint_states", without))
    assert finding.check == "joint names"
    assert "missing: FR_calf_joint" in finding.found


def test_a_sign_that_puts_a_joint_outside_its_limits_is_explained(read_with: Callable[[Faults], Window]) -> None:
    finding = failures(read_with(Faults(flip=("FL_calf_joint",))))[0]
    assert finding.check == "limits"
    assert "FL_calf_joint counts the wrong way" in finding.advice


def test_a_sign_within_the_limits_shows_in_the_ground_under_the_feet(read_with: Callable[[Faults], Window]) -> None:
    finding = only(read_with(Faults(flip=("FR_thigh_joint",))))
    assert finding.check == "ground under the feet"
    assert "FR_thigh_joint counts the wrong way" in finding.advice


def test_exchanged_joints_of_two_kinds_show_in_limits_or_ground(read_with: Callable[[Faults], Window]) -> None:
    for swap in (("FL_thigh_joint", "FL_calf_joint"), ("FL_hip_joint", "RR_thigh_joint")):
        found = failures(read_with(Faults(swap=swap)))
        assert any(f"{swap[0]} and {swap[1]} are exchanged" in finding.advice for finding in found), found


def test_half_the_rate_fails_on_every_topic(healthy: Window) -> None:
    halved = replace(healthy, samples={n: s[::2] for n, s in healthy.samples.items()}, _cache={})
    found = failures(halved)
    assert len(found) == 6
    assert all("25 Hz" in f.found and "50 Hz" in f.expected for f in found)


def test_lost_messages_are_a_warning_and_not_a_wrong_rate(healthy: Window) -> None:
    keep = np.random.default_rng(0).random(len(healthy.samples["imu"])) > 0.25
    fewer = [s for s, k in zip(healthy.samples["imu"], keep, strict=True) if k]
    thinned = replace(healthy, samples={**healthy.samples, "imu": fewer}, _cache={})
    (finding,) = (f for f in passive_findings(thinned) if f.verdict != "ok")
    assert finding.verdict == "warn"
    assert "lost" in finding.found


def test_a_frozen_imu_fails(healthy: Window) -> None:
    first = healthy.samples["imu"][0].value
    found = failures(changed(healthy, "imu", lambda s: s._replace(value=first)))
    assert {"noise of angular_velocity", "noise of linear_acceleration"} <= {f.check for f in found}


def test_gravity_in_g_says_so(healthy: Window) -> None:
    def in_g(sample: Sample) -> Sample:
        linear = tuple(x / 9.81 for x in sample.value.linear_acceleration)
        return sample._replace(value=sample.value._replace(linear_acceleration=linear))

    assert "in g" in only(changed(healthy, "imu", in_g)).advice


def test_gravity_downwards_fails_by_its_direction(healthy: Window) -> None:
    def turned(sample: Sample) -> Sample:
        linear = tuple(-x for x in sample.value.linear_acceleration)
        return sample._replace(value=sample.value._replace(linear_acceleration=linear))

    finding = only(changed(healthy, "imu", turned))
    assert finding.check == "gravity's direction"
    assert "3.1" in finding.found


def with_orientation(window: Window, change: Callable[[np.ndarray], np.ndarray]) -> Window:
    """The same with other orientations, of which the driver tells the quaternion with w >= 0."""

    def told(sample: Sample) -> Sample:
        orientation = change(np.array(sample.value.orientation))
        orientation *= 1.0 if orientation[3] >= 0.0 else -1.0
        return sample._replace(value=sample.value._replace(orientation=tuple(orientation)))

    return changed(window, "imu", told)


def test_an_orientation_is_the_same_where_its_quaternion_changes_sign(healthy: Window) -> None:
    rng = np.random.default_rng(0)
    backwards = with_orientation(
        healthy, lambda q: rotation.multiply(rotation.from_yaw(np.pi + rng.normal(0.0, 1e-3)), q)
    )
    signs = np.sign(backwards.imu()[1][:, 2])
    assert 0.3 < (signs > 0.0).mean() < 0.7
    assert {finding.verdict for finding in passive_findings(backwards)} == {"ok"}


def test_an_orientation_that_does_not_rest_is_told(healthy: Window) -> None:
    rng = np.random.default_rng(0)

    def anywhere(_: np.ndarray) -> np.ndarray:
        drawn = rng.normal(size=4)
        return drawn / np.linalg.norm(drawn)

    finding = only(with_orientation(healthy, anywhere))
    assert finding.check == "orientation"
    assert "from reading to reading" in finding.found
    assert finding.blocks


@pytest.mark.parametrize(
    ("name", "swap"), [("go2", ()), ("go2", (2, 5)), ("minitaur", ()), ("minitaur", (0, 1))]
)  # exchanged are joints alike, of which no reading is out of its limits
def test_a_robot_that_has_sunk_is_not_bent_and_not_called_miswired(
    name: str, swap: tuple[int, ...], sunk: Callable[..., Any]
) -> None:
    spec = load_robot(name)
    faults = Faults(swap=tuple(spec.joint_names[j] for j in swap), way="readings")
    found = passive_findings(sunk(spec, faults).window())
    assert "wiring" not in {finding.check for finding in found}
    (stance,) = (finding for finding in found if finding.check == "stance")
    assert (stance.verdict, stance.blocks) == ("unknown", True)
    assert "restart" in stance.advice


def test_a_lifted_robot_and_a_single_fault_need_no_stance(healthy: Window) -> None:
    state = healthy.mean_state()
    assert state is not None
    hanging = replace(state, joint_position=GO2.home + 0.6, contacts=np.zeros(4))
    assert not list(check_stance(GO2, hanging))
    assert list(check_stance(GO2, replace(hanging, contacts=np.full(4, 2.0))))
    swapped = np.array(GO2.home)
    swapped[[0, 1]] = swapped[[1, 0]]
    assert not list(check_stance(GO2, replace(state, joint_position=swapped)))


def test_a_hand_far_from_home_needs_no_stance(standing: Callable[..., Any]) -> None:
    hand = load_robot("dclaw")
    state = standing(hand).window().mean_state()
    assert not list(check_stance(hand, replace(state, joint_position=hand.home + 0.6)))


def test_stamps_that_repeat_or_run_back_fail(healthy: Window) -> None:
    live = replace(healthy, lock_step=False, _cache={})
    back = changed(live, "imu", lambda s: s._replace(stamp=100.0 - s.stamp))
    assert any("run back" in f.found for f in failures(back))
    zero = changed(live, "imu", lambda s: s._replace(stamp=0.0))
    assert any(f.found == "all zero" for f in failures(zero))


def test_messages_that_are_old_on_arrival_are_a_warning(healthy: Window) -> None:
    spec = replace(GO2, ros=replace(GO2.ros, rate=50.0))
    live = replace(healthy, spec=spec, lock_step=False, _cache={})
    for name in live.samples:
        live = changed(live, name, lambda s: s._replace(age=0.2))
    (finding,) = (f for f in passive_findings(live) if f.verdict != "ok")
    assert (finding.check, finding.found, finding.verdict) == ("age on arrival", "200 ms", "warn")


def test_numbers_that_are_not_finite_or_too_few_fail(healthy: Window) -> None:
    def spoiled(sample: Sample) -> Sample:
        position = (float("nan"), *sample.value.position[1:])
        return sample._replace(value=sample.value._replace(position=position, velocity=()))

    found = only(changed(healthy, "joint_states", spoiled)).found
    assert "position of FL_hip_joint is nan" in found
    assert "0 numbers of velocity for 12 joints" in found


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (TopicFacts("/imu", "sensor_msgs/msg/Imu", (), ()), "no publisher; seen: /tf"),
        (TopicFacts("/imu", "sensor_msgs/msg/Imu", ("std_msgs/msg/String",), ("reliable",)), "std_msgs/msg/String"),
        (TopicFacts("/imu", "sensor_msgs/msg/Imu", ("sensor_msgs/msg/Imu",) * 2, ("reliable",) * 2), "2 publishers"),
    ],
)
def test_a_topic_that_is_not_as_it_should_be_fails(healthy: Window, facts: TopicFacts, said: str) -> None:
    spoiled = replace(healthy, facts={**healthy.facts, "imu": facts}, seen=["/tf"])
    assert any(said in finding.found and finding.blocks for finding in failures(spoiled))


def test_a_reliable_subscription_does_not_meet_a_best_effort_publisher(healthy: Window) -> None:
    spec = replace(GO2, ros=replace(GO2.ros, reliability="reliable"))
    facts = replace(healthy.facts["imu"], reliabilities=("best_effort",))
    spoiled = replace(healthy, spec=spec, facts={**healthy.facts, "imu": facts})
    assert "best_effort" in only(spoiled).found


def test_nobody_or_another_at_the_commands_fails(healthy: Window) -> None:
    assert only(replace(healthy, listeners=0)).found == "nobody listens"
    assert "policy commands already" in only(replace(healthy, commanders=["policy"])).found


def test_ros_sourced_beside_the_wheels_is_told() -> None:
    said = both_installed({"AMENT_PREFIX_PATH": "/opt/ros/jazzy"}, ["numpy", "ros-jazzy-rclpy"])
    assert "/opt/ros/jazzy" in said
    assert "ros-jazzy-rclpy" in said
    assert not both_installed({"AMENT_PREFIX_PATH": "/opt/ros/jazzy"}, ["numpy"])
    assert not both_installed({}, ["ros-jazzy-rclpy"])
