"""What the doctor makes of how a robot answers to small bends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from hardware.bends import active_findings, answers, stirred
from hardware.faults import Faults
from hardware.finding import Finding
from hardware.statics import standing_response
from hardware.window import Window
from hardware.wiring import WiringFault, identify
from robot_rl.spec_file import load_robot

GO2 = load_robot("go2")


@pytest.fixture(scope="module")
def healthy(standing: Callable[..., Any], bent: Callable[..., Any]) -> tuple[Window, Any]:
    recorder = standing(GO2)
    bends = bent(recorder)
    return recorder.window(), bends


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_statics_are_the_least_energy_of_springs_and_ground(healthy: tuple[Window, Any]) -> None:
    window, bends = healthy
    state = window.mean_state(bends[0].began - 0.2, bends[0].began)
    assert state is not None
    assert GO2.legs is not None
    expected = standing_response(GO2, state)
    placed = GO2.legs.kinematics(state.joint_position).position
    small, softness = 1e-4, 2e-5

    def stretched(values: np.ndarray, joint: int) -> np.ndarray:
        """Springs of the joints and of the ground under the feet; half their squares is the energy."""
        moved, turn, shift = values[:12], values[12:15], values[15:]
        command = small * (np.arange(12) == joint)
        feet = GO2.legs.kinematics(state.joint_position + moved).position
        slipped = Rotation.from_rotvec(turn).apply(feet) + shift - placed
        return np.concatenate([np.sqrt(GO2.kp) * (command - moved), slipped.ravel() / np.sqrt(softness)])

    for joint in (0, 4, 11):
        solution = least_squares(
            stretched, np.zeros(18), args=(joint,), x_scale=1e-4, xtol=1e-15, ftol=1e-15, gtol=1e-15
        ).x
        assert solution[:12] / small == pytest.approx(expected.joint_position[:, joint], abs=2e-3)
        assert solution[12:15] / small == pytest.approx(expected.turn[:, joint], abs=2e-3)
        forces = stretched(solution, joint)[12:].reshape(4, 3) @ state.gravity / np.sqrt(softness)
        assert forces / small == pytest.approx(expected.contacts[:, joint], abs=0.3)


def test_a_healthy_robot_passes_every_check(healthy: tuple[Window, Any]) -> None:
    found = by_check(active_findings(*healthy))
    assert {name for name, finding in found.items() if finding.verdict == "fail"} == set()
    assert found["delay"].verdict == "ok"


def test_what_cannot_be_told_is_said(healthy: tuple[Window, Any]) -> None:
    found = by_check(active_findings(*healthy))["wiring, alike"]
    assert found.verdict == "unknown"
    assert found.found.count("hip_joint") == 4
    assert "thigh" not in found.found


@pytest.mark.parametrize(
    "fault",
    [
        WiringFault("swap", "both", ("FL_calf_joint", "FR_calf_joint")),
        WiringFault("swap", "both", ("FL_thigh_joint", "RL_thigh_joint")),
        WiringFault("swap", "readings", ("FR_thigh_joint", "RR_thigh_joint")),
        WiringFault("flip", "both", ("RL_hip_joint",)),
        WiringFault("flip", "readings", ("FL_hip_joint",)),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.way}-{fault.joints[0]}",
)
def test_the_wiring_fault_and_its_way_are_found(
    fault: WiringFault, standing: Callable[..., Any], bent: Callable[..., Any]
) -> None:
    recorder = standing(GO2, Faults(**{fault.kind: fault.joints}, way=fault.way))
    bends = bent(recorder)
    window = recorder.window()
    rest = window.mean_state(bends[0].began - 0.2, bends[0].began)
    assert identify(GO2, rest, answers(window, bends)).faults == (fault,)


def test_a_late_robot_is_found_and_measured(standing: Callable[..., Any], bent: Callable[..., Any]) -> None:
    recorder = standing(GO2, late=10)
    bends = bent(recorder)
    found = by_check(active_findings(recorder.window(), bends))
    assert found["delay"].verdict == "fail"
    assert float(found["delay"].found.split()[0]) == pytest.approx(0.2, abs=0.03)
    assert found["wiring"].verdict == "ok"


def test_velocities_in_degrees_are_found(healthy: tuple[Window, Any]) -> None:
    window, bends = healthy
    samples = [
        s._replace(value=s.value._replace(velocity=tuple(57.3 * v for v in s.value.velocity)))
        for s in window.samples["joint_states"]
    ]
    spoiled = replace(window, samples={**window.samples, "joint_states": samples}, _cache={})
    found = by_check(active_findings(spoiled, bends))["unit of velocities"]
    assert found.verdict == "fail"
    assert "degrees" in found.advice


def test_joint_states_that_break_off_at_a_bend_are_told(healthy: tuple[Window, Any]) -> None:
    window, bends = healthy
    times, height = window.time("joint_states"), bends[5].ended_height
    heard = [s for s, t in zip(window.samples["joint_states"], times, strict=True) if not height - 0.25 <= t <= height]
    spoiled = replace(window, samples={**window.samples, "joint_states": heard}, _cache={})
    (found,) = active_findings(spoiled, bends)
    assert (found.verdict, "break off" in found.advice) == ("unknown", True)


def test_a_dead_joint_is_found(healthy: tuple[Window, Any]) -> None:
    window, bends = healthy
    dead = GO2.joint_names.index("RR_calf_joint")

    def still(sample: Any) -> Any:
        position = list(sample.value.position)
        position[dead] = float(GO2.home[dead])
        return sample._replace(value=sample.value._replace(position=tuple(position)))

    samples = [still(sample) for sample in window.samples["joint_states"]]
    spoiled = replace(window, samples={**window.samples, "joint_states": samples}, _cache={})
    found = by_check(active_findings(spoiled, bends))["amount"]
    assert found.verdict == "fail"
    assert "RR_calf_joint moves 0%" in found.found


def test_a_hand_is_told_what_its_topics_cannot_tell(standing: Callable[..., Any], bent: Callable[..., Any]) -> None:
    spec = load_robot("dclaw")
    recorder = standing(spec, Faults(swap=("finger1_joint1", "finger2_joint1"), way="motors"))
    bends = bent(recorder)
    found = active_findings(recorder.window(), bends)
    assert found[0].verdict == "fail"
    assert "finger1_joint1 and finger2_joint1 are exchanged" in found[0].found
    assert by_check(found)["wiring, both ways"].verdict == "unknown"


def test_a_robot_that_leaps_when_told_to_stay_is_stopped_with_a_reason() -> None:
    before = np.array(GO2.home)
    assert stirred(GO2, before, before + 0.1) is None
    leapt = before.copy()
    leapt[1] -= 0.7
    found = stirred(GO2, before, leapt)
    assert found is not None
    assert "FL_thigh_joint went -0.70 rad" in found.found
    assert "FL_thigh_joint counts the wrong way" in found.advice


def test_a_reading_that_is_no_number_is_not_at_rest() -> None:
    before = np.array(GO2.home)
    read = before.copy()
    read[2] = np.nan
    found = stirred(GO2, before, read)
    assert found is not None
    assert "FL_calf_joint went +nan rad" in found.found


def test_two_that_leap_to_each_others_place_are_named_together() -> None:
    before = np.array(GO2.home)
    leapt = before.copy()
    leapt[1] -= 0.5  # thigh, towards the calf's -1.8
    leapt[2] += 0.06  # calf, towards the thigh's .9
    found = stirred(GO2, before, leapt)
    assert found is not None
    assert "FL_thigh_joint and FL_calf_joint are exchanged" in found.advice
