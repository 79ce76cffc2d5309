"""Laws of the kernels' benchmark: what is billed is what was executed, and every case runs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.base.seeding import stream
from ccenv.networks.core.mlp import GatedMLP
from ccenv.runs.lab.benchmarks import kernels, masks
from ccenv.runs.lab.benchmarks.cases import time_case, width_of_macs
from ccenv.runs.lab.benchmarks.kernels import (
    GIVEN,
    STEPPED,
    TRAINED,
    cifar_case,
    executed_macs,
    mlp_macs,
    mnist_case,
)
from ccenv.runs.lab.benchmarks.masks import (
    KINDS,
    draw_pool,
    keep_probabilities,
    layer_case,
    mean_densities,
)

BUILDERS = {
    "layer": lambda: layer_case(1024, 32, 0.1, 16),
    "dense layer": lambda: layer_case(256, 8, 1.0, 16),
    "layer by class": lambda: layer_case(1024, 32, 0.05, 32, "by class"),
    "unbalanced layer": lambda: layer_case(1024, 32, 0.05, 32, "unbalanced"),
    "network": lambda: cifar_case(1 / 16, 16, STEPPED),
    "network, masks given": lambda: cifar_case(0.18, 1, GIVEN),
    "mnist": lambda: mnist_case(8, 256),
    "training step": lambda: cifar_case(1 / 16, 16, TRAINED),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(num_blocks=st.integers(1, 128), density=st.floats(0.01, 1.0))
def test_every_class_keeps_the_density_asked_for_on_average(kind, num_blocks, density):
    found = keep_probabilities(KINDS[kind], num_blocks, density, stream(0, "test"))
    assert found.shape == (KINDS[kind].num_classes, num_blocks)
    assert 0 <= found.min() <= found.max() <= 1
    torch.testing.assert_close(
        found.double().mean(dim=1), torch.full((len(found),), density).double(), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("density", masks.SHARED_DENSITIES)
def test_a_class_keeps_mostly_blocks_that_are_likely_for_it_alone(density):
    found = keep_probabilities(KINDS["by class"], 32, density, stream(0, "test"))
    likely = max(1, int(density * 32))
    most, blocks = found.topk(likely, dim=1)
    assert (most.sum(dim=1) > 0.5 * found.sum(dim=1)).all()
    assert len({tuple(sorted(row)) for row in blocks.tolist()}) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_pass_has_masks_of_its_own_of_the_density_asked_for(kind):
    pool = draw_pool(256, (32, 10), 0.3, kind)
    assert len({bytes(masks[0].numpy().tobytes()) for masks in pool}) == len(pool)
    assert mean_densities(pool) == pytest.approx((0.3, 0.3), abs=0.02)


def test_executed_macs_of_the_papers_network_are_those_worked_out_by_hand():
    network = GatedMLP(3072, (10, 10), 64)
    masks = [torch.zeros(1, 10, dtype=torch.bool) for _ in range(2)]
    masks[0][0, 0] = masks[1][0, :2] = True
    expected = 3072 * 64 + 64 * 128 + 128 * 10
    assert executed_macs(network, [masks]) == expected
    # Images need no gradient: the first layer is multiplied twice, the others three times.
    assert executed_macs(network, [masks], training=True) == 3 * expected - 3072 * 64


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("blocks", [(4,), (3, 5)])
def test_with_every_block_kept_executed_macs_are_the_dense_networks(training, blocks):
    network = GatedMLP(20, blocks, 8)
    masks = [torch.ones(2, n, dtype=torch.bool) for n in blocks]
    sizes = (20, *(8 * n for n in blocks), 10)
    executed = executed_macs(network, [masks], training=training)
    assert executed == 2 * mlp_macs(sizes, training=training)


@settings(deadline=None)
@given(macs=st.floats(1, 1e7), inputs=st.integers(1, 4000))
def test_no_other_width_has_macs_nearer_to_those_asked_for(macs, inputs):
    def macs_of(units):
        return mlp_macs((inputs, units, units, 10))

    found = width_of_macs(macs, macs_of)
    nearest = abs(macs_of(found) - macs)
    assert all(nearest <= abs(macs_of(n) - macs) for n in (max(1, found - 1), found + 1))


@pytest.mark.parametrize("name", BUILDERS)
def test_baselines_have_the_executed_macs_or_compute_what_the_kernels_compute(name):
    case = BUILDERS[name]()
    assert case.equal_macs == pytest.approx(case.macs, rel=0.06)
    assert case.equal_macs <= case.dense_macs
    if name == "training step":
        return
    dense, equal = case.dense(), case.equal_dense()
    # Of another case: both take the first masks of their pool.
    sparse, masked = case.sparse(), BUILDERS[name]().masked_dense()
    torch.testing.assert_close(sparse, masked, rtol=1e-4, atol=1e-5)
    assert len(dense) == len(equal) == len(sparse)


def test_the_limit_is_dense_macs_over_executed_ones():
    found = time_case(layer_case(64, 4, 1.0, batch=4), rounds=3)
    assert found["limit"] == found["equal_macs"] == 1.0
    assert found["densities"] == (1.0, 1.0)


def test_the_papers_policies_are_billed():
    looking, given = (cifar_case(0.5, 2, way) for way in (STEPPED, GIVEN))
    assert looking.macs - given.macs == 2 * 10 * (3072 + 640)


def test_a_policy_in_one_call_draws_masks_of_the_density_asked_for():
    case = cifar_case(0.2, batch=64)
    assert case.densities == pytest.approx((0.2, 0.2), abs=0.03)


def test_every_case_is_timed_once(monkeypatch):
    for name in ("layer_case", "cifar_case", "mnist_case"):
        monkeypatch.setattr(kernels, name, lambda *given, name=name: (name, *given))
    cases = list(kernels.all_cases(quick=False))
    assert len(set(cases)) == len(cases)
