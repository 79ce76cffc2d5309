"""A user's own model, gated: laws 14 to 17, and what cannot be gated says why."""

import re
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from ccenv.annexes.networks.gating.gate import gate
from ccenv.annexes.networks.gating.gateable import gateable
from ccenv.networks.core.count_macs import counted
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.core.protocol import dense_forward, forward
from tests.ccenv.networks.own_models import (
    CASES,
    TOKENS,
    VECTORS,
    Block,
    Encoder,
    Residual,
    Wired,
    made,
)

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "runs" / "docs" / "gate.md").read_text()
SNIPPETS = re.findall(r"^```python\n(?!# \w+\.py)(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


class Counted(nn.Module):
    """Is told how many rows there are."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x, rows):
        return self.inner(x).view(rows, 4)


class Around(nn.Module):
    """One child, called as a test wants it."""

    def __init__(self, call, child=None):
        super().__init__()
        self.child, self.call = child or nn.Linear(4, 4), call

    def forward(self, x):
        return self.call(self.child, x)


class Joined(nn.Module):
    """A layer of all tensors that it is given, in a list or one by one."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.body = nn.Linear(inputs, outputs)

    def forward(self, *given):
        return self.body(torch.cat(given[0] if len(given) == 1 else given, dim=1))


class Named(nn.Module):
    """A layer of a dict."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 4)

    def forward(self, given):
        return {"y": self.body(given["x"])}


class Decoder(nn.Module):
    """A layer that reads something else beside what it changes, by position and by name."""

    def __init__(self):
        super().__init__()
        self.body, self.read = nn.Linear(8, 8), nn.Linear(4, 8)

    def forward(self, x, memory, offset=None):
        return x + self.body(x + self.read(memory)) + offset


@pytest.fixture(scope="module", params=CASES)
def case(request):
    make, arguments, example, units = CASES[request.param]
    model = made(make, *arguments)
    return model, gate(model, units, example), example


def test_everything_kept_a_gated_model_is_the_model(case):
    model, network, example = case
    everything = [torch.ones(2, blocks, dtype=torch.bool) for blocks in network.num_blocks]
    with torch.no_grad():
        assert torch.equal(forward(network, example, everything), model(example))
        heads = sum(p.numel() for head in network.exits for p in [head.head.weight])
        assert network.dense_macs - heads == counted(model, example[:1])[0]


def test_weights_are_the_models_own(case):
    model, network, _ = case
    own = {id(p) for p in model.parameters()}
    exits = {id(p) for p in network.exits.parameters()}
    assert {id(p) for p in network.parameters()} - exits == own


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_models_of_any_precision_are_gated(dtype):
    model = made(Wired).to(dtype)
    network = gate(model, CASES["wired"][3], VECTORS.to(dtype))
    masks = [torch.zeros(2, blocks, dtype=torch.bool) for blocks in network.num_blocks]
    masks[-1][0] = True
    assert forward(network, VECTORS.to(dtype), masks).dtype == dtype


def test_models_are_gated_under_autocast():
    units = {"first": "unit", "wide": "channels:4", "left": "zero"}
    network = gate(made(Wired), units, VECTORS)
    masks = [torch.eye(2, n, dtype=torch.bool) for n in network.num_blocks]
    with torch.autocast("cpu", torch.bfloat16):
        half = forward(network, VECTORS, masks)
    torch.testing.assert_close(half.float(), forward(network, VECTORS, masks), atol=0.1, rtol=0.1)


def test_a_weight_in_between_mixes_a_unit_with_its_input():
    model = made(nn.Sequential, Residual(8), nn.Linear(8, 3))
    network, weights = gate(model, {"0": "unit"}, VECTORS), torch.tensor([[0.25], [1.0]])
    want = model[1](torch.lerp(VECTORS, model[0](VECTORS), weights))
    for mask in (None, torch.ones(2, 1, dtype=torch.bool)):
        hidden = network.step(0, network.start(VECTORS), mask, weights)
        torch.testing.assert_close(network.logits(hidden), want)


def test_skipped_children_get_no_gradient():
    model = made(Wired)
    network = gate(model, {"first": "unit", "left": "zero"}, VECTORS)
    masks = [torch.tensor([[False], [False]]), torch.tensor([[True], [False]])]
    forward(network, VECTORS, masks).sum().backward()
    assert model.first.body.weight.grad is None
    assert bool(model.left.weight.grad.any())


def test_a_unit_may_read_other_tensors_beside_the_one_that_goes_on():
    def call(child, x):
        return child(x, x[:, :4], offset=x.sum(1, keepdim=True))

    network = gate(Around(call, Decoder()), {"child": "unit"}, VECTORS)
    skipped = forward(network, VECTORS, [torch.zeros(2, 1, dtype=torch.bool)])
    assert torch.equal(skipped, VECTORS)


def test_a_dense_blocks_layers_are_no_units():
    # Each reads the list of all before it, of which one has the shape of what it appends.
    model = made(torchvision.models.DenseNet, 4, (2, 3), 8, num_classes=3)
    images = torch.rand(1, 3, 32, 32)
    for layer in ("features.denseblock1.denselayer2", "features.denseblock2.denselayer3"):
        with pytest.raises(ValueError, match=r"tensor of a list|got 2: it is not clear"):
            gate(model, {layer: "unit"}, images)
    found = gateable(model, images, every=True)
    layers = [kinds for path, kinds in found.items() if re.search(r"denselayer\d+$", path)]
    assert layers
    assert not any("unit" in kinds for kinds in layers)


def test_channels_are_zero_where_the_layer_gives_them():
    model = made(nn.Sequential, nn.Linear(8, 4), nn.Sigmoid(), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        model[2].weight.copy_(torch.eye(4))
    network = gate(model, {"0": "channels:2"}, VECTORS)
    logits = forward(network, VECTORS, [torch.tensor([[True, False], [False, False]])])
    assert torch.equal(logits[:, 2:], torch.full((2, 2), 0.5))
    torch.testing.assert_close(logits[0, :2], model(VECTORS)[0, :2])


@pytest.mark.parametrize(
    ("child", "kind"),
    [
        (nn.Conv2d(4, 4, 1), "unit"),
        (nn.Conv2d(4, 4, 1), "zero"),
        (nn.Conv2d(4, 8, 1), "channels:2"),
    ],
)
def test_maps_in_channels_last_order_stay_in_it(child, kind):
    # Every convolution behind would turn them back.
    model = nn.Sequential(child, nn.Sigmoid(), nn.Flatten(), nn.LazyLinear(3)).eval()
    images = torch.rand(3, 4, 5, 5).to(memory_format=torch.channels_last)
    network, seen = gate(model, {"0": kind}, images), []
    for module in model[:2]:
        module.register_forward_hook(lambda _, given, y: seen.append(given[0]))
    for bits in ([1, 0, 1], [0, 0, 0], [1, 1, 1]):
        mask = torch.tensor(bits).bool()[:, None].repeat(1, network.num_blocks[0])
        hidden = network.step(0, network.start(images), mask, None, "cpu")
        network.logits(hidden)
    assert seen
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)


def test_an_exit_takes_a_head_of_the_users_own():
    model = made(nn.Sequential, nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
    head = nn.Linear(8, 3)
    network = gate(model, {"0": Exit(head), "1": "zero"}, VECTORS)
    masks = [torch.tensor([[False], [True]]), torch.ones(2, 1, dtype=torch.bool)]
    want = torch.stack([head(model[0](VECTORS))[0], model(VECTORS)[1]])
    torch.testing.assert_close(forward(network, VECTORS, masks), want)


def test_code_that_works_in_place_changes_no_hidden_state():
    def call(child, x):
        return child(x).add_(1).relu_()

    network = gate(Around(call), {"child": "unit"}, torch.ones(1, 4))
    inputs, skip = torch.ones(1, 4), torch.zeros(1, 1, dtype=torch.bool)
    hidden = network.start(inputs)
    first = network.logits(network.step(0, hidden, skip))
    assert torch.equal(network.logits(network.step(0, hidden, skip)), first)
    assert torch.equal(inputs, torch.ones(1, 4))


def test_decisions_by_sizes_are_followed():
    def call(child, x):
        for _ in range(x.shape[1] // 2):
            x = x * 2 if x.dtype.is_floating_point and x.ndim == 2 else x
        return child(x + torch.arange(x.shape[1]))

    model = Around(call)
    network = gate(model, {"child": "unit"}, torch.ones(1, 4))
    assert torch.equal(dense_forward(network, torch.ones(3, 4)), model(torch.ones(3, 4)))
    assert not [name for name in network.state_dict() if "constant" in name]
    assert not [name for name in vars(model) if "constant" in name]


def test_gating_leaves_the_models_mode_and_the_random_stream_alone():
    model = Wired().train()
    state = torch.random.get_rng_state()
    network = gate(model, CASES["wired"][3], VECTORS)
    assert model.training
    assert network.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_gateable_lists_what_gate_takes_in_the_order_of_execution():
    small = made(Encoder, [Block(16, 2)])
    for model, example in ((made(Wired), VECTORS), (small, TOKENS)):
        found = gateable(model, example, every=True)
        for path, kinds in found.items():
            for kind in kinds:
                network = gate(model, {path: kind}, example)
                assert dense_forward(network, example).shape == (2, network.num_classes)
    assert list(gateable(made(Wired), VECTORS, every=True))[:3] == ["first.body", "first", "wide"]


def test_gateable_leaves_out_what_cannot_be_followed():
    stubborn = Around(lambda child, x: child(x) if x.sum() > 0 else x)
    model = nn.Sequential(stubborn, nn.Linear(4, 4))
    assert "0.child" not in gateable(model, torch.ones(1, 4))
    assert gateable(model, torch.ones(1, 4))["0"] == ["unit", "zero", "exit"]


class Looped(nn.Module):
    """Layers in a list, within code that looks at numbers or gives the layers their rows."""

    def __init__(self, decides):
        super().__init__()
        self.layers = nn.ModuleList(Counted() for _ in range(2))
        self.decides, self.head = decides, nn.Linear(4, 3)

    def forward(self, x):
        if self.decides and x.sum() > 0:
            x = x.clone()
        for layer in self.layers:
            x = layer(x, x.shape[0])
        return self.head(x)


def test_layers_of_a_list_whose_code_cannot_be_followed_are_named_with_what_else_to_do():
    plain = gateable(Looped(False), torch.ones(1, 4))
    assert {"layers.0.inner", "layers.1.inner", "head"} <= plain.keys()
    model = nn.Sequential(Looped(True), nn.Linear(3, 3))
    with pytest.warns(UserWarning, match="layers are left out: .* of 0.* of a ModuleList"):
        assert "0.layers.0.inner" not in gateable(model, torch.ones(1, 4))


def decides_by_numbers(child, x):
    return child(x) if x.sum() > 0 else x


def decides_by_rows(child, x):
    return child(x) if x.shape[0] > 1 else x


SHARED = nn.Linear(4, 4)
UNITS = [
    ({"chid": "unit"}, "did you mean 'child'"),
    ({"child": "units"}, "did you mean 'unit'"),
    ({}, "at least one unit"),
    ({"child": "channels:3"}, "2 or 4 would do"),
    ({"child": "channels"}, 'as "channels:8"'),
    ({"child": "zero:3"}, "without a number"),
]
"""Of a layer that is called once."""
CALLS = [
    (lambda c, x: c(x), nn.Linear(4, 3), r'use "zero"'),
    (lambda c, x: c(c(x)), None, "calls it 2 times"),
    (lambda c, x: x @ c.weight, None, "never calls it"),
    (
        decides_by_numbers,
        None,
        r"decides_by_numbers \(test_gate.py, line \d+\) decides by the numbers",
    ),
    (decides_by_rows, None, "decides by how many rows"),
    (
        lambda c, x: c(x.view(1, 4)),
        None,
        r"<lambda> \(test_gate.py, line \d+\) gave RuntimeError",
    ),
    (lambda c, x: c(x * x.max().item()), None, "reads a number"),
    (
        lambda c, x: c(x.reshape(-1, 2)).reshape(-1, 4),
        nn.Linear(2, 2),
        "dimension for the batch alone",
    ),
    (
        lambda c, x: c(x, x.shape[0]),
        Counted(),
        "holds a number of rows.* plain loop over its layers, as of a ModuleList",
    ),
    (lambda c, x: c(x, 2 * x), nn.Bilinear(4, 4, 4), "which of them is its identity"),
    (
        lambda c, x: c([torch.cat([x, x], dim=1), x]),
        Joined(12, 4),
        "'child' .* one tensor of a list .* gate the module around it",
    ),
    (lambda c, x: c({"x": x})["y"], Named(), "one tensor of a list or dict"),
    (lambda c, x: c(torch.cat([x, x], dim=1), x), Joined(12, 4), "only a later argument has it"),
    (lambda c, x: (c(x), x), None, "got tuple for one input"),
]
"""Calls of a layer that is to be a unit."""
REFUSED = [
    *((Around(lambda c, x: c(x)), units, text) for units, text in UNITS),
    *((Around(call, child), {"child": "unit"}, text) for call, child, text in CALLS),
    (
        Around(lambda c, x: c(x), nn.LayerNorm(4)),
        {"child": "channels:2"},
        "plain convolution or linear layer, .* got LayerNorm",
    ),
    (Around(lambda c, x: x + c(x), nn.ReLU(inplace=True)), {"child": "zero"}, "inplace=False"),
    (
        nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.Linear(4, 4)),
        {"0": "unit", "0.0": "unit"},
        "'0.0' is inside '0'",
    ),
    (nn.Sequential(SHARED, SHARED), {"0": "unit", "1": "unit"}, "'1' is '0' too"),
    (
        nn.Sequential(nn.Sequential(SHARED), nn.Sequential(SHARED, nn.ReLU())),
        {"0": "unit", "1": "unit"},
        "share some",
    ),
    (
        nn.Sequential(Around(decides_by_numbers), nn.Linear(4, 4)),
        {"0.child": "unit"},
        "gate '0' as a whole",
    ),
    (
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
        {"0": "unit"},
        r"call model.eval\(\) first",
    ),
    (nn.Sequential(nn.Linear(5, 4)), {"0": "zero"}, r"torch.float32 \[1, 4\]: Runtime"),
    (nn.Sequential(nn.Linear(4, 4)).double(), {"0": "zero"}, "that the model runs on"),
    (
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)),
        {"0": Exit(nn.Linear(4, 5))},
        r"answer \[batch, 3\], got \[1, 5\]",
    ),
]


@pytest.mark.parametrize(("model", "units", "text"), REFUSED)
def test_what_cannot_be_gated_says_why_and_what_else_to_name(model, units, text):
    with pytest.raises(ValueError, match=text):
        gate(model, units, torch.ones(1, 4))


def test_inputs_of_another_length_than_the_examples_are_refused_with_both():
    network = gate(made(Encoder, [Block(16, 2)]), {"layers.0": "unit"}, TOKENS)
    with pytest.raises(ValueError, match=r"expected inputs \[batch, 5\].*got \[batch, 24\]"):
        network.start(torch.zeros(2, 24, dtype=torch.int64))


def test_wrong_types_are_refused():
    model = nn.Sequential(nn.Linear(4, 4))
    for arguments in (
        (model, ["0"], torch.ones(1, 4)),
        (model, {"0": 3}, torch.ones(1, 4)),
        (model, {"0": "unit"}, [1.0]),
        (torch.relu, {"0": "unit"}, torch.ones(1, 4)),
    ):
        with pytest.raises(TypeError, match="expected"):
            gate(*arguments)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_the_pages_code_runs(snippet):
    exec(snippet, {"__name__": "page"})
