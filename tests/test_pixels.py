"""Stored bytes in, logits out: as if they had been averaged, scaled and standardised before."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.blocks import random_mask
from ccenv.builders import build_network
from ccenv.data import standardised
from ccenv.fused import Chooser, FusedClassifier, Pixels
from ccenv.networks import GatedMLP
from runs.sweeps.halved import halves


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network_of(features):
    network = build_network(
        GatedMLP, 0, in_features=features, num_blocks=(5,), block_size=6, num_classes=4
    )
    return network.requires_grad_(False)


def stored(count, channels, height, width):
    shape = (count, channels, height, width)
    return torch.randint(0, 256, shape, generator=generator(1)).to(torch.uint8)


def seen(images, pixels):
    """What the network sees, in torch."""
    floats = (halves(images) if pixels.window == 2 else images).float() / 255
    return floats if pixels.scale is None else standardised(floats, pixels.scale)


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 15), st.integers(1, 20)),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.sampled_from([1, 90]),
)
@settings(max_examples=40, deadline=None)
def test_bytes_give_what_the_floats_made_of_them_give(shape, window, is_scaled, batch):
    channels, height, width = shape
    scale = (torch.rand(channels), torch.rand(channels) + 0.1) if is_scaled else None
    pixels, network = Pixels(window, scale), network_of(channels * height * width)
    images = stored(batch, channels, window * height, window * width)
    masks = [random_mask(batch, 5, 0.5, generator(2))]
    logits, _ = FusedClassifier(network, image_shape=shape, pixels=pixels)(images, masks)
    expected, _ = FusedClassifier(network)(seen(images, pixels), masks)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("observation", ["layer_input", "summary"])
@pytest.mark.parametrize(("window", "shape"), [(1, (3, 16, 16)), (2, (1, 14, 14))])
def test_a_policy_looks_at_what_the_network_sees(observation, window, shape):
    pixels, network = Pixels(window), network_of(shape[0] * shape[1] * shape[2])
    images = stored(64, shape[0], *(window * side for side in shape[1:]))
    size = network.in_features if observation == "layer_input" else shape[0] * (shape[1] // 2) ** 2
    chooser = Chooser([(torch.randn(5, size, generator=generator()), None)], "top_k", 2)
    settings = {"observation": observation, "image_shape": shape}
    logits, (mask,) = FusedClassifier(network, [chooser], pixels=pixels, **settings)(images)
    expected, (own,) = FusedClassifier(network, [chooser], **settings)(seen(images, pixels))
    assert mask.float().mean() == pytest.approx(0.4)
    assert (mask == own).all(dim=1).float().mean() > 0.95, "but for what rounding decides"
    same = (mask == own).all(dim=1)
    torch.testing.assert_close(logits[same], expected[same], rtol=1e-4, atol=1e-5)


def test_pixels_and_images_that_do_not_fit_are_refused():
    network = network_of(12)
    with pytest.raises(ValueError, match="a window of 1 or 2 pixels, got 3"):
        FusedClassifier(network, image_shape=(3, 2, 2), pixels=Pixels(3))
    for shape in (None, (1, 2, 2)):
        with pytest.raises(ValueError, match=r"image_shape .* of 12 pixels in all"):
            FusedClassifier(network, image_shape=shape, pixels=Pixels())
    short = Pixels(1, (torch.zeros(1), torch.ones(1)))
    with pytest.raises(ValueError, match=r"a scale \[3\] of the channels, got \[\[1\], \[1\]\]"):
        FusedClassifier(network, image_shape=(3, 2, 2), pixels=short)
    fused = FusedClassifier(network, image_shape=(3, 2, 2), pixels=Pixels(2))
    masks = [torch.ones(2, 5, dtype=torch.bool)]
    with pytest.raises(TypeError, match="expected uint8 images on the CPU"):
        fused(torch.zeros(2, 3, 4, 4), masks)
    with pytest.raises(ValueError, match="images of 48 features"):
        fused(stored(2, 3, 2, 2), masks)
