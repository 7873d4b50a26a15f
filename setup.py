"""For colcon, which builds ament_python packages by setup.py; everything is in setup.cfg."""

from setuptools import setup

setup()
