"""Heads and groups of units as blocks: their laws, their bill, and the small transformer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ccenv.base.seeding import stream
from ccenv.networks.core.check import check_network
from ccenv.networks.core.count_macs import counted
from ccenv.networks.core.protocol import dense_forward, forward
from ccenv.networks.stages.residual_groups import groups_of
from ccenv.networks.vision.transformer import GroupedFFN, HeadAttention, vit

DIM, TOKENS = 12, 5


def small_vit(seed=0, **settings):
    torch.manual_seed(seed)
    sizes = {"depth": 2, "dim": DIM, "num_heads": 3, "num_groups": 4, "patch_size": 4}
    return vit((3, 8, 8), 5, **sizes | settings).eval()


def stage_of(kind, seed=0):
    torch.manual_seed(seed)
    stage = HeadAttention(DIM, 3) if kind == "heads" else GroupedFFN(DIM, 24, 4)
    stage = stage.double()
    for parameter in stage.parameters():
        nn.init.normal_(parameter, std=0.5)
    stage.measure(torch.zeros(1, TOKENS, DIM, dtype=torch.float64))
    return stage


def drawn(rows, blocks, density, seed=0):
    generator = stream(seed, "masks of a test")
    x = torch.randn(rows, TOKENS, DIM, generator=generator, dtype=torch.float64)
    return x, torch.rand(rows, blocks, generator=generator) < density


@pytest.mark.parametrize("sizes", [{}, {"num_heads": 1, "num_groups": 1}, {"depth": 1, "dim": 24}])
def test_the_transformer_obeys_the_laws_of_networks(sizes):
    check_network(small_vit(**sizes), torch.rand(2, 3, 8, 8))


def test_a_stage_with_everything_kept_is_torchs_own_attention():
    stage = stage_of("heads")
    plain = nn.MultiheadAttention(DIM, 3, batch_first=True, dtype=torch.float64)
    # Torch keeps queries, keys and values apart; here they lie head by head.
    parts = stage.query_key_value.unflatten(1, (3, -1)).transpose(0, 1).reshape(-1, DIM)
    biases = stage.query_key_value_bias.unflatten(1, (3, -1)).transpose(0, 1).flatten()
    with torch.no_grad():
        plain.in_proj_weight.copy_(parts)
        plain.in_proj_bias.copy_(biases)
        plain.out_proj.weight.copy_(stage.output.flatten(0, 1).t())
        plain.out_proj.bias.copy_(stage.bias)
    x, _ = drawn(4, 3, 1.0)
    seen = stage.norm(x)
    expected = x + plain(seen, seen, seen, need_weights=False)[0]
    torch.testing.assert_close(stage(x), expected)


@pytest.mark.parametrize("kind", ["heads", "units"])
@pytest.mark.parametrize("rows", [1, 2, 7, 33])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_backends_agree_in_outputs_and_gradients(kind, rows, density, is_weighted):
    stage = stage_of(kind)
    x, mask = drawn(rows, stage.num_blocks, density)
    weights = torch.rand(mask.shape, dtype=torch.float64) if is_weighted else None
    found = []
    for backend in ("reference", "cpu", "auto"):
        given = [x.clone().requires_grad_(), *stage.parameters()]
        scale = None if weights is None else weights.clone().requires_grad_()
        y = stage(given[0], mask, None, scale, backend)
        given += [] if scale is None else [scale]
        gradients = torch.autograd.grad(y.square().sum(), given, allow_unused=True)
        zeros = [
            torch.zeros_like(p) if g is None else g for p, g in zip(given, gradients, strict=True)
        ]
        found.append([y, *zeros])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two)


@pytest.mark.parametrize("kind", ["heads", "units"])
@pytest.mark.parametrize("backend", ["reference", "cpu", "auto"])
@pytest.mark.parametrize("rows", [1, 9])
def test_nan_in_a_block_reaches_only_rows_that_keep_it_and_its_gradient_is_zero(
    kind, backend, rows
):
    stage = stage_of(kind)
    x, mask = drawn(rows, stage.num_blocks, 0.5)
    mask[:, 1] = False
    before = stage(x, mask, backend=backend)
    blockwise = [p for name, p in stage.named_parameters() if p.shape[0] == stage.num_blocks]
    assert len(blockwise) == 3
    for parameter in blockwise:
        with torch.no_grad():
            parameter[1] = torch.nan
    assert torch.equal(stage(x, mask, backend=backend), before)
    if backend != "reference":
        stage(x, mask, backend=backend).sum().backward()
        assert not any(p.grad[1].any() for p in blockwise if p.grad is not None)
    mask[0, 1] = True
    after = stage(x, mask, backend=backend)
    assert after[0].isnan().all()
    assert torch.equal(after[1:], before[1:]) or torch.allclose(after[1:], before[1:])


@pytest.mark.parametrize("kind", ["heads", "units"])
@settings(max_examples=20, deadline=None)
@given(bits=st.lists(st.booleans(), min_size=4, max_size=4), tokens=st.integers(1, 9))
def test_the_bill_is_what_torch_counts_whatever_the_sequences_length(kind, bits, tokens):
    stage = stage_of(kind)
    x = torch.zeros(1, tokens, DIM, dtype=torch.float64)
    stage.measure(x)
    mask = torch.tensor([bits[: stage.num_blocks]])
    macs, _ = counted(stage, x, mask, None, None, "cpu")
    assert macs == int(stage.macs(mask, None))
    per_token = {"heads": 4 * DIM * 4 + 2 * tokens * 4, "units": 2 * DIM * 6}[kind]
    assert macs == tokens * per_token * int(mask.sum())


@settings(max_examples=60, deadline=None)
@given(
    bits=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=40),
)
def test_groups_hold_each_kept_block_of_each_row_once_and_nothing_else(bits):
    mask = torch.tensor(bits)
    seen = torch.zeros(mask.shape, dtype=torch.int64)
    for rows, blocks in groups_of(mask):
        for row in range(len(mask)) if rows is None else rows.tolist():
            seen[row, list(range(3) if blocks is None else blocks)] += 1
    assert torch.equal(seen, mask.long())


def test_heads_do_not_see_each_other():
    stage = stage_of("heads")
    x, _ = drawn(3, 3, 1.0)
    every = torch.eye(3, dtype=torch.bool)
    alone = [stage(x, row.expand(3, -1), backend="cpu") - x - stage.bias for row in every]
    torch.testing.assert_close(x + stage.bias + sum(alone), stage(x))


def test_several_masks_of_an_image_give_what_each_gives_alone():
    network = small_vit().double()
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    masks = [drawn(6, gate.num_blocks, 0.5, seed)[1] for seed, gate in enumerate(network.gates)]
    shared = forward(network, images, masks)
    torch.testing.assert_close(shared, forward(network, images.repeat_interleave(3, 0), masks))


def test_the_transformer_learns():
    network = small_vit()
    images = torch.rand(32, 3, 8, 8)
    labels = (images.mean(dim=(1, 2, 3)) > 0.5).long()
    optimizer = torch.optim.AdamW(network.parameters(), 0.01)
    masks = [torch.rand(32, gate.num_blocks) < 0.7 for gate in network.gates]
    for _ in range(60):
        loss = nn.functional.cross_entropy(forward(network, images, masks), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3


def test_the_default_transformer_has_two_gates_a_layer():
    network = vit()
    assert [gate.num_blocks for gate in network.gates] == [4] * 8
    assert [gate.name for gate in network.gates[:2]] == ["layer0.heads", "layer0.units"]
    tokens, dim = 64, 96
    layer = tokens * (4 * dim * dim + 2 * tokens * dim + 8 * dim * dim)
    assert network.dense_macs == tokens * 48 * dim + 4 * layer + dim * 10
    assert dense_forward(network, torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_heads": 5}, "num_heads to divide 96 features"),
        ({"num_groups": 7}, "num_groups to divide 384 hidden units"),
        ({"patch_size": 5}, "patch_size to divide images of 32 x 32"),
        ({"patch_size": 0}, "patch_size to divide"),
        ({"input_shape": (24,)}, r"images \(channels, height, width\) for 'vit'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        vit(**settings)
