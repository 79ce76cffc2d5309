"""Networks that compute in bfloat16: near float32, with float32 weights, copied and taught."""

import copy
import pickle

import pytest
import torch

from ccenv.networks.core.precision import dtype_of, in_dtype
from ccenv.networks.core.protocol import forward
from ccenv.networks.learning.training import CoTrainer
from tests.ccenv.networks.tiny import built, inputs_of, masks_of

ROWS = 12
TOLERANCE = 0.03
"""Of the largest logit; products are rounded to 2 ** -9 of themselves, layer by layer."""
KINDS = (
    "mlp",
    "conv",
    "resnet",
    "early_exit",
    "streaming",
    "bytes",
    "lm, exits behind heads",
    "patches",
    "smollm2",
    # No convolution of maps of one pixel: torch's own gradient of its weights in bfloat16 reads
    # memory that nothing has written (torch 2.13, one or two inputs).
    "gated encoder",
)


def tiny(name):
    """A network, inputs and masks."""
    network = built(name)
    return network, inputs_of(name, ROWS), masks_of(network, ROWS)


@pytest.mark.parametrize("name", KINDS)
def test_logits_are_float32_and_near_and_an_update_teaches_float32_weights(name):
    network, inputs, masks = tiny(name)
    labels = torch.arange(ROWS) % network.num_classes
    with torch.no_grad():
        wanted = forward(network, inputs, masks)
    half = in_dtype(copy.deepcopy(network), "bfloat16")
    near = {"atol": TOLERANCE * float(wanted.abs().max()), "rtol": 0.0}
    with torch.no_grad():
        logits = forward(half, inputs, masks)
        halves = [inputs[:5], inputs[5:]], [[m[:5] for m in masks], [m[5:] for m in masks]]
        parts = torch.cat([forward(half, *part) for part in zip(*halves, strict=True)])
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, wanted)
    torch.testing.assert_close(logits, wanted, **near)
    torch.testing.assert_close(parts, logits, **near)
    hidden = half.start(inputs)
    assert half.look(0, hidden).dtype == torch.float32
    before = [parameter.clone() for parameter in half.parameters()]
    losses = [CoTrainer(one).update(inputs, labels, masks).item() for one in (half, network)]
    assert losses[0] == pytest.approx(losses[1], rel=TOLERANCE)
    after = list(half.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(one.dtype == torch.float32 and bool(one.isfinite().all()) for one in after)


def pickled(network):
    return pickle.loads(pickle.dumps(network))


@pytest.mark.parametrize("name", ["mlp", "lm", "gated resnet"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_copies_compute_in_it_too_and_float32_is_the_network_as_it_was(name, copied):
    network, inputs, masks = tiny(name)
    half = in_dtype(copy.deepcopy(network), "bfloat16")
    other = copied(half)
    assert (dtype_of(network), dtype_of(other)) == ("float32", "bfloat16")
    with torch.no_grad():
        assert torch.equal(forward(other, inputs, masks), forward(half, inputs, masks))
        again = in_dtype(in_dtype(other, "bfloat16"), "float32")
        assert type(again) is type(network)
        assert torch.equal(forward(again, inputs, masks), forward(network, inputs, masks))


def test_what_a_network_does_not_define_is_not_defined_in_another_dtype():
    network, _, _ = tiny("mlp")
    half = in_dtype(copy.deepcopy(network), "bfloat16")
    assert set(dir(half)) - {"plain_class", "computes_in"} == set(dir(network))
    with pytest.raises(ValueError, match="'float32' or 'bfloat16', got 'float16'"):
        in_dtype(network, "float16")


@pytest.mark.parametrize("name", ["lm", "patches"])
def test_masks_of_windows_come_of_a_policy_that_computes_in_float32(name):
    network, inputs, masks = tiny(name)
    half, seen = in_dtype(network, "bfloat16"), []

    def rule(gate, hidden, rows):
        look = half.look(gate, hidden)
        seen.append((look.dtype, (look @ look.mT).dtype))
        return torch.ones(len(look), half.gates[gate].num_blocks, dtype=torch.bool)

    with torch.no_grad():
        forward(half, inputs, masks, start=half.read(inputs, half.played(inputs, rule)))
    assert set(seen) == {(torch.float32, torch.float32)}
