"""The tasks that come with the project, by name."""

from robot_rl.task import Task
from robot_rl.tasks.push import Push
from robot_rl.tasks.reach import Reach
from robot_rl.tasks.rotate_cube import RotateCube
from robot_rl.tasks.stand import Stand
from robot_rl.tasks.turn_valve import TurnValve
from robot_rl.tasks.walk import Walk

TASKS: dict[str, type[Task]] = {task.name: task for task in (Walk, Stand, TurnValve, RotateCube, Push, Reach)}
