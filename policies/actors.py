"""What the exporter knows of each kind of actor: its nodes in a graph, and its answer in torch.

A Gaussian actor (SAC) answers with the mean of its Gaussian:

    observation ─ layers ─┬─ mean ─ tanh ─────────────────── action
                          └─ log std ─ exp ─ x noise + mean ─ tanh ─ sampled_action

The policy of an energy (soft Q-learning) draws K candidates from noise that is part of the file, and answers with the
one that its critics like best; so the critics are in the file too:

    observation ─ sampler x K ─ tanh ─ critics ─ least ─ index of the highest ─ action
    observation, noise ─ sampler ─ tanh ─────────────────────────────────────── sampled_action

With residual blocks (SAC's setting `residual`) the layers are

    observation ─ linear ─ [+ linear(relu(linear(layer norm)))] x blocks ─ layer norm ─ ...

A deterministic actor (DDPG, TD3) explores by adding to its action:

    observation ─ layers ─ tanh ─┬──────────────────────── action
                                 └─ + std x noise ─ clip ─ sampled_action

An actor that looks puts features of the picture before the numbers, and is a Gaussian one from there on:

    camera ─ to [-1, 1] ─ convolutions ─ linear ─ layer norm ─ tanh ─ features ─┐
    observation ──────────────────────────────────────────────────────────────┴─ ...
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from policies.graph import ActorNodes, Graph, linear_layers
from robot_rl.algorithms.actors import DeterministicActor, GaussianActor
from robot_rl.algorithms.encoder import KERNEL, STRIDE, SeeingActor
from robot_rl.algorithms.energy_policy import BLOCK, EnergyPolicy
from robot_rl.algorithms.residual import ResidualActor
from robot_rl.errors import ConfigurationError


class Exporter(ActorNodes, Protocol):
    """One kind of actor."""

    sizes: tuple[int, ...]
    """Widths from observation to action, of the network that draws the action."""
    camera: tuple[int, int, int] | None
    """See `ActorNodes`."""

    def action(self, actor: Any, observation: Tensor, noise: Tensor | None) -> Tensor:
        """An actor's own answer, (N, d), for normalised observations (N, size); noise (N, d), None for no sample."""
        ...

    def ranked(self, actor: Any, observation: Tensor) -> tuple[Tensor, Tensor]:
        """What the deterministic answer is chosen from: actions (N, K, d) and their worth (N, K)."""
        ...


def exporter(actor: Any) -> Exporter:
    """The exporter of an actor's kind.

    Raises:
        ConfigurationError: there is none.
    """
    if isinstance(actor, EnergyPolicy):
        return EnergyExporter(actor)
    if isinstance(actor, SeeingActor):
        return SeeingExporter(actor)
    if isinstance(actor, DeterministicActor):
        return DeterministicExporter(actor)
    if isinstance(actor, ResidualActor):
        return ResidualExporter(actor)
    return GaussianExporter(actor)


class GaussianExporter:
    """A stack of layers with mean and log standard deviation side by side in its head, or a log std of its own."""

    camera: tuple[int, int, int] | None = None

    def __init__(self, actor: Any) -> None:
        """Args: actor: see `Actor` and `GaussianActor` in `robot_rl.algorithms.networks`."""
        wanted = ("hidden", "head", "log_std_min", "log_std_max")
        self._one_spread = isinstance(actor, GaussianActor)
        if not self._one_spread and any(not hasattr(actor, name) for name in wanted):
            raise _not_exported(actor)
        if not linear_layers(*actor.hidden, actor.head):
            raise _not_exported(actor)
        self._actor = actor
        actions = actor.head.out_features if self._one_spread else actor.head.out_features // 2
        self.sizes = (*(layer.in_features for layer in (*actor.hidden, actor.head)), actions)

    def nodes(self, graph: Graph, observation: str) -> None:
        """See `ActorNodes`."""
        actor = self._actor
        x = _hidden(graph, observation, actor.hidden, "Tanh" if self._one_spread else "Relu")
        if self._one_spread:
            mean = graph.linear(x, "mean", actor.head.weight, actor.head.bias)
            std = graph.constant("std", actor.log_std.exp())
        else:
            mean, std = _gaussian(graph, x, actor)
        _squashed(graph, mean, std)

    def action(self, actor: Any, observation: Tensor, noise: Tensor | None) -> Tensor:
        """See `Exporter`."""
        mean, log_std = actor(observation)
        return torch.tanh(mean if noise is None else mean + log_std.exp() * noise)

    def ranked(self, actor: Any, observation: Tensor) -> tuple[Tensor, Tensor]:
        """The mean, and nothing beside it."""
        mean, _ = actor(observation)
        return torch.tanh(mean)[:, None], torch.zeros_like(mean[:, :1])


class ResidualExporter(GaussianExporter):
    """Residual blocks under a head with mean and log standard deviation side by side."""

    def __init__(self, actor: ResidualActor) -> None:
        """Args: actor: to be exported."""
        self._actor = actor
        widths = [actor.embedding.out_features] * (1 + len(actor.blocks))
        self.sizes = (actor.embedding.in_features, *widths, actor.head.out_features // 2)

    def nodes(self, graph: Graph, observation: str) -> None:
        """See `ActorNodes`."""
        actor = self._actor
        x = graph.linear(observation, "embedding", actor.embedding.weight, actor.embedding.bias)
        for index, block in enumerate(actor.blocks):
            name = f"block_{index}"
            inner = graph.linear(_layer_norm(graph, x, block.norm, f"{name}_norm"), f"{name}_wide", *_of(block.wide))
            inner = graph.node("Relu", [inner], f"{name}_hidden")
            x = graph.node("Add", [x, graph.linear(inner, f"{name}_narrow", *_of(block.narrow))], name)
        _squashed(graph, *_gaussian(graph, _layer_norm(graph, x, actor.norm, "norm"), actor))


class SeeingExporter:
    """An encoder before a Gaussian actor. In torch its observations are rows: state, then pixels."""

    def __init__(self, actor: SeeingActor) -> None:
        """Args: actor: to be exported."""
        self._actor = actor
        self._policy = GaussianExporter(actor.policy)
        self.sizes = self._policy.sizes
        self.camera: tuple[int, int, int] | None = actor.encoder.shape

    def nodes(self, graph: Graph, observation: str) -> None:
        """See `ActorNodes`."""
        node, constant = graph.node, graph.constant
        encoder = self._actor.encoder
        pixels = node("Cast", ["camera"], "pixels", to=TensorProto.FLOAT)
        middle = constant("middle_pixel", 127.5)
        x = node("Div", [node("Sub", [pixels, middle], "centred_pixels"), middle], "normalised_pixels")
        x = node("Transpose", [x], "picture", perm=[0, 3, 1, 2])
        for index, layer in enumerate(encoder.convolutions):
            assert isinstance(layer, torch.nn.Conv2d)
            name = f"convolution_{index}"
            weights = [constant(f"{name}_{part}", getattr(layer, part)) for part in ("weight", "bias")]
            x = node("Conv", [x, *weights], name, kernel_shape=[KERNEL, KERNEL], strides=[STRIDE, STRIDE])
            x = node("Relu", [x], f"seen_{index}")
        x = graph.linear(node("Flatten", [x], "flat", axis=1), "encoder", encoder.head.weight, encoder.head.bias)
        norm = [constant(f"encoder_norm_{part}", getattr(encoder.norm, part)) for part in ("weight", "bias")]
        x = node("LayerNormalization", [x, *norm], "encoder_norm", epsilon=encoder.norm.eps)
        features = node("Tanh", [x], "features")
        self._policy.nodes(graph, node("Concat", [features, observation], "features_and_state", axis=1))

    def action(self, actor: Any, observation: Tensor, noise: Tensor | None) -> Tensor:
        """See `Exporter`."""
        return self._policy.action(actor, observation, noise)

    def ranked(self, actor: Any, observation: Tensor) -> tuple[Tensor, Tensor]:
        """See `Exporter`."""
        return self._policy.ranked(actor, observation)


class DeterministicExporter:
    """A stack of layers under the tanh; `sampled_action` is what explored in training."""

    camera: tuple[int, int, int] | None = None

    def __init__(self, actor: DeterministicActor) -> None:
        """Args: actor: to be exported."""
        self._actor = actor
        layers = [*actor.hidden, actor.head]
        self.sizes = (layers[0].in_features, *(layer.out_features for layer in layers))  # type: ignore[union-attr]

    def nodes(self, graph: Graph, observation: str) -> None:
        """See `ActorNodes`."""
        actor = self._actor
        x = _hidden(graph, observation, actor.hidden, "Relu")
        action = graph.node("Tanh", [graph.linear(x, "mean", actor.head.weight, actor.head.bias)], "action")
        scaled = graph.node("Mul", ["noise", graph.constant("std", actor.noise)], "scaled_noise")
        bounds = [graph.constant("least_action", -1.0), graph.constant("greatest_action", 1.0)]
        graph.node("Clip", [graph.node("Add", [action, scaled], "sample"), *bounds], "sampled_action")

    def action(self, actor: Any, observation: Tensor, noise: Tensor | None) -> Tensor:
        """See `Exporter`."""
        action = actor(observation)
        return action if noise is None else actor.explore(action, noise)

    def ranked(self, actor: Any, observation: Tensor) -> tuple[Tensor, Tensor]:
        """The action, and nothing beside it."""
        action = actor(observation)
        return action[:, None], torch.zeros_like(action[:, :1])


class SamplerNodes:
    """A sampler's layers in a graph.

    Attributes:
        seen: name of the first layer's part for the observation, (N, H).
    """

    def __init__(self, graph: Graph, actor: EnergyPolicy, observation: str, prefix: str = "") -> None:
        """Adds the weights.

        Args:
            graph: gets the nodes.
            actor: whose sampler.
            observation: name of the normalised one, (N, size).
            prefix: of the names, where a graph has several samplers.
        """
        self._graph, self._prefix, self._noise, self._sampler = graph, prefix, actor.candidates, actor.sampler
        sampler = actor.sampler
        named = [*((f"sampler_{i}", x) for i, x in enumerate(sampler.hidden, 1)), ("head", sampler.head)]
        self._layers = [
            (graph.constant(f"{name}_weight", layer.weight.T), graph.constant(f"{name}_bias", layer.bias))
            for name, layer in ((prefix + name, layer) for name, layer in named)
        ]
        first = sampler.observation
        self.seen = graph.linear(observation, f"{prefix}sampler_0", first.weight, first.bias)

    def candidates(self, axis_1: str) -> str:
        """The draws from the noise that is kept, before the tanh, (N, K, d); `axis_1` names a constant list of it."""
        graph, prefix = self._graph, self._prefix
        with torch.no_grad():
            shift = graph.constant(f"{prefix}candidate_shift", self._sampler.noise(self._noise))  # (K, H)
        each = graph.node("Unsqueeze", [self.seen, axis_1], f"{prefix}sampler_0_each")  # (N, 1, H)
        kept = graph.constant(f"{prefix}candidate_noise", self._noise)
        return self.draw(graph.node("Add", [each, shift], f"{prefix}candidate_first"), kept, "candidates")

    def draw(self, first: str, noise: str, name: str) -> str:
        """Draws before the tanh, from the first layer's sum (..., H) and the noise (..., d)."""
        graph, name = self._graph, f"{self._prefix}{name}"
        x = graph.node("Relu", [first], f"{name}_hidden_0")
        for index, layer in enumerate(self._layers, 1):
            x = _dense(graph, x, layer, f"{name}_linear_{index}")
            if index < len(self._layers):
                x = graph.node("Relu", [x], f"{name}_hidden_{index}")
        return graph.node("Add", [noise, x], name)


class EnergyExporter:
    """A sampler with the critics that rank its draws."""

    camera: tuple[int, int, int] | None = None

    def __init__(self, actor: EnergyPolicy) -> None:
        """Args: actor: to be exported."""
        self._actor = actor
        self.sizes = sampler_sizes(actor)

    def nodes(self, graph: Graph, observation: str) -> None:
        """See `ActorNodes`."""
        node, constant = graph.node, graph.constant
        noise_weight = constant("sampler_noise_weight", self._actor.sampler.noise.weight.T)
        constant("one", [1], np.int64)
        sampler = SamplerNodes(graph, self._actor, observation)
        actions = node("Tanh", [sampler.candidates("one")], "candidate_actions")
        best = node("ArgMax", [self._lowest_q(graph, observation, actions)], "best", axis=1, keepdims=0)  # (N, 1)
        node("GatherND", [actions, best], "action", batch_dims=1)

        shifted = node("Add", [sampler.seen, node("MatMul", ["noise", noise_weight], "noise_shift")], "sample_first")
        node("Tanh", [sampler.draw(shifted, "noise", "sample")], "sampled_action")

    def _lowest_q(self, graph: Graph, observation: str, actions: str) -> str:
        """min_c Q_c of actions (N, K, d), as (N, K, 1)."""
        critics: Any = self._actor.critics
        node, constant, size = graph.node, graph.constant, self.sizes[0]
        q = []
        for c in range(critics.count):
            layers = [*critics.hidden, critics.head]
            # The first layer in two parts, so that the observation's is computed once for all K actions.
            weight, bias = layers[0].weight[c], layers[0].bias[c, 0]  # (size + d, H), (H,)
            seen = graph.linear(observation, f"critic_{c}_observation", weight[:size].T, bias)
            each = node("Unsqueeze", [seen, "one"], f"critic_{c}_observation_each")  # (N, 1, H)
            action_weight = constant(f"critic_{c}_action_weight", weight[size:])
            acted = node("MatMul", [actions, action_weight], f"critic_{c}_action")
            x = node("Add", [each, acted], f"critic_{c}_linear_0")  # (N, K, H)
            for index, layer in enumerate(layers[1:], 1):
                x = _normalized_relu(graph, x, critics, c, index - 1)
                name = f"critic_{c}_linear_{index}"
                constants = constant(f"{name}_weight", layer.weight[c]), constant(f"{name}_bias", layer.bias[c, 0])
                x = _dense(graph, x, constants, name)
            q.append(x)
        return node("Min", q, "candidate_q")

    def action(self, actor: Any, observation: Tensor, noise: Tensor | None) -> Tensor:
        """See `Exporter`."""
        return torch.tanh(actor.pre_tanh(observation, noise))

    def ranked(self, actor: Any, observation: Tensor) -> tuple[Tensor, Tensor]:
        """See `Exporter`."""
        u, q = zip(*(actor.ranked(block) for block in observation.split(BLOCK)), strict=True)
        return torch.tanh(torch.cat(u)), torch.cat(q)


def _not_exported(actor: Any) -> ConfigurationError:
    return ConfigurationError(
        f"cannot export an actor of type {type(actor).__name__}: expected linear layers in `hidden` and "
        "`head`, with log_std_min and log_std_max"
    )


def _hidden(graph: Graph, x: str, layers: Any, activation: str) -> str:
    """The hidden layers, each with its activation, an operator of ONNX."""
    for index, layer in enumerate(layers):
        x = graph.node(activation, [graph.linear(x, f"linear_{index}", layer.weight, layer.bias)], f"hidden_{index}")
    return x


def _gaussian(graph: Graph, x: str, actor: Any) -> tuple[str, str]:
    """Mean and standard deviation before the tanh, from what goes into the head of both."""
    # The head's halves apart: the deterministic answer then pays for the mean alone.
    halves = zip(actor.head.weight.chunk(2), actor.head.bias.chunk(2), ("mean", "raw_log_std"), strict=True)
    mean, log_std = (graph.linear(x, name, weight, bias) for weight, bias, name in halves)
    bounds = [graph.constant(name, getattr(actor, name)) for name in ("log_std_min", "log_std_max")]
    return mean, graph.node("Exp", [graph.node("Clip", [log_std, *bounds], "log_std")], "std")


def _squashed(graph: Graph, mean: str, std: str) -> None:
    """The actions of a Gaussian under the tanh."""
    graph.node("Tanh", [mean], "action")
    draw = graph.node("Add", [mean, graph.node("Mul", [std, "noise"], "scaled_noise")], "sample")
    graph.node("Tanh", [draw], "sampled_action")


def _of(layer: Any) -> tuple[Tensor, Tensor]:
    return layer.weight, layer.bias


def _layer_norm(graph: Graph, x: str, norm: Any, name: str) -> str:
    constants = [graph.constant(f"{name}_gain", norm.weight), graph.constant(f"{name}_bias", norm.bias)]
    return graph.node("LayerNormalization", [x, *constants], name, epsilon=norm.eps)


def sampler_sizes(actor: EnergyPolicy) -> tuple[int, ...]:
    """Widths from observation to action of an energy-based policy's sampler."""
    sampler = actor.sampler
    layers = [sampler.observation, *sampler.hidden, sampler.head]
    return (sampler.observation.in_features, *(layer.out_features for layer in layers))


def _dense(graph: Graph, x: str, constants: tuple[str, str], name: str) -> str:
    """x W + b over the last dimension, whatever stands before it."""
    weight, bias = constants
    return graph.node("Add", [graph.node("MatMul", [x, weight], f"{name}_product"), bias], name)


def _normalized_relu(graph: Graph, x: str, critics: Any, c: int, index: int) -> str:
    if critics.norms is not None:
        norm, name = critics.norms[index], f"critic_{c}_norm_{index}"
        constants = [graph.constant(f"{name}_gain", norm.gain[c, 0]), graph.constant(f"{name}_bias", norm.bias[c, 0])]
        x = graph.node("LayerNormalization", [x, *constants], name, epsilon=1e-5)
    return graph.node("Relu", [x], f"critic_{c}_hidden_{index}")
