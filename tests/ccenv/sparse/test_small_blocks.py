"""Which layers of a fused program are computed whole, and that they come out the same."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from ccenv.base.masks import random_mask
from ccenv.deploy.fused.classifier import FusedClassifier
from ccenv.deploy.fused.network import is_whole
from ccenv.mdp.choosers import Chooser
from ccenv.mdp.observations import make_observer
from ccenv.networks.core.lowering import lowered
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import forward


def network_of(blocks, size, features=20, head=()):
    torch.manual_seed(0)
    network = GatedMLP(features, blocks, size, head_units=head, activation="tanh")
    return network.requires_grad_(False)


def random_maps(network, observation, shape):
    lengths = make_observer(observation, network, shape).lengths
    draw = torch.Generator().manual_seed(1)
    return [
        [(torch.randn(n, length, generator=draw), None)]
        for n, length in zip(network.num_blocks, lengths, strict=False)
    ]


def whole(network, choosers=None):
    operations = lowered(network).operations
    return [is_whole(operations, gate, choosers) for gate in range(len(network.num_blocks))]


def test_single_units_are_computed_whole_unless_few_are_kept():
    network = network_of((256,), 1, features=784)
    assert whole(network) == [True]
    assert whole(network, [Chooser(torch.zeros(256), "sampled")]) == [True]
    assert whole(network, [Chooser(torch.zeros(256), "top_k", num_kept=1)]) == [False]
    assert whole(network, [Chooser(torch.full((256,), -9.0), "sampled")]) == [False]
    assert whole(network_of((64, 128), (16, 1))) == [False, True]


@pytest.mark.parametrize("where", ["layer", "head", "policy"])
def test_nothing_is_computed_whole_beside_weights_that_are_not_finite(where):
    network = network_of((256, 256), 1)
    maps = random_maps(network, "layer_input", (1, 4, 5))
    choosers = [Chooser(m) for m in maps]
    assert whole(network, choosers) == [True, True]
    weight = {
        "layer": network.layers[1].weight,
        "head": network.head_layers[0].weight,
        "policy": maps[1][0][0],
    }[where]
    weight[0, 3] = torch.nan
    assert whole(network, choosers) == [False, False]


CHOSEN = st.lists(st.booleans(), min_size=3, max_size=3)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 5)), min_size=3, max_size=3),
    CHOSEN,
    st.sampled_from(["layer_input", "summary"]),
    st.sampled_from([(), (9,)]),
)
@settings(max_examples=20)
def test_layers_computed_whole_give_the_same_masks_and_logits(layers, chosen, observation, head):
    blocks, sizes = zip(*layers, strict=True)
    network, shape = network_of(blocks, sizes, 20, head), (1, 4, 5)
    choosers = [Chooser(maps) for maps in random_maps(network, observation, shape)]
    images = torch.randn(40, *shape, generator=torch.Generator().manual_seed(2))
    given_masks = [random_mask(40, n, 0.5, torch.Generator().manual_seed(3)) for n in blocks]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ccenv.deploy.fused.network.is_whole", lambda *given: chosen[given[1]])
        fused = FusedClassifier(network, choosers, observation=observation, image_shape=shape)
        logits, masks = fused(images)
        without = FusedClassifier(network)
    torch.testing.assert_close(logits, forward(network, images.flatten(1), masks, "reference"))
    found, _ = without(images, given_masks)
    torch.testing.assert_close(found, forward(network, images.flatten(1), given_masks, "reference"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ccenv.deploy.fused.network.is_whole", lambda *_: False)
        skipping = FusedClassifier(network, choosers, observation=observation, image_shape=shape)
    # Scores differ by rounding: one next to zero may choose otherwise, and then so do those behind.
    differ = torch.cat(masks, dim=1) != torch.cat(skipping(images)[1], dim=1)
    assert differ.any(dim=1).sum() <= 1


def test_what_was_computed_for_a_skipped_unit_reaches_nobody():
    network = network_of((256,), 1)
    masks = [random_mask(9, 256, 0.5, torch.Generator().manual_seed(0))]
    images = torch.randn(9, 20, generator=torch.Generator().manual_seed(1))
    masks[0][:, 5] = False
    expected, _ = FusedClassifier(network)(images, masks)
    network.layers[0].weight[5] = 1e30
    network.layers[0].bias[5] = -1e30
    network.head_layers[0].weight[:, 5] = 1e30
    assert whole(network) == [True]
    assert torch.equal(FusedClassifier(network)(images, masks)[0], expected)


@pytest.mark.parametrize("scores", [torch.ones(256), [(torch.ones(256, 20), None)]])
def test_an_unknown_rule_is_refused_where_blocks_are_small_too(scores):
    with pytest.raises(ValueError, match="unknown rule 'topk'"):
        FusedClassifier(network_of((256,), 1), [Chooser(scores, "topk")])
