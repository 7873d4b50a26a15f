"""Training over ROS, on the robot or, with twin:=true, on a simulated one.

`ros2 launch robot_rl train.launch.py --show-args` lists the arguments.
"""

from robot_rl.commands.launching import description


def generate_launch_description():
    """What `ros2 launch` asks for."""
    return description("train")
