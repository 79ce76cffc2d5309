"""Every back end of a lowered network chooses and answers as the network does, gate by gate."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn.functional import linear
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from ccenv.agents.rloo import Rloo
from ccenv.base.masks import as_mask, mask_of_indices
from ccenv.deploy.fused.classifier import FusedClassifier, why_not_fused
from ccenv.deploy.latency import plain_pass
from ccenv.deploy.masked_form import MaskedForm
from ccenv.deploy.onnx_file import executed
from ccenv.deploy.short_walk import OneRow, ShortWalk, why_not_one_row, why_not_short
from ccenv.mdp.choosers import RULES, Chooser, ListChooser, mask_of
from ccenv.mdp.dynamics import initial, transition
from ccenv.mdp.observations import LAST_SYMBOLS, make_observer
from ccenv.networks.baselines.text import hashed_ngrams
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.core.inference_copy import pack
from ccenv.networks.core.lowering import why_not_lowered
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import dense_forward, forward, num_blocks_of
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.text.embedding import next_byte
from ccenv.networks.vision.conv import conv
from ccenv.networks.vision.experts import experts
from ccenv.networks.vision.residual import resnet
from ccenv.networks.vision.transformer import vit
from ccenv.simulator.simulator import Simulator

SHAPE, WINDOW, NUM_SYMBOLS = (3, 16, 16), (6,), 7


def generator(seed):
    return torch.Generator().manual_seed(seed)


def with_exits():
    """Two residual units with an exit between them."""
    answer, head = (
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)) for _ in range(2)
    )
    units = [resnet(SHAPE, depth=8, width=4).parts[0] for _ in range(2)]
    parts = {"a": units[0], "exit": Exit(answer), "b": units[1]}
    stem = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU())
    return GatedSequential(stem, parts, head, torch.zeros(1, *SHAPE))


def predictor(**sizes):
    given = {"num_blocks": (20, 4), "block_size": (8, 5), "embedding_size": 3, "look_tokens": 2}
    return next_byte(WINDOW, 5, NUM_SYMBOLS, **given | sizes)


TUNED = {"units": 5, "num_rows": 9, "context": 3, "order": 3, "num_blocks": 4}
TUNED |= {"activation": "elu", "row_shares": (2, 1), "is_scaled": True}
NETWORKS = {
    "mlp": (SHAPE, lambda: GatedMLP(768, (6, 5), (4, 7), 10, "relu", (9,))),
    "single units": (SHAPE, lambda: GatedMLP(768, (60, 5), (1, 16), 16)),
    "tokens": (WINDOW, predictor),
    "tables": (WINDOW, lambda: predictor(tables="hidden,logits,pairs", context=3)),
    "hashed": (WINDOW, lambda: predictor(stem="hashed", order=2, num_rows=9)),
    "scaled": (WINDOW, lambda: hashed_ngrams(WINDOW, NUM_SYMBOLS, **TUNED)),
    "resnet": (SHAPE, lambda: resnet(SHAPE, depth=8, width=4)),
    "experts": (SHAPE, lambda: experts(SHAPE, num_experts=4, expert_size=4, channels=(4, 8))),
    "conv": (SHAPE, lambda: conv(SHAPE, channels=(8, 8), num_blocks=4, strides=(1, 2))),
    "vit": (SHAPE, lambda: vit(SHAPE, depth=2, dim=16, num_heads=2, num_groups=4)),
    "exits": (SHAPE, with_exits),
}
"""Name -> shape of an input, and what builds a network of the kind."""
LOOKS = {SHAPE: ("layer_input", "summary"), WINDOW: ("layer_input", LAST_SYMBOLS, "embeddings")}


def network_of(name):
    shape, build = NETWORKS[name]
    torch.manual_seed(0)
    network = build().eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator(1)))
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.1, 0.1)
        norm.running_var.uniform_(0.5, 2)
    return network, shape


def packed(name):
    network, shape = network_of(name)
    pack(network)
    return network, inputs_of(shape, 1)


def inputs_of(shape, rows):
    if shape == WINDOW:
        return torch.randint(NUM_SYMBOLS, (rows, *shape), generator=generator(2))
    return torch.rand(rows, *shape, generator=generator(2))


def choosers_of(network, observe, rule, hidden, embeddings):
    """Random maps; scores about zero, so that both answers come."""
    draws, found = generator(3), []
    for gate, length in zip(network.gates, observe.lengths, strict=False):
        seen = length if embeddings is None else length * embeddings.shape[1]
        maps = [
            (torch.randn(b, a, generator=draws) / a**0.5, 0.1 * torch.randn(b, generator=draws))
            for a, b in itertools.pairwise([seen, *hidden, gate.num_blocks])
        ]
        kept = max(1, gate.num_blocks // 2)
        found.append(Chooser(maps, rule, kept, low=0.2, embeddings=embeddings))
    return found


def definition(network, choosers, observe, inputs, draws):
    """Logits and masks by the environment's own steps, and rules in words of this file."""
    labels = torch.zeros(len(inputs), dtype=torch.int64)
    state, masks = initial(network, inputs, labels), []
    for gate, (chooser, blocks) in enumerate(zip(choosers, num_blocks_of(network), strict=True)):
        look = observe(state)[:, : observe.lengths[gate]]
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
    if chooser.rule == "sampled":
        return uniform < 0.2 + 0.6 * scores.sigmoid()
    if chooser.rule == "sampled_k":
        scores = scores - torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
    return mask_of_indices(scores.topk(chooser.num_kept, dim=1).indices, scores.shape[1])


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
    return ShortWalk(fast, choosers, inputs[:1])(inputs, draws)


BACK_ENDS = {
    "compiled": (compiled, why_not_fused),
    "graph": (as_graph, why_not_lowered),
    "short": (short, why_not_one_row),
}
"""Name -> how it runs, and why it does not."""


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_back_end_chooses_and_answers_as_the_network_gate_by_gate(name, rule):
    network, shape = network_of(name)
    ran = set()
    for kind, hidden in itertools.product(LOOKS[shape], [(), (5,)]):
        own = torch.randn(NUM_SYMBOLS, 4, generator=generator(5)) if kind == "embeddings" else None
        observe = make_observer(
            LAST_SYMBOLS if own is not None else kind, network, shape, inputs_of(shape, 1).dtype
        )
        choosers = choosers_of(network, observe, rule, hidden, own)
        for back_end, (run, why_not) in BACK_ENDS.items():
            if why_not(network) is not None or (back_end == "short" and kind != "layer_input"):
                continue
            ran.add(back_end)
            inputs = inputs_of(shape, 20)
            # Single rows go another way in one of them.
            for rows in (inputs, *(inputs[:4].split(1) if back_end == "short" else ())):
                given = (network, choosers, observe, rows)
                logits, masks = run(*given, generator(7))
                expected, theirs = definition(*given, generator(7))
                masks, theirs = executed(network.gates, masks), executed(network.gates, theirs)
                assert torch.equal(masks, theirs), (back_end, kind, hidden)
                assert_close(logits, expected, rtol=1e-4, atol=1e-5)
                if len(rows) > 1 and max(num_blocks_of(network)) > 1:
                    assert 0.05 < masks.float().mean() < 0.95
    assert "graph" in ran
    assert len(ran) == (1 if name == "hashed" else 2)


@pytest.mark.parametrize("num_keys", [1, 2])
def test_lists_of_blocks_are_looked_up_alike(num_keys):
    network, shape = network_of("tables")
    windows, lists = inputs_of(shape, 40), []
    for blocks in num_blocks_of(network):
        draws = torch.rand(NUM_SYMBOLS**num_keys, blocks, generator=generator(blocks))
        lists.append(draws.topk(2).indices)
    choosers = [ListChooser(one, num_keys, NUM_SYMBOLS) for one in lists]
    observe = make_observer(LAST_SYMBOLS, network, shape, torch.int64)
    powers = NUM_SYMBOLS ** torch.arange(num_keys - 1, -1, -1)
    keys = (windows[:, -num_keys:] * powers).sum(dim=1)
    for run in (compiled, as_graph):
        _, masks = run(network, choosers, observe, windows, None)
        for one, mask in zip(lists, masks, strict=True):
            assert torch.equal(mask, mask_of_indices(one[keys], mask.shape[1]))


@pytest.mark.parametrize("name", ["resnet", "experts", "conv", "vit", "exits"])
def test_one_row_with_everything_kept_is_the_dense_network(name):
    network, image = packed(name)
    everything = OneRow(network)(image, lambda *_: True)
    assert_close(everything, dense_forward(network, image))
    assert torch.equal(plain_pass(network, 1)(image), everything)


def test_of_one_row_what_is_skipped_is_not_computed():
    network, _ = network_of("resnet")
    one, image = OneRow(network), inputs_of(SHAPE, 1)
    clean = one(image, lambda gate, *_: gate != 1)
    for parameter in network.parts[1].body.parameters():
        parameter.fill_(torch.nan)
    assert torch.equal(one(image, lambda gate, *_: gate != 1), clean)
    assert one(image, lambda *_: True).isnan().all()


def test_of_one_row_nothing_is_asked_behind_an_exit():
    (network, image), asked = packed("exits"), []

    def decide(gate, x, early):
        asked.append(gate)
        return gate != 1

    answer = OneRow(network)(image, decide)
    masks = [torch.tensor([[bit]]) for bit in (True, False, True)]
    assert_close(answer, forward(network, image, masks))
    assert asked == [0, 1]


def test_networks_and_choosers_of_single_rows_that_do_not_fit_are_refused():
    network, image = packed("resnet")
    observe = make_observer("layer_input", network, SHAPE)
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
            ShortWalk(network, choosers, image)(image)
    assert why_not_short(network, (24,)) == "its inputs are no images"
    assert why_not_short(network.double(), SHAPE) == "it is not float32 on the CPU"
    assert why_not_one_row(network.train()).endswith("in training mode, call eval() first")


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
    assert "in training mode" in why_not_lowered(resnet(SHAPE, depth=8, width=4).train())


def test_a_network_that_does_not_lower_is_written_by_its_own_steps():
    network, images = Changed(12, (3,), 4).eval().requires_grad_(False), torch.rand(1, 12)
    observe = make_observer("layer_input", network, (12,))
    choosers = choosers_of(network, observe, "greedy", (), None)
    logits, masks = as_graph(network, choosers, observe, images, generator(0))
    expected, theirs = definition(network, choosers, observe, images, generator(0))
    assert torch.equal(masks[0], theirs[0])
    assert_close(logits, expected)


PRICED = {"context": {"cost_weight": [0.1, 0.5]}, "reward": "accuracy_minus_cost"}


def agent_of(size, hidden, more):
    own = {"num_blocks": (6,), "block_size": 2, "observation": LAST_SYMBOLS, "group_size": 2}
    simulator = Simulator(40, **({"dataset": "digits", "weights": "cotrain"} | own | more))
    simulator.seed(0)
    agent = Rloo(simulator, num_kept=2, hidden_units=hidden, embedding_size=size)
    with torch.no_grad():
        for linear in (m for m in agent.scores.modules() if isinstance(m, torch.nn.Linear)):
            linear.bias.normal_(generator=torch.Generator().manual_seed(1))
    return agent


@pytest.mark.parametrize("more", [{}, PRICED])
@pytest.mark.parametrize("hidden", [0, 3])
@pytest.mark.parametrize("size", [0, 5, "one_hot"])
def test_a_chooser_chooses_what_its_policy_chooses_for_as_many_products(size, hidden, more):
    agent = agent_of(size, hidden, more)
    seen = agent.simulator.begin()[:, : agent.scores.lengths[0]]
    (chooser,) = agent.choosers(deterministic=True)
    with FlopCounterMode(display=False) as counter:
        found = mask_of(chooser, seen, None, 6)
    assert torch.equal(found, as_mask(agent.act(seen, 0), 6))
    # The counter takes a product and a sum for two.
    assert counter.get_total_flops() == 2 * len(seen) * sum(agent.policy_macs)
