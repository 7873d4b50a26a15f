"""Robots reached over ROS 2."""
