"""EfficientNet-Lite0: its paddings and blocks, its laws as a gated network, and its new head."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ccenv.annexes.networks.pretrained import efficientnet as lite
from ccenv.annexes.networks.pretrained.packages import packaged_path
from ccenv.data.split import Split
from ccenv.networks.core.protocol import forward
from tests.ccenv.networks.tiny import MOBILE


def small(num_classes=3, input_shape=(3, 8, 8), seed=0):
    torch.manual_seed(seed)
    return lite.efficientnet_lite0(input_shape, num_classes, **MOBILE)


def is_installed():
    try:
        packaged_path(lite.FILE)
    except ImportError:
        return False
    return True


real = pytest.mark.skipif(not is_installed(), reason=f"{lite.FILE.package} is not installed")


@pytest.mark.parametrize("channels", [1, 3])
def test_its_residual_blocks_are_gates(channels):
    network = small(input_shape=(channels, 8, 8))
    assert [gate.name for gate in network.gates] == ["blocks.2", "blocks.3", "blocks.4"]
    assert {gate.skipped for gate in network.gates} == {"identity"}


@given(side=st.integers(3, 12), kernel=st.sampled_from([3, 5]))
def test_padding_is_tensorflows(side, kernel):
    # Windows start at even pixels less (kernel - 1) / 2 where the side is odd, and one pixel later
    # where it is even: a kernel that reads one pixel of its window shows which.
    conv = lite.SameConv2d(1, 1, kernel, 2)
    place = kernel // 2 - (side % 2 == 0)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0, place, place] = 1
    x = torch.rand(1, 1, side, side)
    assert torch.equal(conv(x), x[:, :, ::2, ::2])


def test_inputs_of_the_size_that_blocks_see_are_not_resized():
    pixels = small().stem.pixels
    images = torch.rand(2, 3, 12, 12)
    torch.testing.assert_close(pixels(images), (images * 255 - 127) / 128)
    assert pixels(images[:, :1, :5, :7]).shape == (2, 3, 12, 12)


def test_every_weight_of_the_file_needs_its_place():
    network, other = small(), small(seed=1)
    named = {theirs(name): value for name, value in other.state_dict().items()}
    lite.load_lite0(network, named, is_own=True)
    images = torch.rand(2, 3, 8, 8)
    masks = [torch.ones(2, 1, dtype=torch.bool)] * 3
    assert torch.equal(forward(network, images, masks), forward(other, images, masks))
    for broken in ({**named, "_blocks.9._bn0.bias": torch.zeros(1)}, dict([*named.items()][1:])):
        with pytest.raises(ValueError, match="expected weights of an EfficientNet-Lite0"):
            lite.load_lite0(network, broken, is_own=True)


def theirs(name):
    """Our name of a weight -> the package's."""
    first, rest = name.split(".", 1)
    if first == "parts":
        number, inner = rest.replace("body.", "").split(".", 1)
        return f"_blocks.{number}._{inner}"
    ours = {"stem.conv": "_conv_stem", "stem.bn": "_bn0", "head.conv": "_conv_head"}
    ours |= {"head.bn": "_bn1", "head.fc": "_fc"}
    place, inner = name.rsplit(".", 1)
    return f"{ours[place]}.{inner}"


def split_of(num_images=60):
    """Images whose brightness is their class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_images) % 3
    images = torch.rand(num_images, 3, 8, 8, generator=generator) / 4 + labels.view(-1, 1, 1, 1) / 4
    return Split(images, labels, 3)


def test_a_new_head_learns_and_nothing_else_changes():
    network, split, masks = small(), split_of(), [torch.ones(60, 1, dtype=torch.bool)] * 3
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.learn_beforehand(split)
    assert bool((forward(network, split.images, masks).argmax(1) == split.labels).all())
    after = network.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"head.fc.weight", "head.fc.bias"}
    again = small()
    again.learn_beforehand(split)
    assert torch.equal(again.head.fc.weight, network.head.fc.weight)


def test_a_head_for_other_classes_is_refused():
    with pytest.raises(ValueError, match="answers for 3 classes"):
        small(num_classes=4).learn_beforehand(split_of())


@given(seed=st.integers(0, 99), l2=st.floats(1e-3, 1))
def test_logistic_regression_ends_where_its_price_is_lowest(seed, l2):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(40, 5, generator=generator) * 3 + 1
    labels = torch.randint(0, 3, (40,), generator=generator)
    weight, bias = lite.logistic_regression(features, labels, 3, l2)
    deviation = features.std(dim=0, correction=0)

    def priced(weight, bias):
        logits = nn.functional.linear(features, weight, bias)
        price = l2 * (weight * deviation).square().sum()
        return nn.functional.cross_entropy(logits, labels), price

    data, price = priced(weight, bias)
    for _ in range(5):
        step = [torch.randn(p.shape, generator=generator) / 50 for p in (weight, bias)]
        assert sum(priced(weight + step[0], bias + step[1])) >= data + price - 1e-6


@real
def test_imagenets_weights_all_have_their_place():
    network = lite.efficientnet_lite0(image_size=32)
    names = [gate.name for gate in network.gates]
    assert names == [f"blocks.{i}" for i in (2, 4, 6, 7, 9, 10, 12, 13, 14)]
    assert network.has_own_weights
    assert not lite.efficientnet_lite0(num_classes=10, image_size=32).has_own_weights
    own = sum(parameter.numel() for parameter in network.parameters())
    assert own == 4_652_008
