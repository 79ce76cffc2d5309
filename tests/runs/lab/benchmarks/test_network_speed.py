"""Laws of the networks' benchmark: what is compared costs what it should, and is shown whole."""

import pytest
import torch

from ccenv.base.seeding import stream
from ccenv.networks.core.count_macs import counted
from ccenv.networks.core.protocol import dense_forward
from ccenv.runs.lab.benchmarks import subjects
from ccenv.runs.lab.benchmarks.network_speed import executed, make_passes
from ccenv.runs.lab.benchmarks.subjects import QUICK, SUBJECTS

LIGHT = [name for name, subject in SUBJECTS.items() if not subject.packages]


@pytest.mark.parametrize("name", [*LIGHT, *QUICK])
def test_the_plain_module_costs_what_the_network_does_with_everything_kept(name):
    subject = (SUBJECTS | QUICK)[name]
    network, inputs = subject.build(), subject.inputs(1, stream(0, "test"))
    plain = counted(subject.plain(network).eval(), inputs)[0]
    # Experts also read the first answers, which have a small output layer of their own.
    assert plain == pytest.approx(network.dense_macs, rel=0.02)


@pytest.mark.parametrize("name", ["resnet-8", "experts-8", "bytes", "vit"])
@pytest.mark.parametrize("training", [False, True])
def test_every_way_answers_for_every_input_and_steps_give_gradients(name, training):
    subject = (SUBJECTS | QUICK)[name]
    passes = make_passes(subject, 3, training=training)
    assert 0 < passes.macs < passes.dense_macs
    assert set(passes.timed) >= {"gated", "dense", "plain"}
    for run in passes.timed.values():
        found = run()
        assert found is None if training else found.shape == (3, subject.num_classes)


@pytest.mark.parametrize("name", QUICK)
def test_the_bare_modules_give_what_the_network_gives_without_masks(name):
    subject = QUICK[name]
    network, inputs = subject.build(), subject.inputs(2, stream(0, "test"))
    if subject.plain is subjects.joined:
        with torch.no_grad():
            torch.testing.assert_close(
                subject.plain(network)(inputs), dense_forward(network, inputs)
            )


def test_the_equal_head_has_the_executed_macs():
    subject = SUBJECTS["experts"]
    network, inputs = subject.build(), subject.inputs(4, stream(0, "test"))
    equal = counted(subject.equal(network), inputs[:1])[0]
    spent = executed(network, inputs, subject.pool(network, 4, 2))
    assert equal == pytest.approx(spent, rel=0.01)


@pytest.mark.parametrize(
    ("draw", "num_blocks", "kept"),
    [(subjects.some_blocks(2), (8, 8), 4), (subjects.without_gates(3), (1,) * 5, 2)],
)
def test_masks_of_a_number_keep_it_in_every_row(draw, num_blocks, kept):
    masks = draw(33, num_blocks, stream(0, "test"))
    assert [mask.shape for mask in masks] == [(33, n) for n in num_blocks]
    assert (torch.cat(masks, dim=1).sum(dim=1) == kept).all()
    assert len(torch.cat(masks, dim=1).unique(dim=0)) > 1
