"""A network and its policy in one compiled call: equal to the layers one by one."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from ccenv.base.masks import random_mask
from ccenv.deploy.fused.classifier import Chooser, FusedClassifier, why_not_fused
from ccenv.deploy.fused.pooling import pool_images
from ccenv.deploy.latency import plain_pass
from ccenv.mdp.observations import pool, pool_window
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import dense_forward, forward

SIZES = st.tuples(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 20)), min_size=1, max_size=3),
    st.lists(st.integers(1, 20), max_size=2),
)


def network_of(features=12, blocks=(4, 3), size=(8, 5), head=(), activation="tanh", classes=3):
    network = build_network(
        GatedMLP,
        0,
        in_features=features,
        num_blocks=blocks,
        block_size=size,
        head_units=head,
        activation=activation,
        num_classes=classes,
    ).requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator(1)))
    return network


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(SIZES, st.sampled_from([1, 7, 33, 200]), st.sampled_from(["tanh", "relu"]))
@settings(max_examples=40, deadline=None)
def test_given_masks_it_computes_what_the_layers_compute(sizes, batch, activation):
    features, layers, head = sizes
    blocks, widths = zip(*layers, strict=True)
    network = network_of(features, blocks, widths, head, activation)
    images = torch.randn(batch, features, generator=generator())
    masks = [random_mask(batch, n, 0.4, generator(2)) for n in blocks]
    logits, used = FusedClassifier(network)(images, masks)
    torch.testing.assert_close(logits, forward(network, images, masks, "reference"))
    assert all(torch.equal(a, b) for a, b in zip(used, masks, strict=True))


@given(st.tuples(*[st.integers(1, 3), *[st.integers(1, 40)] * 2]), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_the_cheap_look_averages_as_torch_does(shape, beyond):
    channels, height, width = shape
    images = torch.randn(3, *shape, generator=generator())
    expected = pool(images).flatten(1)
    windows = [pool_window(side) for side in (height, width)]
    looks = torch.full((3, expected.shape[1] + beyond), 7.0)
    pool_images(
        images.data_ptr(), looks.data_ptr(), 3, looks.shape[1], channels, height, width, *windows
    )
    torch.testing.assert_close(looks[:, : expected.shape[1]], expected)
    assert bool((looks[:, expected.shape[1] :] == 7).all())


ODD_SCORES = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0, -1.0])


@given(st.lists(ODD_SCORES, min_size=1, max_size=40), st.data())
@settings(max_examples=60, deadline=None)
def test_the_best_k_are_kept_the_first_of_equal_ones_and_nan_before_all(scores, data):
    num_kept = data.draw(st.integers(1, len(scores)))
    chooser = Chooser(torch.tensor(scores), "top_k", num_kept)
    network = network_of(4, (len(scores),), (2,))
    _, (mask,) = FusedClassifier(network, [chooser])(torch.zeros(2, 4))
    places = [
        (-math.inf if math.isnan(s) else -s, not math.isnan(s), j) for j, s in enumerate(scores)
    ]
    best = sorted(j for *_, j in sorted(places)[:num_kept])
    assert mask[1].nonzero().flatten().tolist() == best


def test_an_image_does_not_depend_on_its_neighbours():
    network = network_of(64, (6,), (8,))
    maps = [[(torch.randn(6, 64, generator=generator()), None)]]
    fused = FusedClassifier(network, [Chooser(maps[0], "top_k", 2)])
    images = torch.randn(300, 64, generator=generator(1))
    logits, masks = fused(images)
    for row in (0, 17, 299):
        alone, mask = fused(images[row : row + 1])
        assert torch.equal(mask[0][0], masks[0][row])
        torch.testing.assert_close(alone[0], logits[row])


def test_repeats_are_equal_by_bits_and_an_empty_batch_is_an_empty_result():
    network = network_of()
    fused = FusedClassifier(network)
    images, masks = torch.randn(70, 12), [random_mask(70, n, 0.5, generator()) for n in (4, 3)]
    assert torch.equal(fused(images, masks)[0], fused(images, masks)[0])
    nothing, _ = fused(images[:0], [mask[:0] for mask in masks])
    assert nothing.shape == (0, 3)


def test_weights_of_skipped_blocks_are_not_read():
    network = network_of()
    masks = [random_mask(9, 4, 0.5, generator()), random_mask(9, 3, 0.5, generator(1))]
    masks[0][:, 2] = False
    images = torch.randn(9, 12)
    expected = forward(network, images, masks, "reference")
    network.layers[0].weight[16:24] = torch.nan
    network.layers[1].weight[:, 16:24] = torch.nan
    assert torch.equal(FusedClassifier(network)(images, masks)[0].isnan(), expected.isnan())
    torch.testing.assert_close(FusedClassifier(network)(images, masks)[0], expected)


def test_its_weights_are_copies():
    network = network_of()
    fused, images = FusedClassifier(network), torch.randn(2, 12)
    masks = [torch.ones(2, n, dtype=torch.bool) for n in (4, 3)]
    before = fused(images, masks)[0]
    network.layers[0].weight.data.zero_()
    assert torch.equal(fused(images, masks)[0], before)


class OtherLayers(GatedMLP):
    def gated_layer(self, *arguments, **settings):
        return super().gated_layer(*arguments, **settings) + 0


def test_what_cannot_be_fused_is_refused_with_the_reason():
    other = build_network(OtherLayers, 0, in_features=4)
    assert "gated_layer() of its own and no lower()" in why_not_fused(other)
    with pytest.raises(ValueError, match="cannot fuse OtherLayers"):
        FusedClassifier(other)
    with pytest.raises(ValueError, match="float32 on the CPU"):
        FusedClassifier(network_of().double())
    with pytest.raises(ValueError, match="its activation"):
        FusedClassifier(network_of(activation=torch.sin))


@pytest.mark.parametrize(
    ("choosers", "message"),
    [
        ([], "a chooser for each of 2"),
        ([Chooser([(torch.ones(4, 11), None)])] * 2, "maps from 12 features to 4 scores"),
        ([Chooser([(torch.ones(4, 12), None)], "topk")] * 2, "unknown rule 'topk'"),
        ([Chooser([(torch.ones(4, 12), None)], "top_k", 5)] * 2, "num_kept in 1..4"),
        ([Chooser(torch.ones(3))] * 2, "expected 4 scores"),
        ([Chooser(torch.ones(4), activation="elu")] * 2, "unknown activation 'elu'"),
    ],
)
def test_choosers_that_do_not_fit_are_refused(choosers, message):
    with pytest.raises(ValueError, match=message):
        FusedClassifier(network_of(), choosers)


def test_bad_images_masks_and_generators_are_refused():
    network = network_of()
    fused, good = FusedClassifier(network), torch.randn(2, 12)
    masks = [torch.ones(2, n, dtype=torch.bool) for n in (4, 3)]
    with pytest.raises(TypeError, match="float32 images on the CPU"):
        fused(good.double(), masks)
    with pytest.raises(ValueError, match="images of 12 features"):
        fused(torch.randn(2, 11), masks)
    with pytest.raises(ValueError, match="got none"):
        fused(good)
    with pytest.raises(ValueError, match="expected masks of shapes"):
        fused(good, masks[:1])
    with pytest.raises(TypeError, match="bool masks"):
        fused(good, [mask.int() for mask in masks])
    maps = [[(torch.ones(n, w), None)] for n, w in zip((4, 3), (12, 32), strict=True)]
    choosing = FusedClassifier(network, [Chooser(m, "drawn") for m in maps])
    with pytest.raises(ValueError, match="expected a generator"):
        choosing(good)
    with pytest.raises(ValueError, match="expected no masks"):
        choosing(good, masks)


def test_images_and_masks_that_lie_apart_in_memory_give_the_same():
    network = network_of()
    fused, images = FusedClassifier(network), torch.randn(5, 24)[:, ::2]
    masks = [torch.rand(n, 5).t() < 0.5 for n in (4, 3)]
    expected = forward(network, images, [m.contiguous() for m in masks], "reference")
    torch.testing.assert_close(fused(images, masks)[0], expected)


def test_rows_that_are_shared_between_threads_give_the_same():
    network = network_of(300, (20,), (32,))
    images = torch.randn(2000, 300, generator=generator())
    masks = [random_mask(2000, 20, 0.3, generator(1))]
    fused, before = FusedClassifier(network), torch.get_num_threads()
    alone = fused(images, masks)[0]
    torch.set_num_threads(3)
    try:
        torch.testing.assert_close(fused(images, masks)[0], alone)
    finally:
        torch.set_num_threads(before)


def test_scores_may_be_the_same_for_every_image():
    network, images = network_of(), torch.randn(3000, 12, generator=generator())
    bits = [torch.tensor([True, False, True, False]), torch.tensor([False, True, True])]
    fixed = FusedClassifier(network, [Chooser(b.float() - 0.5) for b in bits])
    logits, masks = fixed(images)
    assert all(bool((mask == b).all()) for mask, b in zip(masks, bits, strict=True))
    torch.testing.assert_close(logits, forward(network, images, masks, "reference"))
    rate = torch.tensor(0.2).logit()
    drawn = FusedClassifier(network, [Chooser(rate.expand(n), "drawn") for n in (4, 3)])
    kept = torch.cat(drawn(images, generator=generator())[1], dim=1).float().mean()
    assert kept == pytest.approx(0.2, abs=0.02)
    never = FusedClassifier(
        network, [Chooser(torch.full((n,), -torch.inf), "drawn") for n in (4, 3)]
    )
    assert not torch.cat(never(images, generator=generator())[1], dim=1).any()


def test_the_dense_network_that_speed_is_measured_against_computes_the_same():
    network = network_of(12, (4, 3), (8, 5), (7,))
    images = torch.randn(9, 3, 2, 2, generator=generator())
    torch.testing.assert_close(
        plain_pass(network, len(images))(images), dense_forward(network, images)
    )
    other = build_network(OtherLayers, 0, in_features=12).requires_grad_(False)
    torch.testing.assert_close(plain_pass(other, 9)(images), dense_forward(other, images))
