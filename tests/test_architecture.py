"""What each part may import, checked on what Python really loads; pyproject.toml has contracts for the text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    "torch", "mujoco", "pybullet", "dm_control", "gymnasium", "onnx", "onnxruntime", "sim", "hardware", "policies",
    "rclpy", "matplotlib",
)  # fmt: skip
CORE = (
    "action_map",
    "errors",
    "evaluation",
    "interaction",
    "kinematics",
    "leg_odometry",
    "make",
    "observation",
    "robot",
    "rotation",
    "safety",
    "settings",
    "spec",
    "spec_file",
    "task",
    "tasks",
)


def loaded(statement):
    """Which of HEAVY a fresh Python has loaded after a statement."""
    script = f"{statement}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    return set(done.stdout.split())


def test_the_core_loads_nothing_of_learning_or_simulation():
    assert loaded("\n".join(f"import robot_rl.{name}" for name in CORE)) == set()


def test_loading_a_policy_loads_the_runtime_and_nothing_else():
    assert loaded("import policies.runtime") <= {"policies", "onnxruntime"}
    assert loaded("import policies.composed_runtime") <= {"policies", "onnxruntime"}


def test_running_a_policy_over_ros_loads_no_learner_and_no_simulator():
    pytest.importorskip("rclpy", reason="ROS 2 is not installed (extra 'ros')")
    assert loaded("import hardware.deployment, hardware.guard") <= {"policies", "hardware", "rclpy", "onnxruntime"}


def test_the_command_line_starts_with_nothing():
    assert loaded("import robot_rl.cli") == set()


def test_the_learners_load_no_simulator():
    found = loaded("import robot_rl.algorithms.sac, robot_rl.training.trainer")
    assert found & {"mujoco", "sim", "hardware", "policies"} == set()


def test_finite_problems_are_solved_with_numpy_alone():
    names = ("mdp", "values", "composition", "goals")
    assert loaded("\n".join(f"import robot_rl.algorithms.tabular.{name}" for name in names)) == set()


@pytest.mark.parametrize("path", sorted((ROOT / "robot_rl").rglob("*.py")), ids=lambda path: path.stem)
def test_every_module_says_what_it_is(path):
    text = path.read_text(encoding="utf-8").lstrip()
    assert text.startswith('"""')
