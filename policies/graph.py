"""The ONNX graph of a policy, written node by node.

A small network needs no tracing, and the file stays readable and the same from one version of torch to the next.

    observation ─ normalise ─ actor ─┬─ action ─ map ─ clip ─ command
                              noise ─┴─ sampled_action ─ map ─ clip ─ sampled_command

A policy that looks has a further input, `camera`, that goes into its actor. What an actor computes is in
`policies.actors`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from robot_rl.stepping import CLOCK, Stepping
from robot_rl.task import Task

Array = NDArray[np.floating]

OPSET = 17
IR_VERSION = 8
"""Both of 2022, so that the ONNX Runtime of an older robot reads the file."""

REACH_MARGIN = 1e-4
"""rad or m: a joint that stays this far from its limits whatever the action needs no clipping."""


class ActorNodes(Protocol):
    """An actor as the graph sees it."""

    camera: tuple[int, int, int] | None
    """Height, width and channels of the further input `camera`, uint8; None where there is none."""

    def nodes(self, graph: Graph, observation: str) -> None:
        """Computes `action` from the named normalised observation, and `sampled_action` from it and `noise`."""
        ...


class Graph:
    """Nodes and constants in the making; both go by name."""

    def __init__(self) -> None:
        """Starts empty."""
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Adds a node; returns the name of its output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """Adds a constant; returns its name."""
        if isinstance(value, Tensor):
            value = value.detach().numpy()
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def linear(self, x: str, name: str, weight: Tensor, bias: Tensor) -> str:
        """x W + b for x (batch, inputs), with constants of its own; `weight` as torch has it, (outputs, inputs)."""
        constants = (self.constant(f"{name}_weight", weight.T), self.constant(f"{name}_bias", bias))
        return self.node("Gemm", [x, *constants], name)

    def model(self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> bytes:
        """The ONNX model, checked, without metadata; an input with a constant of its name may be left out."""
        model = helper.make_model(
            helper.make_graph(self.nodes, "policy", inputs, outputs, self.constants),
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="robot_rl",
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)


def policy_graph(actor: ActorNodes, normalizer: Any, task: Task) -> bytes:
    """The ONNX model of a policy, without metadata.

    Args:
        actor: see `policies.actors`.
        normalizer: of observations.
        task: gives action map and limits.
    """
    graph, spec = Graph(), task.spec
    actor.nodes(graph, normalize(graph, normalizer))
    to_command = action_map(graph, task)
    to_command("action", "command")
    to_command("sampled_action", "sampled_command")

    actions, joints = spec.action.size, spec.joints
    inputs = [
        value("observation", len(normalizer.offset), "raw, SI units; see the contract in the metadata"),
        value("noise", actions, "standard normal; only the sampled outputs depend on it"),
    ]
    if actor.camera is not None:
        shape: list[str | int | None] = ["batch", *actor.camera]
        meaning = "red, green and blue, 0 to 255, the first row on top"
        inputs.append(helper.make_tensor_value_info("camera", TensorProto.UINT8, shape, doc_string=meaning))
    outputs = [
        value("action", actions, "deterministic, in [-1, 1]"),
        value("command", joints, "joint positions for it, rad or m, inside the limits"),
        value("sampled_action", actions, "sampled with the noise, in [-1, 1]"),
        value("sampled_command", joints, "joint positions for it, rad or m, inside the limits"),
    ]
    return graph.model(inputs, outputs)


def linear_layers(*layers: Any) -> bool:
    """Whether all are plain linear layers of torch."""
    return all(isinstance(layer, torch.nn.Linear) for layer in layers)


def normalize(graph: Graph, normalizer: Any, prefix: str = "") -> str:
    """The same three operations in the same order as the normaliser, so that they round alike.

    Args:
        graph: gets the nodes.
        normalizer: of the input `observation`.
        prefix: of the names, where a graph has several normalisers.
    """

    def constant(name: str, value: Any) -> str:
        return graph.constant(f"{prefix}{name}", value)

    x = "observation"
    if np.any(normalizer.offset):
        x = graph.node("Sub", [x, constant("offset", normalizer.offset)], f"{prefix}centred")
    if np.any(normalizer.scale != 1):
        x = graph.node("Div", [x, constant("scale", normalizer.scale)], f"{prefix}scaled")
    if math.isfinite(normalizer.clip):
        bounds = [constant("clip_low", -normalizer.clip), constant("clip_high", normalizer.clip)]
        x = graph.node("Clip", [x, *bounds], f"{prefix}normalised")
    return x


def action_map(graph: Graph, task: Task) -> ActionMap:
    """The action map with its constants, which the deterministic and the sampled command share."""
    spec, stepping = task.spec, task.stepping
    matrix = spec.action.mixing * spec.action.scale  # (n, d)
    square = matrix.shape[0] == matrix.shape[1]
    diagonal = square and np.array_equal(matrix, np.diag(np.diag(matrix)))
    graph.constant("gain", np.diag(matrix) if diagonal else matrix.T)
    graph.constant("home", spec.home)
    reach = np.abs(matrix).sum(axis=1)  # (n,), largest displacement that an action in [-1, 1] can ask for
    rest = "home"
    if stepping is not None:
        reach = reach + np.abs(stepping.lift).sum(axis=0)
        rest = _stepping(graph, stepping, task.layout.labels.index(CLOCK))
    low, high = spec.home - reach - REACH_MARGIN, spec.home + reach + REACH_MARGIN
    limited = bool(np.any((low < spec.lower) | (high > spec.upper)))
    if limited:
        # Rounded inwards: a float32 command must not lie outside the float64 limits that the supervisor keeps.
        graph.constant("lower", _inward(spec.lower, np.inf))
        graph.constant("upper", _inward(spec.upper, -np.inf))
    return ActionMap(graph, "Mul" if diagonal else "MatMul", rest, limited)


def _stepping(graph: Graph, stepping: Stepping, clock: int) -> str:
    """home + lift^T clip((-sin, sin), 0, 1), (B, n), for a clock at that place in the observation."""
    sine = graph.node("Gather", ["observation", graph.constant("clock", [clock], np.int64)], "clock_sine", axis=1)
    both = graph.node("Mul", [sine, graph.constant("clock_signs", [[-1.0, 1.0]])], "clock_both")
    bounds = [graph.constant("swing_least", 0.0), graph.constant("swing_most", 1.0)]
    swing = graph.node("Clip", [both, *bounds], "swing")
    lifted = graph.node("MatMul", [swing, graph.constant("lift", stepping.lift)], "stepping")
    return graph.node("Add", [lifted, "home"], "stepping_home")


@dataclass(frozen=True)
class ActionMap:
    """command = rest + mixing (scale * action), clipped to the limits where the action could reach them."""

    graph: Graph
    product: str
    rest: str
    limited: bool

    def __call__(self, action: str, command: str) -> None:
        node = self.graph.node
        change = node(self.product, [action, "gain"], f"{command}_change")
        if not self.limited:
            node("Add", [change, self.rest], command)
            return
        wanted = node("Add", [change, self.rest], f"{command}_wanted")
        node("Min", [node("Max", [wanted, "lower"], f"{command}_raised"), "upper"], command)


def _inward(limit: Array, towards: float) -> NDArray[np.float32]:
    rounded = limit.astype(np.float32)
    outside = rounded < limit if towards > 0 else rounded > limit
    return np.where(outside, np.nextafter(rounded, np.float32(towards)), rounded).astype(np.float32)


def value(name: str, width: int, meaning: str) -> onnx.ValueInfoProto:
    """An input or output of one row of numbers per observation."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width], doc_string=meaning)
