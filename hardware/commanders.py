"""Who else commands a robot, as the publishers of its command topic tell."""

from __future__ import annotations

from rclpy.node import Node

LOOK = {True: 1.0, False: 4.0}
"""s to look for others who command the same robot: on this machine, and beyond. DDS by itself repeats every 3 s what it
has to say of itself."""
UNKNOWN = "_NODE_NAME_UNKNOWN_"
"""Name of a node whose publisher is found a little sooner than itself."""


def other_commander(node: Node, topic: str, publishes: bool) -> str:
    """Name of another node that publishes a topic; empty if there is none.

    Args:
        node: who asks.
        topic: full name.
        publishes: whether the asking node has a publisher there too, one.
    """
    names = [info.node_name for info in node.get_publishers_info_by_topic(topic)]
    if publishes and node.get_name() in names:
        names.remove(node.get_name())  # once: another program may have given its node the same name
    return names[0] if names else ""
