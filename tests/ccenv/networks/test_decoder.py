"""Decoders gated at every position: the cache is right, whatever was skipped before."""

import inspect

import pytest
import torch
from torch import nn

import ccenv
from ccenv.agents.reinforce import Reinforce
from ccenv.annexes.networks.gating.gate import gate
from ccenv.annexes.networks.text.tokens import windows_of
from ccenv.networks.core.check import check_network
from ccenv.networks.core.unrolled import sequence_logits
from tests.ccenv.episodes import seeded
from tests.ccenv.networks.own_decoder import Writer, writer
from tests.ccenv.networks.own_models import made
from tests.ccenv.networks.test_foreign_models import gpt2, llama
from tests.ccenv.networks.tiny import masks_of

LENGTH, SYMBOLS = 6, 20
MODELS = {
    "own": (lambda: Writer(LENGTH, SYMBOLS), "layers"),
    "gpt2": (gpt2, "transformer.h"),
    "gpt2, own attention": (lambda: gpt2(attn_implementation="eager"), "transformer.h"),
    "llama": (llama, "model.layers"),
}


@pytest.fixture(params=MODELS)
def decoder(request):
    """A model, its layers, and it gated layer by layer at every position."""
    make, name = MODELS[request.param]
    model = made(make)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    layers = model.get_submodule(name)
    units = {f"{name}.{number}": "unit" for number in range(len(layers))}
    return model, layers, gate(model, units, symbols()[:1], positions=True)


def symbols():
    return torch.randint(SYMBOLS, (2, LENGTH), generator=torch.Generator().manual_seed(0))


def windows_of_all():
    """Every position of both sequences, as inputs."""
    return windows_of(symbols(), LENGTH, SYMBOLS).flatten(0, 1)


def recomputed(model, layers, sequence, kept):
    """Logits at every position of one pass: what skips a layer is no key there."""
    causal, own = torch.ones(LENGTH, LENGTH).tril().bool(), torch.eye(LENGTH).bool()
    plain = [layer.forward for layer in layers]

    def replaced(run, runs):
        mask = torch.zeros(LENGTH, LENGTH).masked_fill(~(causal & runs | own), -torch.inf)

        def called(*args, **kwargs):
            bound = inspect.signature(run).bind(*args, **kwargs)
            x = bound.args[0]
            bound.arguments["attention_mask"] = mask[None, None]
            return torch.where(runs[:, None], run(*bound.args, **bound.kwargs), x)

        return called

    for layer, run, runs in zip(layers, plain, kept, strict=True):
        layer.forward = replaced(run, runs)
    try:
        return model(sequence[None], use_cache=False).logits[0]
    finally:
        for layer in layers:
            del layer.forward


@torch.no_grad()
def test_every_position_is_the_recomputation_of_its_sequence_under_the_masks_of_all(decoder):
    model, layers, network = decoder
    windows = windows_of_all()
    masks = masks_of(network, len(windows))
    found = sequence_logits(network, windows, masks, LENGTH)
    kept = torch.cat(masks, dim=1).view(2, LENGTH, -1)
    expected = [recomputed(model, layers, *both) for both in zip(symbols(), kept.mT, strict=True)]
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_everything_kept_every_position_is_the_models_and_costs_the_same(decoder):
    model, _, network = decoder
    windows = windows_of_all()
    everything = [torch.ones(len(windows), 1, dtype=torch.bool)] * len(network.gates)
    found = sequence_logits(network, windows, everything, LENGTH)
    plain = model(symbols(), use_cache=False).logits.flatten(0, 1)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)
    check_network(network, windows[[LENGTH - 1, 2]])


@torch.no_grad()
def test_a_position_that_stops_leaves_nothing_in_later_layers():
    model = made(MODELS["own"][0])
    units = {"layers.0": "exit", "layers.1": "unit", "layers.2": "unit"}
    network, windows = gate(model, units, symbols()[:1], positions=True), symbols()
    check_network(network, windows_of_all()[[LENGTH - 1, 2]])
    for stops in ([True, True], [True, False]):
        carried = network.empty_state(windows)
        hidden = network.read(windows, carried)
        goes = ~torch.tensor(stops)[:, None]
        for number in range(3):
            mask = goes if number == 0 else torch.ones(2, 1, dtype=torch.bool)
            hidden = network.step(number, hidden, mask)
        there = network.advance(hidden).past.there
        assert there[0][:, 0].all()
        layers = {layer: own[:, 0].tolist() for layer, own in there.items() if layer}
        assert all(own == goes[:, 0].tolist() for own in layers.values())


SETTINGS = {
    "dataset": f"prose@{LENGTH}",
    "network": writer,
    "weights": "cotrain",
    "observation": "layer_input",
}


def test_what_is_no_decoder_is_refused():
    tokens = symbols()[:1]
    plain = nn.Sequential(nn.Embedding(SYMBOLS, 4), nn.Flatten(), nn.Linear(4 * LENGTH, 3)).eval()
    with pytest.raises(ValueError, match=r"expected a decoder with positions=True.*got Sequential"):
        gate(plain, {"2": "zero"}, tokens, positions=True)
    with pytest.raises(ValueError, match=r"of at least 2, got torch.int64 \[1, 1\]"):
        gate(Writer(LENGTH, SYMBOLS), {"layers.0": "unit"}, tokens[:, :1], positions=True)


def test_a_gated_decoder_is_trained_over_sequences(prose):
    simulator = seeded(4, **SETTINGS, episode="sequence")
    assert simulator.num_steps == 3 * LENGTH
    agent = Reinforce(simulator)
    agent.learn(8)
    verdict = ccenv.evaluate(simulator, agent, split="test", batch_size=2000)
    assert 0 < verdict.compute_cost < 1
