"""The network that looks at pictures, against loops."""

import numpy as np
import pytest
import torch

from robot_rl.algorithms.encoder import Encoder, EncoderSettings, shifted
from robot_rl.errors import ConfigurationError

SHAPE = (9, 8, 3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_features_are_those_of_the_loops_in_the_books():
    encoder = Encoder(SHAPE, EncoderSettings(channels=(2,), features=4), generator())
    pixels = np.random.default_rng(0).uniform(-1, 1, SHAPE).astype(np.float32)
    (layer,) = encoder.convolutions
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    seen = np.zeros((2, 4, 3))
    for out in range(2):
        for row in range(4):
            for column in range(3):
                window = pixels[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]  # (3, 3, colours)
                seen[out, row, column] = bias[out] + (window.transpose(2, 0, 1) * weight[out]).sum()
    x = encoder.head.weight.detach().numpy() @ np.maximum(seen, 0).ravel() + encoder.head.bias.detach().numpy()
    wanted = np.tanh((x - x.mean()) / np.sqrt(x.var() + 1e-5))
    with torch.no_grad():
        found = encoder(torch.from_numpy(pixels.ravel()))
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


def test_any_batch_shape_gives_the_same_features():
    encoder = Encoder(SHAPE, EncoderSettings(features=5), generator())
    pixels = torch.rand(2, 3, int(np.prod(SHAPE)), generator=generator(1))
    features = encoder(pixels)
    assert features.shape == (2, 3, 5)
    torch.testing.assert_close(features[1, 2], encoder(pixels[1, 2]))


def test_a_shift_moves_the_picture_and_repeats_its_edge():
    pictures = np.random.default_rng(0).random((200, *SHAPE)).astype(np.float32)
    moved = shifted(torch.from_numpy(pictures.reshape(200, -1)), SHAPE, 2, generator()).reshape(200, *SHAPE).numpy()
    seen = set()
    for before, after in zip(pictures, moved, strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)), mode="edge")
        found = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if np.array_equal(padded[down : down + SHAPE[0], right : right + SHAPE[1]], after)
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 25


def test_no_shift_leaves_pictures_and_the_generator_alone():
    pixels, random = torch.rand(4, int(np.prod(SHAPE))), generator()
    before = random.get_state()
    assert shifted(pixels, SHAPE, 0, random) is pixels
    assert torch.equal(random.get_state(), before)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"channels": (4, 0)}, "channels"), ({"features": 0}, "features"), ({"shift": -1}, "shift")],
)
def test_settings_that_cannot_work_are_refused_by_name(settings, words):
    with pytest.raises(ConfigurationError, match=f"encoder: {words} must be"):
        EncoderSettings(**settings)


def test_more_convolutions_than_pixels_are_refused():
    with pytest.raises(ConfigurationError, match=r"channels must be fewer than 3 for \(9, 8\) pixels"):
        Encoder(SHAPE, EncoderSettings(channels=(4, 4, 4)), generator())
