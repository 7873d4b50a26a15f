"""From names to objects. The only package that imports simulators and ROS, and only when asked."""

from robot_rl.make.bags import (
    bag_joint_logs,
    bag_motion_logs,
    bag_timing,
    bag_transitions,
    open_bag,
)
from robot_rl.make.environments import (
    SUITE,
    SuiteSettings,
    is_suite_task,
    make_env,
    make_privileged,
    make_suite_env,
    make_task,
    make_vector_env,
    suite_tasks,
    task_class,
    task_settings_class,
)
from robot_rl.make.identification import (
    IdentifiedRobot,
    excitation,
    excited_robot,
    identify_robot,
)
from robot_rl.make.learners import (
    ALGORITHMS,
    PARTED,
    Algorithm,
    algorithm_of,
    make_learner,
)
from robot_rl.make.packages import (
    missing_package,
)
from robot_rl.make.robots import (
    BACKENDS,
    SIMULATORS,
    load_randomization,
    make_batch,
    make_camera,
    make_robot,
    make_video,
    robot_spec,
)
from robot_rl.make.ros import (
    make_deployment,
    make_doctor,
    make_guard,
    make_pause_services,
    make_recording,
    make_twin,
)

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "BACKENDS",
    "IdentifiedRobot",
    "PARTED",
    "SIMULATORS",
    "SUITE",
    "SuiteSettings",
    "algorithm_of",
    "bag_joint_logs",
    "bag_motion_logs",
    "bag_timing",
    "bag_transitions",
    "excitation",
    "excited_robot",
    "identify_robot",
    "is_suite_task",
    "load_randomization",
    "make_batch",
    "make_camera",
    "make_deployment",
    "make_doctor",
    "make_env",
    "make_guard",
    "make_learner",
    "make_pause_services",
    "make_privileged",
    "make_recording",
    "make_robot",
    "make_suite_env",
    "make_task",
    "make_twin",
    "make_vector_env",
    "make_video",
    "missing_package",
    "open_bag",
    "robot_spec",
    "suite_tasks",
    "task_class",
    "task_settings_class",
]
