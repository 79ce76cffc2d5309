"""Laws of stages, alone: values and gradients, what is read; and their networks' sizes."""

import pytest
import torch
from torch import nn

from ccenv.base.seeding import stream
from ccenv.networks.core.check import check_network
from ccenv.networks.core.protocol import dense_forward
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.stages.linear import BlockLinear, Experts
from ccenv.networks.vision.conv import BlockConv2d
from ccenv.networks.vision.experts import experts
from ccenv.networks.vision.transformer import GroupedFFN, HeadAttention, vit
from tests.ccenv.networks.tiny import linear_after_maps

FLAT, MAPS, TOKENS = (12,), (8, 9, 9), (5, 12)
STAGES = {
    "linear": (lambda: BlockLinear(12, 5, 3), FLAT),
    "experts": (lambda: Experts(12, 5, 3, 4), FLAT),
    "conv": (lambda: BlockConv2d(8, 12, 3, 4, stride=2), MAPS),
    "conv, pooled": (lambda: BlockConv2d(8, 12, 3, 4, after=nn.MaxPool2d(2)), MAPS),
    "heads": (lambda: HeadAttention(12, 3), TOKENS),
    "units": (lambda: GroupedFFN(12, 24, 4), TOKENS),
}
READS_BLOCKS = ("linear", "experts", "conv", "conv, pooled")
"""Stages that read only what the stage before has kept."""
every_stage = pytest.mark.parametrize("kind", STAGES)


def stage_of(kind):
    build, shape = STAGES[kind]
    torch.manual_seed(0)
    stage = build().double()
    for parameter in stage.parameters():
        nn.init.normal_(parameter, std=0.5)
    stage.measure(torch.zeros(1, *shape, dtype=torch.float64))
    return stage


def drawn(kind, stage, rows, density):
    """Inputs, the mask, and that of the stage before."""
    generator, shape = stream(0, "stage"), STAGES[kind][1]
    x = torch.randn(rows, *shape, generator=generator, dtype=torch.float64)
    mask = torch.rand(rows, stage.num_blocks, generator=generator) < density
    if kind not in READS_BLOCKS:
        return x, mask, None
    return x, mask, torch.rand(rows, 2, generator=generator) < density


@every_stage
@pytest.mark.parametrize("rows", [1, 9])
def test_nan_in_a_block_reaches_only_rows_that_keep_it_and_its_gradient_is_zero(kind, rows):
    stage = stage_of(kind)
    x, mask, before = drawn(kind, stage, rows, 0.5)
    mask[:, 1] = False
    per_block = [
        (p, 0 if p.shape[0] % stage.num_blocks == 0 and name != "output.weight" else 1)
        for name, p in stage.named_parameters()
        if name not in ("bias", "norm.weight", "norm.bias") or kind.startswith("conv")
    ]
    backends = ("reference", "cpu", "auto") if kind in ("heads", "units") else ("cpu", "auto")
    clean = {backend: stage(x, mask, before, None, backend) for backend in backends}
    with torch.no_grad():
        for parameter, dim in per_block:
            size = parameter.shape[dim] // stage.num_blocks
            parameter.narrow(dim, size, size).fill_(torch.nan)
    for backend in backends:
        y = stage(x, mask, before, None, backend)
        assert torch.equal(y, clean[backend])
        if backend != "reference":
            for gradient in torch.autograd.grad(y.sum(), list(stage.parameters())):
                assert not gradient.isnan().any()
    mask[0, 1] = True
    after = stage(x, mask, before)
    assert after[0].isnan().any()
    torch.testing.assert_close(after[1:], clean["auto"][1:])


@pytest.mark.parametrize("kind", READS_BLOCKS)
def test_skipped_inputs_are_not_read_whatever_they_hold(kind):
    stage = stage_of(kind)
    x, mask, before = drawn(kind, stage, 5, 0.5)
    spoiled = x.clone()
    spoiled.unflatten(1, (2, -1))[~before] = torch.nan
    for backend in ("reference", "cpu", "auto"):
        clean = stage(x, mask, before, None, backend)
        assert torch.equal(stage(spoiled, mask, before, None, backend), clean)


@pytest.mark.parametrize("kind", ["linear", "conv", "conv, pooled"])
def test_weights_scale_blocks_and_skipped_blocks_are_zero(kind):
    stage = stage_of(kind)
    x, mask, before = drawn(kind, stage, 5, 0.5)
    weights = torch.rand(mask.shape, dtype=torch.float64)
    plain, scaled = (
        stage(x, mask, before, scale).unflatten(1, (stage.num_blocks, -1))
        for scale in (None, weights)
    )
    shape = (*mask.shape, *[1] * (plain.ndim - 2))
    torch.testing.assert_close(scaled, plain * weights.view(shape))
    assert not plain[~mask].any()


def test_contributions_add_up_and_weights_scale_each():
    for kind in ("experts", "heads", "units"):
        stage = stage_of(kind)
        x, _, _ = drawn(kind, stage, 3, 1.0)
        nothing = stage(x, torch.zeros(3, stage.num_blocks, dtype=torch.bool))
        every = torch.eye(stage.num_blocks, dtype=torch.bool)
        alone = [stage(x, row.expand(3, -1)) - nothing for row in every]
        torch.testing.assert_close(nothing + sum(alone), stage(x))
        weights = torch.rand(3, stage.num_blocks, dtype=torch.float64)
        shares = weights.T.reshape(stage.num_blocks, 3, *[1] * (x.ndim - 1))
        scaled = nothing + sum(w * y for w, y in zip(shares, alone, strict=True))
        torch.testing.assert_close(stage(x, None, None, weights), scaled)


def test_heads_are_torchs_own_attention():
    stage = stage_of("heads")
    plain = nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64)
    # Torch keeps queries, keys and values apart; here they lie head by head.
    parts = stage.query_key_value.unflatten(1, (3, -1)).transpose(0, 1).reshape(-1, 12)
    biases = stage.query_key_value_bias.unflatten(1, (3, -1)).transpose(0, 1).flatten()
    with torch.no_grad():
        plain.in_proj_weight.copy_(parts)
        plain.in_proj_bias.copy_(biases)
        plain.out_proj.weight.copy_(stage.output.flatten(0, 1).t())
        plain.out_proj.bias.copy_(stage.bias)
    x, _, _ = drawn("heads", stage, 4, 1.0)
    seen = stage.norm(x)
    torch.testing.assert_close(stage(x), x + plain(seen, seen, seen, need_weights=False)[0])


# With this seed a map has no positive number: its weights look unused, and are read.
def test_weights_of_a_unit_that_no_input_wakes_are_read():
    torch.manual_seed(102)
    check_network(linear_after_maps(), torch.rand(2, 1, 6, 6))


def test_without_experts_the_first_answer_stays_and_the_policy_sees_it():
    network = experts((3, 16, 16), num_experts=4)
    hidden = network.start(torch.rand(5, 3, 16, 16))
    look = network.look(0, hidden)
    assert look.shape == (5, network.gates[0].look_size) == (5, 10 + 32 * 4)
    nothing = torch.zeros(5, 4, dtype=torch.bool)
    answer = network.logits(network.step(0, hidden, nothing))
    torch.testing.assert_close(answer.log_softmax(dim=1), look[:, :10])
    assert network.macs(0, hidden, nothing).tolist() == [network.start_macs] * 5


def test_the_default_transformer_has_two_gates_a_layer():
    network = vit()
    assert [gate.num_blocks for gate in network.gates] == [4] * 8
    assert [gate.name for gate in network.gates[:2]] == ["layer0.heads", "layer0.units"]
    tokens, dim = 64, 96
    layer = tokens * (4 * dim * dim + 2 * tokens * dim + 8 * dim * dim)
    assert network.dense_macs == tokens * 48 * dim + 4 * layer + dim * 10
    assert dense_forward(network, torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BlockConv2d(3, 12, 3, 5), "multiple of the 5 blocks"),
        (lambda: BlockConv2d(3, 12, 3, 4, activation=torch.cos), "maps 0 to 0"),
        (lambda: after(nn.Flatten()), "channels apart and zero at zero"),
        (lambda: after(nn.Sigmoid()), "channels apart and zero at zero"),
    ],
)
def test_what_cannot_be_gated_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def after(module):
    return BlockConv2d(8, 12, 3, 4, after=module).measure(torch.zeros(1, 8, 9, 9))


def test_a_stage_reads_and_is_billed_what_the_one_before_has_kept():
    network = linear_after_maps().eval()
    masks = [torch.tensor([bits]) for bits in ([True, False], [True, False, False], [True, True])]
    hidden, bill = network.start(torch.rand(1, 1, 6, 6)), []
    for gate, mask in enumerate(masks):
        bill.append(int(network.macs(gate, hidden, mask)))
        hidden = network.step(gate, hidden, mask)
    # 2 of 4 maps of 36 pixels; 5 of 15 units; 8 units, which the head reads whole.
    assert bill == [9 * 36 * 2, 72 * 5, 5 * 8 + 8 * 3]


def test_costs_are_those_of_one_input_and_an_example_of_several_is_refused():
    parts = nn.Flatten(), [BlockLinear(12, 5, 3)], nn.Linear(15, 2)
    with pytest.raises(ValueError, match=r"one input \[1, ...\] as the example, got 2 rows"):
        GatedSequential(*parts, torch.zeros(2, 12))
    assert GatedSequential(*parts, torch.zeros(1, 12)).dense_macs == 12 * 15 + 15 * 2
