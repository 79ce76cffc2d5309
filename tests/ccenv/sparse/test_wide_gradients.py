"""Weights' gradients without pairs of blocks are those of pairs, and rows are read as they lie."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.sparse.cpu import gradients
from ccenv.sparse.cpu.addresses import address, sizes_of
from ccenv.sparse.cpu.gradients import wide_gradients
from ccenv.sparse.few_rows import dense_linear
from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.reference import reference_linear

SIDES = st.tuples(st.integers(1, 9), st.sampled_from([1, 3, 4, 12, 20, 33]))


def drawn_mask(batch, side, density, generator):
    """A mask of a side, None for a density of None."""
    return None if density is None else torch.rand(batch, side[0], generator=generator) < density


@settings(max_examples=40, deadline=None)
@given(
    batch=st.sampled_from([1, 2, 9, 40]),
    ins=SIDES,
    outs=SIDES,
    densities=st.tuples(*[st.one_of(st.none(), st.floats(0, 1))] * 2),
    across=st.booleans(),
    cut=st.floats(0, 1),
)
def test_by_blocks_of_one_side_they_are_those_of_pairs_and_of_a_dense_product(
    batch, ins, outs, densities, across, cut
):
    draw = torch.Generator().manual_seed(batch)
    x, z = (torch.randn(batch, n * size, generator=draw) for n, size in (ins, outs))
    masks = [drawn_mask(batch, s, d, draw) for s, d in zip((ins, outs), densities, strict=True)]
    keep = [
        torch.ones_like(t) if mask is None else mask.repeat_interleave(side[1], 1).float()
        for mask, side, t in zip(masks, (ins, outs), (x, z), strict=True)
    ]
    expected = (z * keep[1]).t() @ (x * keep[0])
    x[keep[0] == 0], zeroed = torch.nan, z * keep[1]
    shape = expected.shape if across else expected.shape[::-1]
    by_pairs, wide = torch.full(shape, torch.nan), torch.full(shape, torch.nan)
    sizes = *sizes_of(x.shape[1], masks[0]), *sizes_of(z.shape[1], masks[1])
    given_masks = address(masks[0]), address(masks[1])
    rest = z.data_ptr(), z.data_ptr(), by_pairs.data_ptr(), 0, batch, *sizes, 0, 0, x.shape[1]
    gradients.pair_gradients(x.data_ptr(), int(across), *given_masks, *rest)
    middle = int(cut * x.shape[1])
    for part in ((0, middle), (middle, x.shape[1])):
        asked = zeroed.data_ptr(), wide.data_ptr(), batch, *sizes, *part
        wide_gradients(x.data_ptr(), int(across), *given_masks, *asked)
    for found in (by_pairs, wide):
        torch.testing.assert_close(found if across else found.t(), expected, rtol=0, atol=1e-4)


def test_inputs_that_are_not_finite_reach_no_weight_of_a_block_that_their_row_skips():
    x, weight = torch.randn(9, 48), torch.randn(48, 48)
    x[2] = torch.inf
    in_mask, out_mask = torch.ones(9, 12).bool(), torch.ones(9, 12).bool()
    out_mask[2, :6] = False
    for laid in (weight, weight.t().contiguous().t()):
        leaf = laid.requires_grad_()
        y = block_sparse_linear(x, leaf, None, in_mask, out_mask, backend="cpu")
        (found,) = torch.autograd.grad(y, leaf, torch.ones_like(y))
        assert found[:24].isfinite().all()
        assert not found[24:].isfinite().any()


@settings(max_examples=40, deadline=None)
@given(ins=SIDES, outs=SIDES, density=st.floats(0, 1), rows=st.sampled_from([1, 3]))
def test_rows_by_weights_of_outputs_read_no_weight_of_a_skipped_block(ins, outs, density, rows):
    draw = torch.Generator().manual_seed(ins[1])
    x = torch.randn(rows, ins[0] * ins[1], generator=draw)
    weight = torch.randn(outs[0] * outs[1], ins[0] * ins[1], generator=draw)
    masks = [drawn_mask(1, side, density, draw).expand(rows, -1) for side in (ins, outs)]
    keep = [
        mask[0].repeat_interleave(side[1]) for mask, side in zip(masks, (ins, outs), strict=True)
    ]
    expected = (x * keep[0]) @ weight.t() * keep[1]
    weight[~keep[1]], weight[:, ~keep[0]] = torch.nan, torch.nan
    found = block_sparse_linear(x, weight, None, *masks, backend="cpu")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 9),
    ins=SIDES,
    outs=SIDES,
    densities=st.tuples(*[st.one_of(st.none(), st.floats(0, 1))] * 2),
    by_input=st.booleans(),
    has_bias=st.booleans(),
)
def test_of_few_rows_a_dense_product_is_the_definition_and_nan_that_a_row_skips_changes_nothing(
    rows, ins, outs, densities, by_input, has_bias
):
    draw = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, ins[0] * ins[1], generator=draw)
    weight = torch.randn(outs[0] * outs[1], x.shape[1], generator=draw)
    bias = torch.randn(len(weight), generator=draw) if has_bias else None
    masks = [drawn_mask(rows, s, d, draw) for s, d in zip((ins, outs), densities, strict=True)]
    weight = weight.t().contiguous().t() if by_input else weight
    slopes = torch.randn(rows, len(weight), generator=draw)

    def run(product, x, weight):
        leaves = [t.requires_grad_() for t in (x, weight, bias) if t is not None]
        y = product(*(x, weight, bias), *masks)
        return [y.detach(), *torch.autograd.grad(y, leaves, slopes)]

    def few(*operands):
        return dense_linear(*operands, is_training=True)

    def definition(*operands):
        return reference_linear(*operands, None)

    expected = run(definition, x.clone(), weight.clone())
    if masks[0] is not None:
        x[~masks[0].repeat_interleave(ins[1], 1)] = torch.nan
    if masks[1] is not None:
        weight[~masks[1].any(0).repeat_interleave(outs[1])] = torch.nan
    for found, wanted in zip(run(few, x, weight), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
