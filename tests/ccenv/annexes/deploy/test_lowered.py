"""Every back end of a lowered network chooses and answers as the network does, gate by gate."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn.functional import linear
from torch.testing import assert_close

from ccenv.annexes.deploy.fused.classifier import FusedClassifier, why_not_fused
from ccenv.annexes.deploy.latency import plain_passes
from ccenv.annexes.deploy.masked_form import MaskedForm
from ccenv.annexes.deploy.onnx_file import executed
from ccenv.annexes.deploy.short_walk import OneRow, ShortWalk, has_single_rows
from ccenv.base.masks import mask_of_indices
from ccenv.mdp.choosers import MIXED, RULES, Chooser, ListChooser
from ccenv.mdp.dynamics import initial, transition
from ccenv.mdp.observations import LAST_SYMBOLS, make_observer
from ccenv.networks.core.inference_copy import pack
from ccenv.networks.core.lowering import operations_of, why_not_lowered
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import dense_forward, forward, num_blocks_of
from tests.ccenv.networks import tiny

OWN = {
    "wide": lambda: GatedMLP(192, (6, 5), (4, 7), 10, "relu", (9,)),
    "single units": lambda: GatedMLP(192, (60, 5), (1, 16), 16),
}
NAMES = (
    *OWN,
    "linear after maps",
    "bytes",
    "bytes, context",
    "bytes, hashed",
    "hashed_ngrams, elu, uneven, scaled",
    "resnet",
    "experts",
    "conv",
    "vit",
    "early_exit of both",
    "exits ueueu",
)
LOOKS = {1: ("layer_input",), 3: ("layer_input", "summary")}
"""Of inputs of so many dimensions, and of windows of symbols."""
LOOKS_OF_SYMBOLS = ("layer_input", LAST_SYMBOLS, "embeddings")


def generator(seed):
    return torch.Generator().manual_seed(seed)


def network_of(name):
    torch.manual_seed(0)
    network = OWN[name]().eval() if name in OWN else tiny.built(name)
    return network.requires_grad_(False)


def inputs_of(name, rows):
    if name in OWN:
        return torch.rand(rows, 3, 8, 8, generator=generator(2))
    return tiny.inputs_of(name, rows)


def packed(name):
    network = network_of(name)
    pack(network)
    return network, inputs_of(name, 1)


def choosers_of(network, observe, rule, hidden, embeddings, *, earlier=False):
    """Random maps; scores about zero, so that both answers come."""
    draws, found, before = generator(3), [], 0
    for gate, length in zip(network.gates, observe.lengths, strict=False):
        seen = length if embeddings is None else length * embeddings.shape[1]
        scores = 2 * gate.num_blocks + 2 if rule == MIXED else gate.num_blocks
        maps = [
            (torch.randn(b, a, generator=draws) / a**0.5, 0.1 * torch.randn(b, generator=draws))
            for a, b in itertools.pairwise([before + seen, *hidden, scores])
        ]
        kept = max(1, gate.num_blocks // 2)
        if rule == MIXED:
            # So that neither side of the mixture is always the likelier one.
            maps[-1][1][-1] += 0.4 * gate.num_blocks
        own = {"embeddings": embeddings, "earlier": earlier}
        found.append(Chooser(maps, rule, kept, low=0.2, **own))
        before += seen if earlier else 0
    return found


def definition(network, choosers, observe, inputs, draws):
    """Logits and masks by the environment's own steps, and rules in words of this file."""
    labels = torch.zeros(len(inputs), dtype=torch.int64)
    state, masks, looks = initial(network, inputs, labels), [], []
    for gate, (chooser, blocks) in enumerate(zip(choosers, num_blocks_of(network), strict=True)):
        looks.append(observe(state)[:, : observe.lengths[gate]])
        look = torch.cat(looks, dim=1) if chooser.earlier else looks[-1]
        uniform = torch.rand(len(inputs), blocks, generator=draws)
        masks.append(chosen(chooser, look, uniform))
        state, outcome = transition(network, state, masks[-1])
    return outcome.logits, masks


def chosen(chooser, look, uniform):
    scores = look
    if chooser.embeddings is not None:
        scores = chooser.embeddings[look.long()].flatten(1)
    for number, (weight, bias) in enumerate(chooser.maps):
        scores = linear(scores.tanh() if number else scores, weight, bias)
    if chooser.rule == "greedy":
        return scores > 0
    if chooser.rule == MIXED:
        return torch.stack([likelier(row) for row in scores.double()])
    if chooser.rule == "sampled":
        return uniform < 0.2 + 0.6 * scores.sigmoid()
    if chooser.rule == "sampled_k":
        scores = scores - torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
    return mask_of_indices(scores.topk(chooser.num_kept, dim=1).indices, scores.shape[1])


def likelier(scores):
    """The likelier mask of the best block alone or none and the coins' mode, by probabilities."""
    blocks = len(scores) // 2 - 1
    one, share = scores[: blocks + 1].softmax(0), scores[-1].sigmoid()
    coins = (scores[blocks + 1 : -1] + scores[:blocks]).sigmoid()
    best = torch.arange(blocks) == one.argmax()

    def probability(mask):
        tossed = torch.where(mask, coins, 1 - coins).prod()
        drawn = one[:-1][mask].sum() if mask.any() else one[-1]
        return share * drawn * (mask.sum() <= 1) + (1 - share) * tossed

    return max(coins > 0.5, best, key=probability)


def compiled(network, choosers, observe, inputs, draws):
    fused = FusedClassifier(
        network, choosers, observation=observe.kind, image_shape=tuple(inputs.shape[1:])
    )
    return fused(inputs, generator=draws)


def as_graph(network, choosers, observe, inputs, draws):
    form = MaskedForm(network, choosers, observe)
    parts = [torch.rand(len(inputs), n, generator=draws) for n in num_blocks_of(network)]
    logits, bits = form(inputs, torch.cat(parts, dim=1))
    return logits, bits.split(num_blocks_of(network), dim=1)


def short(network, choosers, observe, inputs, draws):
    fast = copy.deepcopy(network)
    pack(fast)
    return ShortWalk(fast, choosers)(inputs, draws)


BACK_ENDS = {
    "compiled": (compiled, lambda network: why_not_fused(network) is None),
    "graph": (as_graph, lambda network: why_not_lowered(network) is None),
    "short": (short, lambda network: has_single_rows(operations_of(network))),
}
"""Name -> how it runs, and whether it does."""


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NAMES)
def test_every_back_end_chooses_and_answers_as_the_network_gate_by_gate(name, rule):
    network, inputs, ran = network_of(name), inputs_of(name, 20), set()
    shape = tuple(inputs.shape[1:])
    looks = LOOKS_OF_SYMBOLS if inputs.dtype == torch.int64 else LOOKS[len(shape)]
    for number, kind in enumerate(looks):
        hidden = [(), (5,)][(number + RULES.index(rule)) % 2]
        own = torch.randn(tiny.SYMBOLS, 4, generator=generator(5)) if kind == "embeddings" else None
        seen = LAST_SYMBOLS if own is not None else kind
        observe = make_observer(seen, network, shape, inputs.dtype)
        choosers = choosers_of(network, observe, rule, hidden, own)
        for back_end, (run, runs) in BACK_ENDS.items():
            if not runs(network) or (back_end == "short" and kind != "layer_input"):
                continue
            ran.add(back_end)
            # Single rows go another way in one of them.
            for rows in (inputs, *(inputs[:4].split(1) if back_end == "short" else ())):
                given = (network, choosers, observe, rows)
                logits, masks = run(*given, generator(7))
                expected, theirs = definition(*given, generator(7))
                masks, theirs = executed(network.gates, masks), executed(network.gates, theirs)
                assert torch.equal(masks, theirs), (back_end, kind, hidden)
                assert_close(logits, expected, rtol=1e-4, atol=1e-5)
                if len(rows) > 1 and max(num_blocks_of(network)) > 1:
                    # The best of many blocks alone is a small share of them.
                    least = 0.5 / max(num_blocks_of(network)) if rule == MIXED else 0.05
                    assert least < masks.float().mean() < 0.95
    assert "graph" in ran
    assert len(ran) == (1 if name == "bytes, hashed" else 2)


@pytest.mark.parametrize("rule", ["greedy", MIXED])
@pytest.mark.parametrize("name", ["wide", "resnet", "experts", "exits ueueu"])
def test_policies_that_remember_earlier_looks_choose_alike(name, rule):
    network, inputs = network_of(name), inputs_of(name, 20)
    observe = make_observer("layer_input", network, tuple(inputs.shape[1:]))
    choosers = choosers_of(network, observe, rule, (5,), None, earlier=True)
    expected, theirs = definition(network, choosers, observe, inputs, generator(7))
    runs = {"graph": as_graph} | ({"short": short} if name != "wide" else {})
    for back_end, run in runs.items():
        logits, masks = run(network, choosers, observe, inputs, generator(7))
        same = [executed(network.gates, one) for one in (masks, theirs)]
        assert torch.equal(*same), back_end
        assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    if name == "wide":
        with pytest.raises(ValueError, match="expected maps from"):
            compiled(network, choosers, observe, inputs, None)


@pytest.mark.parametrize("num_keys", [1, 2])
def test_lists_of_blocks_are_looked_up_alike(num_keys):
    network, symbols = network_of("bytes, context"), tiny.SYMBOLS
    windows, lists = inputs_of("bytes, context", 40), []
    for blocks in num_blocks_of(network):
        draws = torch.rand(symbols**num_keys, blocks, generator=generator(blocks))
        lists.append(draws.topk(2).indices)
    choosers = [ListChooser(one, num_keys, symbols) for one in lists]
    observe = make_observer(LAST_SYMBOLS, network, tiny.WINDOW, torch.int64)
    powers = symbols ** torch.arange(num_keys - 1, -1, -1)
    keys = (windows[:, -num_keys:] * powers).sum(dim=1)
    for run in (compiled, as_graph):
        _, masks = run(network, choosers, observe, windows, None)
        for one, mask in zip(lists, masks, strict=True):
            assert torch.equal(mask, mask_of_indices(one[keys], mask.shape[1]))


@pytest.mark.parametrize("name", ["resnet", "experts", "conv", "vit", "exits ueueu"])
def test_one_row_with_everything_kept_is_the_dense_network(name):
    network, image = packed(name)
    everything = OneRow(operations_of(network))(image, lambda *_: True)
    assert_close(everything, dense_forward(network, image))
    assert torch.equal(plain_passes(network, 1)["torch"](image), everything)


def test_of_one_row_what_is_skipped_is_not_computed():
    network, image = network_of("resnet"), inputs_of("resnet", 1)
    one = OneRow(operations_of(network))
    clean = one(image, lambda gate, *_: gate != 1)
    for parameter in network.parts[1].body.parameters():
        parameter.fill_(torch.nan)
    assert torch.equal(one(image, lambda gate, *_: gate != 1), clean)
    assert one(image, lambda *_: True).isnan().all()


def test_of_one_row_nothing_is_asked_behind_an_exit():
    (network, image), asked = packed("exits ueueu"), []

    def decide(gate, x, early):
        asked.append(gate)
        return gate != 1

    answer = OneRow(operations_of(network))(image, decide)
    masks = [torch.tensor([[gate != 1]]) for gate in range(5)]
    assert_close(answer, forward(network, image, masks))
    assert asked == [0, 1]


def test_networks_and_choosers_of_single_rows_that_do_not_fit_are_refused():
    network, image = packed("resnet")
    observe = make_observer("layer_input", network, (3, 8, 8))
    drawn = choosers_of(network, observe, "sampled", (), None)
    for choosers, message in (
        (drawn[:2], "a chooser for each of 3 gated layers, got 2"),
        (
            [Chooser([(torch.zeros(1, 3), None)])] * 3,
            r"expected maps from \d+ features to 1 scores",
        ),
        ([Chooser(torch.zeros(1), "top_k", 2)] * 3, "expected num_kept in 1"),
        (drawn, "expected a generator"),
    ):
        with pytest.raises(ValueError, match=message):
            ShortWalk(network, choosers)(image)
    assert has_single_rows(operations_of(network))
    assert not has_single_rows(operations_of(network.train()))
    assert not has_single_rows(operations_of(network_of("wide")))


class Changed(GatedMLP):
    """Says nothing of how it is lowered."""

    def logits(self, hidden, backend="auto"):
        return 2 * super().logits(hidden, backend)


class Told(Changed):
    """Says so."""

    def lower(self):
        raise ValueError("its logits are doubled")


def test_a_network_whose_walk_is_newer_than_its_lower_does_not_lower_and_others_say_why():
    assert why_not_lowered(GatedMLP(4)) is None
    assert "logits() of its own and no lower() to go with it" in why_not_lowered(Changed(4))
    assert why_not_lowered(Told(4)) == "its logits are doubled"
    assert why_not_lowered(nn.Linear(1, 1)) == "it has no lower()"
    assert "in training mode" in why_not_lowered(network_of("resnet").train())


def test_a_network_that_does_not_lower_is_written_by_its_own_steps():
    network, images = Changed(12, (3,), 4).eval().requires_grad_(False), torch.rand(1, 12)
    observe = make_observer("layer_input", network, (12,))
    choosers = choosers_of(network, observe, "greedy", (), None)
    logits, masks = as_graph(network, choosers, observe, images, generator(0))
    expected, theirs = definition(network, choosers, observe, images, generator(0))
    assert torch.equal(masks[0], theirs[0])
    assert_close(logits, expected)
