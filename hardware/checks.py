"""The doctor's checks of what a robot tells without being moved: pure functions over a window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hardware.finding import Finding, joints_named, judged
from hardware.window import Window
from robot_rl.robot import RobotState
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]

_GRAVITY = 9.81
_FEET_APART = 0.03
"""m, between the ground under the feet as the joints and the IMU have it, from which the posture cannot be right."""
_FITS = 0.02
"""m, the same, up to which a wiring would explain the posture."""
_FAR = 0.5
"""rad (m) that a joint may be away from home and still count as near it."""
_BEYOND = 0.1
"""rad beyond a limit that a reading may be: stops are soft, encoders are set by hand."""


def passive_findings(window: Window) -> list[Finding]:
    """All of them, in the order in which a person would put things right."""
    found = [*check_topics(window), *check_commands(window)]
    if not window.samples.get("joint_states"):
        return found
    found += [*check_names(window), *check_numbers(window)]
    found += [*check_rates(window), *check_stamps(window)]
    state = window.mean_state()
    if state is None or any(finding.blocks for finding in found):
        return found
    found += check_ranges(window.spec, state)
    units_wrong = any(finding.blocks for finding in found)
    found += [*check_noise(window), *check_imu(window, state)]
    return found if units_wrong else [*found, *check_ground(window.spec, state), *check_stance(window.spec, state)]


def check_topics(window: Window) -> Iterator[Finding]:
    """Whether every topic is there, of the right type, and can be heard."""
    for name, fact in window.facts.items():
        here = f"topic {fact.topic}"
        others = sorted(set(fact.types) - {fact.wanted})
        if not fact.types:
            around = f"seen: {', '.join(window.seen)}" if window.seen else "no topics seen at all"
            advice = "is the robot on, ROS_DOMAIN_ID the same on both sides, the name in the robot's file right?"
            yield Finding(here, f"no publisher; {around}", fact.wanted, "fail", advice, blocks=True)
        elif others:
            advice = "another robot, or another driver? change the topic's name in the robot's file"
            yield Finding(here, others[0], fact.wanted, "fail", advice, blocks=True)
        elif window.spec.ros.reliability == "reliable" and "best_effort" in fact.reliabilities:
            advice = "set ros.reliability: best_effort in the robot's file"
            yield Finding(here, "sends best_effort", "reliable, as ros.reliability asks", "fail", advice, blocks=True)
        elif not window.samples.get(name):
            advice = "is the driver running? a firewall, or another network interface?"
            yield Finding(here, "a publisher, and no message", fact.wanted, "fail", advice, blocks=True)
        elif len(fact.types) > 1:
            advice = "two drivers, or a twin beside the robot? end one"
            yield Finding(here, f"{len(fact.types)} publishers", "one", "fail", advice, blocks=True)
        else:
            yield Finding(here, fact.wanted.split("/")[-1], fact.wanted.split("/")[-1], "ok")


def check_commands(window: Window) -> Iterator[Finding]:
    """Whether somebody takes commands, and nobody else gives them."""
    if window.commanders:
        advice = "end it first: two programs that command one robot shake it to pieces"
        yield Finding("commands", f"{window.commanders[0]} commands already", "nobody", "fail", advice, blocks=True)
    elif not window.listeners:
        advice = "is the controller active (ros2 control list_controllers), and its topic ros.command_topic?"
        yield Finding("commands", "nobody listens", "a controller", "fail", advice, blocks=True)
    else:
        yield Finding("commands", "a controller listens", "a controller", "ok")


def check_names(window: Window) -> Iterator[Finding]:
    """Whether the messages name the robot's joints, each once."""
    wanted = window.spec.joint_names
    given = list(dict.fromkeys(name for s in window.samples["joint_states"] for name in s.value.names))
    lacking = [n for n in wanted if not all(n in s.value.names for s in window.samples["joint_states"])]
    twice = [n for n in given if any(s.value.names.count(n) > 1 for s in window.samples["joint_states"])]
    extra = [name for name in given if name not in wanted]
    expected = f"{len(wanted)} joints"
    if lacking:
        found = f"missing: {joints_named(lacking)}" + (f"; there are: {joints_named(extra)}" if extra else "")
        advice = "a driver that lost a motor, another robot, or other names in the robot's file?"
        yield Finding("joint names", found, expected, "fail", advice, blocks=True)
    if twice:
        yield Finding("joint names", f"twice: {joints_named(twice)}", "each once", "fail", "two drivers?", blocks=True)
    if not lacking and not twice:
        more = f", and {joints_named(extra)}" if extra else ""
        yield Finding("joint names", f"all {len(wanted)}{more}", expected, "note" if extra else "ok")


def check_numbers(window: Window) -> Iterator[Finding]:
    """Whether arrays are whole and numbers finite."""
    bad: dict[str, None] = {}
    for sample in window.samples["joint_states"]:
        value = sample.value
        for label in ("position", "velocity", "effort"):
            numbers = getattr(value, label)
            if len(numbers) != len(value.names) and not (label == "effort" and not numbers):
                bad[f"{len(numbers)} numbers of {label} for {len(value.names)} joints"] = None
            else:
                bad |= {
                    f"{label} of {name} is {x}": None
                    for name, x in zip(value.names, numbers, strict=False)
                    if not math.isfinite(x)
                }
    for sample in window.samples.get("imu", ()):
        if not all(math.isfinite(x) for part in sample.value for x in part):
            bad["an IMU reading is not finite"] = None
    advice = "a broken encoder or driver"
    finding = judged(not bad, "numbers", joints_named(bad, 2) or "whole and finite", "whole and finite", advice)
    yield Finding(**{**finding.to_dict(), "blocks": bool(bad)})


def check_rates(window: Window) -> Iterator[Finding]:
    """How often each topic comes, by its own stamps, and how much is lost."""
    spec = window.spec
    told = spec.ros.rate if not window.lock_step else spec.control_rate
    for name, samples in window.samples.items():
        stamps = np.unique([s.stamp for s in samples])
        check = f"rate of {window.facts[name].topic}"
        if len(stamps) < 5:
            yield Finding(check, "too few messages to tell", "", "unknown")
            continue
        period = float(np.median(np.diff(stamps)))
        rate = 1.0 / period
        wanted = told if told is not None else spec.control_rate
        expected = f"{wanted:g} Hz" if told is not None else f"at least {wanted:g} Hz (control_rate)"
        lost = 1.0 - (len(stamps) - 1) * period / float(stamps[-1] - stamps[0])
        enough = rate > 0.75 * wanted and (told is None or rate < 1.5 * wanted)
        if not enough:
            advice = "set the driver's rate; or ros.rate in the robot's file, if this is what it should be"
            yield Finding(check, f"{rate:.0f} Hz", expected, "fail", advice)
        elif lost > 0.1:
            advice = "a slow computer, a poor network, or queues that overflow"
            yield Finding(check, f"{rate:.0f} Hz, {lost:.0%} lost", expected, "warn", advice)
        else:
            yield Finding(check, f"{rate:.0f} Hz", expected, "ok")


def check_stamps(window: Window) -> Iterator[Finding]:
    """Whether stamps go on, and how old messages are on arrival."""
    for name, samples in window.samples.items():
        stamps = np.array([s.stamp for s in samples])
        check, steps = f"stamps of {window.facts[name].topic}", np.diff(stamps)
        if len(stamps) < 5:
            continue
        if (stamps == 0.0).all():
            yield Finding(check, "all zero", "time of reading", "fail", "let the driver stamp messages", blocks=True)
        elif (steps <= 0.0).any() and not window.lock_step:
            again, back = int((steps == 0.0).sum()), int((steps < 0.0).sum())
            advice = "repeated or reordered messages are refused; look at the driver"
            found = f"{again} repeated, {back} run back"
            yield Finding(check, found, "each later", "fail", advice, blocks=again > back)
    ages = [s.age for samples in window.samples.values() for s in samples]
    if window.lock_step or not ages:
        return
    age = float(np.median(ages))
    advice = "late messages, or clocks that differ between robot and computer (chrony); the bends tell which"
    good = abs(age) < 0.05
    yield judged(good, "age on arrival", f"{1e3 * age:.0f} ms", "below 50 ms, if clocks agree", advice, "warn")


def check_ranges(spec: RobotSpec, state: RobotState) -> Iterator[Finding]:
    """Whether positions lie within the limits, in the unit they should have, near home."""
    position, names = state.joint_position, spec.joint_names
    outside = (position < spec.lower - _BEYOND) | (position > spec.upper + _BEYOND)
    turned = np.radians(position)
    inside = (turned >= spec.lower - _BEYOND) & (turned <= spec.upper + _BEYOND)
    wrong = [f"{names[j]} at {position[j]:.2f}" for j in np.flatnonzero(outside)]
    if np.abs(position).max() > 7.0 and outside.sum() >= 0.3 * len(names) and inside[outside].all():
        found = f"{joints_named(wrong, 2)}: degrees?"
        yield Finding("unit of positions", found, "rad", "fail", "convert in the driver", blocks=True)
        return
    yield Finding("unit of positions", f"up to {np.abs(position).max():.2f}", "rad", "ok")
    if wrong:
        clues = [clue for joint in np.flatnonzero(outside) for clue in _explained(spec, position, int(joint))]
        advice = f"would fit: {joints_named(clues)}" if clues else "another zero of the encoder, or another limit?"
        yield Finding("limits", joints_named(wrong), "within the limits", "fail", advice, blocks=True)
    else:
        yield Finding("limits", "all within", "within the limits", "ok")
    away = np.abs(position - spec.home)
    far = [f"{names[j]} at {position[j]:.2f}, home {spec.home[j]:.2f}" for j in np.flatnonzero(away > _FAR)]
    advice = "bring it to its home pose first; if it is there, its zero or its sign is wrong"
    yield judged(not far, "posture", joints_named(far, 2) or "near home", "near home", advice, "warn")


def _explained(spec: RobotSpec, position: Array, joint: int) -> Iterator[str]:
    """What would bring a joint back within its limits and nearer to home."""
    names = spec.joint_names

    def fits(at: int, value: float) -> bool:
        return abs(value - spec.home[at]) < 0.3

    if fits(joint, -position[joint]):
        yield f"{names[joint]} counts the wrong way"
    for other in range(spec.joints):
        if other != joint and fits(joint, position[other]) and fits(other, position[joint]):
            yield f"{names[joint]} and {names[other]} are exchanged"


def check_noise(window: Window) -> Iterator[Finding]:
    """Whether sensors are as noisy as the robot's file says, and none is frozen."""
    _, position, velocity, _ = window.joints()
    _, _, angular, linear = window.imu()
    parts = {"joint_position": position, "joint_velocity": velocity, "angular_velocity": angular}
    parts["linear_acceleration"] = linear
    for name, values in parts.items():
        if name not in window.spec.sensors or len(values) < 20:
            continue
        # Of neighbours' differences, so that slow motion does not count.
        noise = float(np.sqrt(0.5 * (np.diff(values, axis=0) ** 2).mean()))
        told = window.spec.sensors[name]
        if noise == 0.0 and name in ("angular_velocity", "linear_acceleration"):
            advice = "an IMU never rests; the driver repeats old readings"
            yield Finding(f"noise of {name}", "none: frozen", f"{told:g}", "fail", advice, blocks=True)
        elif told > 0.0:
            advice = "a policy trained with less noise may tremble: put this noise in the robot's file and train again"
            yield judged(noise < 3.0 * told, f"noise of {name}", f"{noise:.2g}", f"{told:g}", advice, "warn")


def check_imu(window: Window, state: RobotState) -> Iterator[Finding]:
    """Whether acceleration, orientation and angular velocity of a robot at rest agree."""
    _, orientation, _, _ = window.imu()
    if not len(orientation):
        return
    lengths = np.linalg.norm(orientation, axis=1)
    if np.abs(lengths - 1.0).max() > 0.01:
        advice = "does the IMU estimate its orientation? run a filter (imu_filter_madgwick) before it"
        yield Finding("orientation", f"length {lengths.mean():.2f}", "a unit quaternion", "fail", advice, blocks=True)
        return
    if state.orientation_xyzw is None:
        found = "turns far from reading to reading"
        advice = "is the robot at rest? are two IMUs, or two frames, on one topic?"
        yield Finding("orientation", found, "one orientation at rest", "fail", advice, blocks=True)
        return
    spec, rest = window.spec, state.angular_velocity
    if "linear_acceleration" in spec.sensors:
        force = state.linear_acceleration
        size = float(np.linalg.norm(force))
        in_g = abs(size - 1.0) < 0.1
        yield judged(
            abs(size - _GRAVITY) < 1.0,
            "gravity's size",
            f"{size:.2f} m/s^2",
            "9.81 m/s^2",
            "it is in g: multiply by 9.81" if in_g else "is gravity removed already, or the robot moving?",
        )
        if size > 0.1:
            angle = float(np.arccos(np.clip(-(force / size) @ state.gravity, -1.0, 1.0)))
            verdict = "warn" if angle < 0.35 else "fail"
            advice = "acceleration must be +9.81 upwards at rest; how is the IMU mounted?"
            yield judged(
                angle < 0.15, "gravity's direction", f"{angle:.2f} rad off the orientation", "0", advice, verdict
            )
    bias = float(np.abs(rest).max())
    yield judged(bias < 0.1, "gyroscope at rest", f"{bias:.3f} rad/s", "0", "calibrate it at rest", "warn")


def check_ground(spec: RobotSpec, state: RobotState) -> Iterator[Finding]:
    """Whether joints and IMU agree with the ground being flat under the feet that stand."""
    if spec.legs is None or state.orientation_xyzw is None or state.contacts is None:
        return
    standing = state.contacts > 0.05 * max(1e-9, float(state.contacts.sum()))
    if state.contacts.sum() <= 1.0 or standing.sum() < 3:
        advice = "put it on its feet: much of what follows needs them"
        yield Finding("feet", f"{int(standing.sum())} stand", f"{len(spec.feet)}", "warn", advice)
        return
    apart = _apart(spec, state, state.joint_position, standing)
    expected = f"below {1e3 * _FEET_APART:.0f} mm"
    if apart < _FEET_APART:
        yield Finding("ground under the feet", f"flat to {1e3 * apart:.0f} mm", expected, "ok")
        return
    clues = [what for what, position in _rewired(spec, state) if _apart(spec, state, position, standing) < _FITS]
    advice = f"would fit: {joints_named(clues)}" if clues else "joint zeros, the IMU's mounting, or uneven ground?"
    yield Finding("ground under the feet", f"{1e3 * apart:.0f} mm apart", expected, "fail", advice, blocks=True)


def check_stance(spec: RobotSpec, state: RobotState) -> Iterator[Finding]:
    """Whether a robot with its feet on the ground stands as the bends need it.

    The statics that tell its wiring want the whole weight on the feet. One that has sunk rests on its body or on folded
    legs, and would answer like a robot with another wiring. One fault, of two joints at most, is no posture; a robot
    whose feet touch nothing is judged by its joints alone, wherever they are.
    """
    if spec.legs is None or spec.base == "fixed" or state.contacts is None or state.contacts.sum() <= 1.0:
        return
    far = int((np.abs(state.joint_position - spec.home) > _FAR).sum())
    if far <= 2:
        return
    advice = (
        "wiring cannot be told like this. Bring it to its home pose and let its own controller hold it there; a twin "
        "that has sunk for want of commands stands again after twin/reset or a restart"
    )
    found = f"{far} joints are far from home: it has sunk or sits"
    yield Finding("stance", found, "stands near home", "unknown", advice, blocks=True)


def _apart(spec: RobotSpec, state: RobotState, position: Array, standing: NDArray[np.bool_]) -> float:
    assert spec.legs is not None
    heights = spec.legs.kinematics(position).position @ state.gravity + spec.legs.radius
    return float(np.ptp(heights[standing]))


def _rewired(spec: RobotSpec, state: RobotState) -> Iterator[tuple[str, Array]]:
    """Joint positions if one sign were wrong, or two readings exchanged; only such as come near home."""
    names, position = spec.joint_names, np.asarray(state.joint_position)
    for a in range(spec.joints):
        turned = position.copy()
        turned[a] = -turned[a]
        if abs(turned[a] - spec.home[a]) < 0.3:
            yield f"{names[a]} counts the wrong way", turned
    for a, b in itertools.combinations(range(spec.joints), 2):
        turned = position.copy()
        turned[[a, b]] = position[[b, a]]
        if np.abs(turned - spec.home)[[a, b]].max() < 0.3:
            yield f"{names[a]} and {names[b]} are exchanged", turned
