"""The state of a control loop as a diagnostic message."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from hardware.policy_loop import PolicyLoop


def diagnostics(name: str, loop: PolicyLoop) -> DiagnosticStatus:
    """ERROR while stopped, WARN once a check has failed in this run, OK otherwise.

    Args:
        name: of the node.
        loop: to tell about.
    """
    supervision, robot = loop.supervision, loop.robot
    stopped, counts = supervision.stopped, dict(supervision.counts)
    timing = robot.timing.summary(newest=500)
    values = {"phase": loop.phase, "control_rate": f"{robot.spec.control_rate:g} Hz"}
    values |= {f"count {check}": str(count) for check, count in sorted(counts.items())}
    values |= {f"last {check}": line for check, line in sorted(dict(supervision.said).items())}
    values |= {f"{quantity} p99": f"{1e3 * of['p99']:.2f} ms" for quantity, of in timing.items()}
    values |= {"overruns": str(robot.timing.overruns), "messages refused": str(robot.receiver.refusals)}
    values |= {f"refused {topic}": reason for topic, reason in robot.receiver.refused.items()}
    level = DiagnosticStatus.ERROR if stopped else DiagnosticStatus.WARN if counts else DiagnosticStatus.OK
    return DiagnosticStatus(
        level=level,
        name=f"{name}: {robot.spec.name}",
        message=stopped or loop.phase,
        hardware_id=robot.spec.name,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
