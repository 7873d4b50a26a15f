"""YAML as people write it, read so that nothing of it is lost."""

from __future__ import annotations

from typing import Any

from robot_rl.errors import ConfigurationError

_MERGE = "tag:yaml.org,2002:merge"
"""Tag of the key `<<`."""


def read_yaml(content: str, what: str) -> Any:
    """The content of a YAML file as Python values.

    Args:
        content: of the file.
        what: the file, for messages: `robot file my_robot.yaml`.

    Raises:
        ConfigurationError: it is not YAML, or a key is given twice in one mapping, of which YAML would keep the last.
    """
    import yaml  # here, because commands that read no file import this module too, and start sooner without it

    try:
        # The loader in C is ten times as fast; PyYAML is built without it here and there.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(content)
        root = loader.get_single_node()
        twice = _repeated_key(root, set())  # now: constructing writes merged keys beside a mapping's own
        values = loader.construct_document(root) if root else None
    except (yaml.YAMLError, ValueError) as error:  # of a value that is none of its kind, such as a 13th month
        raise ConfigurationError(f"{what} is not valid YAML: {' '.join(str(error).split())}") from error
    if twice:
        raise ConfigurationError(f"{what}: {twice}")
    return values


def _repeated_key(node: Any, seen: set[int]) -> str | None:
    """Finds a key given twice, such as a copied joint not yet renamed."""
    if node is None or isinstance(node.value, str) or id(node) in seen:
        return None
    seen.add(id(node))  # an alias is the node that it stands for
    places: dict[tuple[str, str], Any] = {}
    for item in node.value:
        child = item
        if isinstance(item, tuple):
            key, child = item
            here = key.start_mark
            first = places.setdefault((key.tag, str(key.value)), here)
            if first is not here and key.tag != _MERGE:  # of merges all count
                return f"key {key.value!r} is given twice, {_both(first, here)}"
        found = _repeated_key(child, seen)
        if found:
            return found
    return None


def _both(first: Any, second: Any) -> str:
    """Two places in a file, for a person, who counts from 1."""
    if first.line != second.line:
        return f"in lines {first.line + 1} and {second.line + 1}"
    return f"in line {first.line + 1}, columns {first.column + 1} and {second.column + 1}"
