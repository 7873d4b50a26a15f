"""From a small picture to a few features: convolutions, and the random shifts that steady them.

Sources: two small convolutions as in the valve experiment of Haarnoja et al. 2018 (arXiv 1812.05905); features under
layer normalisation and tanh from Yarats et al. 2019 (arXiv 1910.01741); shifts from Kostrikov et al. 2020 ("DrQ",
arXiv 2004.13649).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from robot_rl.algorithms.networks import Actor, draw_weights
from robot_rl.settings import check

KERNEL, STRIDE = 3, 2


@dataclass(frozen=True)
class EncoderSettings:
    """Settings of the network that looks at pictures."""

    channels: tuple[int, ...] = (16, 16)
    """Filters of each convolution, 3 x 3 pixels with stride 2."""
    features: int = 50
    """Numbers that a picture becomes."""
    shift: int = 2
    """Pixels by which pictures are shifted at random in learning, each on its own; 0 for none."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        check(
            self,
            "encoder",
            channels=(all(count > 0 for count in self.channels), "positive numbers of filters"),
            features=(self.features > 0, "positive"),
            shift=(self.shift >= 0, "zero or positive"),
        )


class Encoder(nn.Module):
    """Maps normalised pixels to features in [-1, 1]."""

    def __init__(self, shape: tuple[int, int, int], settings: EncoderSettings, generator: torch.Generator) -> None:
        """Draws the weights from `generator`.

        Args:
            shape: of a picture: height, width, channels.
            settings: see `EncoderSettings`.
            generator: source of the initial weights.

        Raises:
            ConfigurationError: there are more convolutions than the picture has room for.
        """
        super().__init__()
        self.shape = shape
        height, width, colours = shape
        for _ in settings.channels:
            height, width = ((side - KERNEL) // STRIDE + 1 for side in (height, width))
        fits = len(settings.channels)
        check(settings, "encoder", channels=(min(height, width) >= 1, f"fewer than {fits} for {shape[:2]} pixels"))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, KERNEL, STRIDE) for a, b in pairwise((colours, *settings.channels))
        )
        self.head = nn.Linear(height * width * (settings.channels or (colours,))[-1], settings.features)
        self.norm = nn.LayerNorm(settings.features)
        for layer in self.convolutions:
            assert isinstance(layer, nn.Conv2d)
            draw_convolution(layer, generator)
        draw_weights([self.head], generator)

    def forward(self, normalized_pixels: Tensor) -> Tensor:
        """Features (..., F) of pixels (..., height x width x channels), row by row from the top, about -1 to 1."""
        batch = normalized_pixels.shape[:-1]
        # Copied into this order: compiled by torch 2.13, convolutions of a permuted view get wrong gradients.
        x = normalized_pixels.reshape(-1, *self.shape).permute(0, 3, 1, 2).contiguous()  # (B, channels, height, width)
        for layer in self.convolutions:
            x = torch.relu(layer(x))
        x = torch.tanh(self.norm(self.head(x.flatten(1))))
        return x.reshape(*batch, -1)


def draw_convolution(layer: nn.Conv2d, generator: torch.Generator) -> None:
    """Draws weights and biases uniform on +-1/sqrt(inputs of a filter)."""
    bound = 1.0 / math.sqrt(layer.weight[0].numel())
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            assert parameter is not None
            parameter.copy_((2.0 * torch.rand(parameter.shape, generator=generator) - 1.0) * bound)


def shifted(pixels: Tensor, shape: tuple[int, int, int], most: int, generator: torch.Generator) -> Tensor:
    """Shifts each picture by up to `most` pixels either way; what comes in at an edge repeats it.

    Args:
        pixels: (B, height x width x channels).
        shape: height, width, channels.
        most: pixels; 0 gives the pictures as they are and draws nothing.
        generator: of the shifts.

    Returns:
        (B, height x width x channels).
    Source: Kostrikov et al. 2020, section 4.1.
    """
    if most == 0:
        return pixels
    count, (height, width, colours) = len(pixels), shape
    by = torch.randint(-most, most + 1, (2, count, 1), generator=generator)  # down, right
    pictures = pixels.reshape(count, height, width * colours)
    left, right = (edge.repeat(1, 1, most) for edge in (pictures[..., :colours], pictures[..., -colours:]))
    wide = torch.cat([left, pictures, right], dim=-1)  # (B, height, (width + 2 most) x channels)
    padded = torch.cat([wide[:, :1].expand(-1, most, -1), wide, wide[:, -1:].expand(-1, most, -1)], dim=1)
    # Every window into the padded picture, as a view: (B, 2 most + 1 down, 2 most + 1 right, height, width x channels).
    windows = padded.unfold(1, height, 1).unfold(2, width * colours, colours)
    return windows[torch.arange(count), most + by[0, :, 0], most + by[1, :, 0]].reshape(count, -1)


class SeeingActor(nn.Module):
    """An actor that looks at a picture: the Gaussian under the tanh, from features and state."""

    def __init__(
        self,
        encoder: Encoder,
        state_size: int,
        action_size: int,
        hidden_sizes: Sequence[int],
        log_std_bounds: tuple[float, float],
        generator: torch.Generator,
    ) -> None:
        """Args: encoder: may be another network's too; the rest as for `Actor`, which gets features and state."""
        super().__init__()
        self.encoder = encoder
        self.state_size = state_size
        features = encoder.head.out_features
        self.policy = Actor(features + state_size, action_size, hidden_sizes, log_std_bounds, generator)

    def forward(self, normalized_row: Tensor) -> tuple[Tensor, Tensor]:
        """mean and log_std of the pre-tanh action, (..., A) each, for rows (..., state and pixels)."""
        pixels = normalized_row.shape[-1] - self.state_size
        state, picture = normalized_row.split([self.state_size, pixels], dim=-1)
        return self.policy(torch.cat([self.encoder(picture), state], dim=-1))
