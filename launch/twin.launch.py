"""A simulator that is, from the outside, the robot.

`ros2 launch robot_rl twin.launch.py --show-args` lists the arguments.
"""

from robot_rl.commands.launching import description


def generate_launch_description():
    """What `ros2 launch` asks for."""
    return description("twin")
