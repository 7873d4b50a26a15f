"""The networks of an actor-critic: a Gaussian actor, a sampler, a value, and several critics evaluated as one stack."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn


def _uniform(shape: Sequence[int], fan_in: int, generator: torch.Generator) -> nn.Parameter:
    """Uniform on +-1/sqrt(fan_in), what torch.nn.Linear draws too, but from our own generator."""
    bound = 1.0 / math.sqrt(fan_in)
    return nn.Parameter((2.0 * torch.rand(*shape, generator=generator) - 1.0) * bound)


def draw_weights(layers: Sequence[nn.Linear], generator: torch.Generator) -> None:
    """Draws weights and biases of linear layers, uniform on +-1/sqrt(inputs)."""
    for layer in layers:
        layer.weight = _uniform(layer.weight.shape, layer.in_features, generator)
        layer.bias = _uniform(layer.bias.shape, layer.in_features, generator)


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """layer(x) in float32 under autocast too: a value of 100 in bfloat16 is known to half a unit only."""
    if not torch.is_autocast_enabled("cpu"):
        return layer(x)
    with torch.autocast("cpu", enabled=False):
        return layer(x.float())


class Actor(nn.Module):
    """Maps a normalised observation to the Gaussian under the tanh."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        hidden_sizes: Sequence[int],
        log_std_bounds: tuple[float, float],
        generator: torch.Generator,
    ) -> None:
        """Draws the weights from `generator`.

        Args:
            observation_size: number of entries O of an observation.
            action_size: number of entries A of an action.
            hidden_sizes: widths of the ReLU layers.
            log_std_bounds: the least and greatest log standard deviation that `forward` returns.
            generator: source of the initial weights.
        """
        super().__init__()
        self.log_std_min, self.log_std_max = log_std_bounds
        sizes = [observation_size, *hidden_sizes]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(sizes[-1], 2 * action_size)
        draw_weights([*self.hidden, self.head], generator)

    def forward(self, normalized_observation: Tensor) -> tuple[Tensor, Tensor]:
        """The Gaussian of the pre-tanh action.

        Args:
            normalized_observation: (..., O).

        Returns:
            mean (..., A) and log_std (..., A), the latter within its bounds.
        """
        x = normalized_observation
        for layer in self.hidden:
            x = torch.relu_(layer(x))  # in place: the layer's own result is needed nowhere else
        mean, log_std = in_float32(self.head, x).chunk(2, dim=-1)
        return mean, log_std.clamp(self.log_std_min, self.log_std_max)


class Value(nn.Module):
    """Maps a normalised observation to the value of its state."""

    def __init__(self, observation_size: int, hidden_sizes: Sequence[int], generator: torch.Generator) -> None:
        """Draws the weights from `generator`; `hidden_sizes` are the widths of the ReLU layers."""
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([observation_size, *hidden_sizes]))
        self.head = nn.Linear(hidden_sizes[-1], 1)
        draw_weights([*self.hidden, self.head], generator)

    def forward(self, normalized_observation: Tensor) -> Tensor:
        """V(s), (...), for observations (..., O)."""
        x = normalized_observation
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.head(x).squeeze(-1)


class ActionValues(nn.Module):
    """Maps a normalised observation to the Q of each of finitely many actions."""

    def __init__(
        self, observation_size: int, actions: int, hidden_sizes: Sequence[int], generator: torch.Generator
    ) -> None:
        """Draws the weights from `generator`; `hidden_sizes` are the widths of the ReLU layers."""
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([observation_size, *hidden_sizes]))
        self.head = nn.Linear(hidden_sizes[-1], actions)
        draw_weights([*self.hidden, self.head], generator)

    def forward(self, normalized_observation: Tensor) -> Tensor:
        """Q(s, .), (..., A), for observations (..., O)."""
        x = normalized_observation
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.head(x)


class Sampler(nn.Module):
    """Maps a normalised observation and noise to a pre-tanh action: u = f(noise; s), whose density may have any shape.

    The noise is added to the result too. So the first policy is broad, and a density of several modes begins with
    draws near all of them; what is lost then does not come back.
    """

    def __init__(
        self, observation_size: int, action_size: int, hidden_sizes: Sequence[int], generator: torch.Generator
    ) -> None:
        """Draws the weights from `generator`; `hidden_sizes` are the widths of the ReLU layers."""
        super().__init__()
        # The first layer of both inputs in two parts, so that many draws for one observation share its part.
        self.observation = nn.Linear(observation_size, hidden_sizes[0])
        self.noise = nn.Linear(action_size, hidden_sizes[0], bias=False)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(hidden_sizes))
        self.head = nn.Linear(hidden_sizes[-1], action_size)
        inputs = observation_size + action_size
        self.observation.weight = _uniform(self.observation.weight.shape, inputs, generator)
        self.observation.bias = _uniform(self.observation.bias.shape, inputs, generator)
        self.noise.weight = _uniform(self.noise.weight.shape, inputs, generator)
        draw_weights([*self.hidden, self.head], generator)

    def forward(self, normalized_observation: Tensor, noise: Tensor) -> Tensor:
        """N draws for each observation.

        Args:
            normalized_observation: (..., O).
            noise: draws of N(0, I), (..., N, A).

        Returns:
            The pre-tanh actions, (..., N, A).
        """
        x = self.observation(normalized_observation)[..., None, :] + self.noise(noise)  # (..., N, H)
        for layer in self.hidden:
            x = layer(torch.relu(x))
        return noise + self.head(torch.relu(x))


def of_the_first(count: int, parameter: Tensor) -> Tensor:
    """The part of a stack's parameter, (C, ...), that belongs to the first `count` of its C members."""
    return parameter if count == parameter.shape[0] else parameter[:count]


class StackedLinear(nn.Module):
    """C independent linear layers computed by one batched product: (C, B, I) -> (C, B, J).

    Inputs of the first c of them alone, (c, B, I), give what those c make of them; so it is with all stacks here.
    """

    def __init__(self, count: int, inputs: int, outputs: int, generator: torch.Generator) -> None:
        """Draws the weights of all C layers from `generator`."""
        super().__init__()
        self.weight = _uniform((count, inputs, outputs), inputs, generator)
        self.bias = _uniform((count, 1, outputs), inputs, generator)

    def forward(self, x: Tensor) -> Tensor:
        """x_c W_c + b_c for every c."""
        count = x.shape[0]
        return torch.baddbmm(of_the_first(count, self.bias), x, of_the_first(count, self.weight))


def stacked_values(x: Tensor, head: StackedLinear) -> Tensor:
    """The only output of each of C heads, (C, B), for x (C, B, J).

    Summed here, several times faster than a batched product with a single column, and in float32 under autocast too.
    """
    count = x.shape[0]
    return (x * of_the_first(count, head.weight).mT).sum(dim=-1) + of_the_first(count, head.bias).squeeze(-1)


class StackedLayerNorm(nn.Module):
    """Layer normalisation over the features, with gains and biases of their own for each of the C critics."""

    def __init__(self, count: int, features: int) -> None:
        """Starts with gain 1 and bias 0."""
        super().__init__()
        self.gain = nn.Parameter(torch.ones(count, 1, features))
        self.bias = nn.Parameter(torch.zeros(count, 1, features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (C, B, J) over J."""
        count = x.shape[0]
        unit = nn.functional.layer_norm(x, x.shape[-1:])
        return unit * of_the_first(count, self.gain) + of_the_first(count, self.bias)


class Critics(nn.Module):
    """C Q-functions of the same shape and independent weights."""

    def __init__(
        self,
        count: int,
        observation_size: int,
        action_size: int,
        hidden_sizes: Sequence[int],
        layer_norm: bool,
        generator: torch.Generator,
        unit: float = 1.0,
    ) -> None:
        """Draws the weights from `generator`.

        Args:
            count: number C of critics.
            observation_size: number of entries O of an observation.
            action_size: number of entries A of an action.
            hidden_sizes: widths of the ReLU layers.
            layer_norm: whether each hidden layer is normalised before its ReLU.
            generator: source of the initial weights.
            unit: reward units by which the last layer's output is multiplied, so that large values are in reach.
        """
        super().__init__()
        self.count = count
        self.unit = unit
        sizes = [observation_size + action_size, *hidden_sizes]
        pairs = list(pairwise(sizes))
        self.hidden = nn.ModuleList(StackedLinear(count, a, b, generator) for a, b in pairs)
        self.norms = nn.ModuleList(StackedLayerNorm(count, b) for _, b in pairs) if layer_norm else None
        self.head = StackedLinear(count, sizes[-1], 1, generator)

    def forward(
        self, normalized_observation: Tensor, action: Tensor, kept: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Q_c(s, a) of all critics.

        Args:
            normalized_observation: (B, O).
            action: in [-1, 1], (B, A).
            kept: of dropout, what each hidden layer is multiplied by, (C, B, J); None for no dropout.

        Returns:
            (C, B).
        """
        x = torch.cat([normalized_observation, action], dim=-1).expand(self.count, -1, -1)  # (C, B, O + A)
        return self._values(self.hidden[0](x), kept)

    def climbed(
        self,
        normalized_observation: Tensor,
        action: Tensor,
        kept: Sequence[Tensor] | None = None,
        count: int | None = None,
    ) -> Tensor:
        """What `forward` gives, where only the slope by the action is going to be asked, as an actor's loss does.

        So the first layer's product with the observation needs no gradient, which for 90 observations saves a twentieth
        of an update of SAC, for 376 a twelfth.

        Args:
            normalized_observation: (B, O).
            action: in [-1, 1], (B, A).
            kept: see `forward`; of the critics that are asked.
            count: how many are asked, from the first on; None for all.

        Returns:
            (count, B).
        """
        count = self.count if count is None else count
        first, size = self.hidden[0], normalized_observation.shape[-1]
        assert isinstance(first, StackedLinear)
        weight, bias = of_the_first(count, first.weight), of_the_first(count, first.bias)
        with torch.no_grad():
            rows = normalized_observation.expand(count, -1, -1)
            x = torch.baddbmm(bias, rows, weight[:, :size])  # (c, B, J)
        x = torch.baddbmm(x, action.expand(count, -1, -1), weight.detach()[:, size:])
        return self._values(x, kept)

    def _values(self, x: Tensor, kept: Sequence[Tensor] | None) -> Tensor:
        """Q_c, (C, B), from what the first layer's product gave, (C, B, J)."""
        for index in range(len(self.hidden)):
            if index > 0:
                x = self.hidden[index](x)
            if kept is not None:
                x = x * kept[index]
            if self.norms is not None:
                x = self.norms[index](x)
            x = torch.relu_(x)
        q = stacked_values(x, self.head)
        return q if self.unit == 1.0 else self.unit * q


@torch.no_grad()
def move_targets(targets: Sequence[Tensor], sources: Sequence[Tensor], tau: float) -> None:
    """theta_target <- (1 - tau) theta_target + tau theta, in place, for lists of tensors of matching shapes."""
    torch._foreach_lerp_(list(targets), list(sources), tau)


@contextmanager
def without_gradients(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Lets gradients pass through a network to its inputs without computing those of its weights."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
