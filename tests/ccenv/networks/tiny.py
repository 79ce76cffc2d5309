"""Networks of milliseconds by name, all kinds and settings, and inputs and masks for them."""

import functools

import torch
from torch import nn

from ccenv.annexes.networks.gating.gate import gate
from ccenv.annexes.networks.pretrained.efficientnet import BlockGroup
from ccenv.annexes.networks.pretrained.smollm import LlamaSizes
from ccenv.annexes.networks.text.embedding import TokenMLP
from ccenv.base.masks import random_mask
from ccenv.base.seeding import stream
from ccenv.networks import NETWORKS as BY_NAME
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.core.inference_copy import NORMS
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.stages.linear import BlockLinear
from ccenv.networks.vision.conv import BlockConv2d
from ccenv.networks.vision.residual import ResidualUnit
from tests.ccenv.networks.own_decoder import writer
from tests.ccenv.networks.own_models import CASES, TOKENS, made

SYMBOLS = 7
WINDOW = (5,)
LLAMA = LlamaSizes(SYMBOLS, width=16, num_layers=2, num_heads=4, num_kv_heads=2, hidden=12)
MOBILE = {
    "groups": (BlockGroup(1, 3, 1, 1, 4), BlockGroup(2, 5, 2, 6, 8), BlockGroup(2, 3, 1, 2, 8)),
    "stem_channels": 6,
    "head_channels": 12,
    "image_size": 12,
    "weights": "random",
    "head": "linear",
}
PATCHES = {
    "depth": 2,
    "width": 8,
    "ffn_width": 6,
    "context": 2,
    "embedding_size": 3,
    "local_units": 4,
    "head_units": 5,
}
STREAM = {"width": 8, "local_units": 4, "head_units": 4, "hidden": 8, "num_heads": 2}


def of_exits(layout):
    """Units (u), exits (e) and parts that always run (a) on 5 features, for 3 classes."""
    parts = {}
    for number, kind in enumerate(layout):
        parts[f"{kind}{number}"] = {
            "u": lambda: ResidualUnit(nn.Sequential(nn.Linear(5, 5), nn.Tanh())),
            "e": lambda n=number: Exit(nn.Linear(5, 3), loss_weight=0.1 * (n + 1)),
            "a": lambda: nn.Linear(5, 5),
        }[kind]()
    return GatedSequential(nn.Linear(4, 5), parts, nn.Linear(5, 3), torch.zeros(1, 4))


def linear_after_maps():
    parts = [BlockConv2d(1, 4, 3, 2), BlockLinear(4 * 36, 3, 5, "tanh"), BlockLinear(15, 2, 4)]
    return GatedSequential(nn.Identity(), parts, nn.Linear(8, 3), torch.zeros(1, 1, 6, 6))


def tokens_of(**sizes):
    usual = {"num_blocks": (4, 3), "block_size": (2, 4), "embedding_size": 3, "look_tokens": 2}
    return TokenMLP(WINDOW, SYMBOLS, **usual | sizes)


def images(name, shape, **settings):
    return functools.partial(BY_NAME[name], shape, 3, **settings), shape


def texts(name, **settings):
    return functools.partial(BY_NAME[name], WINDOW, SYMBOLS, **settings), None


def gated(name):
    make, arguments, example, units = CASES[name]
    return gate(made(make, *arguments), units, example)


def uneven(**settings):
    sizes = {"num_blocks": (3, 5, 2), "block_size": (4, 2, 3), "head_units": (7, 6)}
    return functools.partial(GatedMLP, 6, num_classes=4, **sizes | settings), (6,)


PROBE = (1, 1, 8)
NETWORKS = {
    "mlp": uneven(),
    "mlp of one layer": uneven(num_blocks=4, block_size=2, head_units=(), activation="relu"),
    "conv": images("conv", (1, 9, 7), channels=(8, 12), strides=(2, 1), num_blocks=4),
    "conv of one block": images("conv", (1, 9, 7), channels=(4,), strides=(2,), num_blocks=1),
    "conv, pooled": images(
        "conv", (1, 9, 7), channels=(4, 6), strides=(2, 1), num_blocks=2, pool=1
    ),
    "linear after maps": (linear_after_maps, (1, 6, 6)),
    "experts": images("experts", (1, 8, 8), num_experts=5, expert_size=3, channels=(4, 4)),
    "experts, norms": images("experts", (3, 8, 8), num_experts=2, channels=(4, 4), norms=True),
    "resnet": images("resnet", (3, 8, 8), depth=8, width=4),
    "vit": images("vit", (3, 8, 8), depth=2, dim=12, num_heads=3, num_groups=4, patch_size=4),
    "vit of one block": images("vit", (3, 8, 8), depth=1, dim=12, num_heads=1, num_groups=1),
    "cascade": images("cascade", (1, 6, 6), first=(4, 6), then=(8,)),
    "cascade of linear layers": images("cascade", (1, 4, 4), first=(), then=()),
    "early_exit": images("early_exit", (1, 6, 6), units=(8, 6, 5)),
    "early_exit of maps": images("early_exit", (3, 8, 8), channels=(4, 6), units=()),
    "early_exit of both": images("early_exit", (3, 8, 8), channels=(4, 6), units=(7,)),
    "pondering": images("pondering", (1, 4, 4), units=6, num_steps=3),
    **{f"exits {layout}": (functools.partial(of_exits, layout), (4,))
       for layout in ("ueueu", "eueu", "ueeaue", "ue")},
    "small_conv": images("small_conv", (1, 8, 8), channels=(4, 6), units=(8,)),
    "pruned": images("pruned", (2, 8, 8), units=(8,), channels=(4, 6), macs=300),
    "pruned_blocks": images("pruned_blocks", (1, 4, 4), num_blocks=4, block_size=3),
    "efficientnet_lite0": images("efficientnet_lite0", (3, 8, 8), **MOBILE),
    "efficientnet_lite0, gray": images("efficientnet_lite0", (1, 8, 8), **MOBILE),
    "streaming": images("streaming", (1, 6, 4), patch_size=3, depth=2, **STREAM),
    "streaming of a text": texts("streaming", patch_size=4, predicts="next", **STREAM),
    "probe": (functools.partial(BY_NAME["probe"], num_blocks=(4, 4)), PROBE),
    "probe-residual": (BY_NAME["probe-residual"], PROBE),
    "probe-exit": (BY_NAME["probe-exit"], PROBE),
    "documents": (BY_NAME["documents"], (33,)),
    "staleness": (BY_NAME["staleness"], (10,)),
    "bytes": (tokens_of, None),
    "bytes of one layer": (functools.partial(tokens_of, num_blocks=4, block_size=5), None),
    "bytes of three": (functools.partial(tokens_of, num_blocks=(2, 3, 2), block_size=3), None),
    "bytes, more symbols": (
        functools.partial(tokens_of, tables=["hidden", "logits", "pairs"], num_symbols=9), None
    ),
    "bytes, context": (
        functools.partial(tokens_of, context=2, tables="hidden,logits,pairs"), None
    ),
    "bytes, two tables": (functools.partial(tokens_of, tables=["logits", "pairs"]), None),
    "bytes, hashed": (
        functools.partial(
            tokens_of, stem="hashed", order=2, num_rows=9, context=3, tables="hidden"
        ),
        None,
    ),
    "smollm2": texts("smollm2", weights="random", sizes=LLAMA),
    "ngram": texts("ngram", order=3),
    "gru": texts("gru", width=6, embedding_size=3),
    "skip_gru": texts("skip_gru", width=6, embedding_size=3),
    "gru-matrices": texts("gru", width=6, embedding_size=3, num_blocks=3),
    "lm": texts("lm", depth=2, width=8, num_heads=2, ffn_width=4, num_experts=4),
    "lm, tied": texts(
        "lm", depth=3, width=6, num_heads=1, ffn_width=3, num_experts=3, num_kept=2, tied=True
    ),
    "lm, attention and experts": texts(
        "lm", gates="attention,experts", depth=2, width=6, num_heads=2, ffn_width=3, num_experts=2
    ),
    "lm, heads and ffn": texts(
        "lm", gates=["heads", "ffn"], depth=2, width=9, num_heads=3, ffn_width=4, num_experts=2
    ),
    "lm, heads": texts("lm", gates="heads", width=8, num_heads=2, ffn_width=5, num_experts=1),
    "lm, exits": texts(
        "lm", gates=["experts", "exits"], depth=3, width=6, num_heads=2, ffn_width=3, num_experts=2
    ),
    "lm, exits behind heads": texts(
        "lm", gates="heads,exits", width=6, num_heads=2, ffn_width=3, num_experts=1, tied=True
    ),
    "lm, layers": texts(
        "lm", gates="layers", depth=3, width=6, num_heads=2, ffn_width=3, num_experts=2
    ),
    "lm, pondering": texts(
        "lm", gates="exits", depth=1, repeats=3, width=6, num_heads=1, ffn_width=5, num_experts=1
    ),
    "patches": texts("patches", patch_size=3, num_heads=2, **PATCHES),
    "patches, one whole": texts("patches", patch_size=5, num_heads=1, **PATCHES),
    "patches of one": texts("patches", patch_size=1, num_heads=2, **PATCHES),
    "pruned_bytes": texts("pruned_bytes", units=(8, 5), macs=40, context=4),
    "cascade_bytes": texts("cascade_bytes", first=(4,), then=(8, 5), context=4),
    "hashed_ngrams": texts("hashed_ngrams", units=5, num_rows=12, context=4, order=3),
    "hashed_ngrams of matrices": texts(
        "hashed_ngrams", units=5, num_rows=12, context=4, order=3, num_blocks=3
    ),
    "hashed_ngrams, elu, uneven, scaled": texts(
        "hashed_ngrams",
        units=5,
        num_rows=12,
        context=4,
        order=3,
        num_blocks=3,
        activation="elu",
        row_shares=(3, 1),
        is_scaled=True,
    ),
    "hashed_ngrams of places": texts("hashed_ngrams", units=5, num_rows=12, context=4, order=1),
    "decoder": (functools.partial(writer, WINDOW, SYMBOLS), None),
    "decoder, halves": (functools.partial(writer, WINDOW, SYMBOLS, halves=True), None),
    **{f"gated {name}": (
        functools.partial(gated, name), None if example is TOKENS else example.shape[1:]
    ) for name, (_, _, example, _) in CASES.items()},
}  # fmt: skip
"""Name -> a builder, and the shape of an input; None for windows of symbols."""


def built(name, seed=0):
    """A network with numbers in all of its tables, heads and norms, in evaluation mode."""
    builder, _ = NETWORKS[name]
    torch.manual_seed(seed)
    network = builder().eval()
    with torch.no_grad():
        for kind, parameter in network.named_parameters():
            if not network.has_own_weights and not parameter.any():
                parameter.normal_(std=0.5)
            assert parameter.isfinite().all(), kind
        for norm in (m for m in network.modules() if isinstance(m, NORMS)):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2)
    return network


def inputs_of(name, rows, seed=0):
    """Inputs [rows, ...] of a network."""
    shape, generator = NETWORKS[name][1], stream(seed, "inputs")
    if shape is None:
        return torch.randint(SYMBOLS, (rows, *WINDOW), generator=generator)
    return torch.rand(rows, *shape, generator=generator)


def masks_of(network, rows, density=0.5, seed=0):
    """Masks of each gate; what an exit stops is in them too."""
    generator = stream(seed, "masks")
    return [random_mask(rows, gate.num_blocks, density, generator) for gate in network.gates]


def positions(sequences, window, missing=SYMBOLS):
    """Every position of sequences of symbols, as inputs: missing symbols before them."""
    rows = [
        torch.cat([torch.full((window - n,), missing), sequence[:n]])
        for sequence in sequences
        for n in range(1, len(sequence) + 1)
    ]
    return torch.stack(rows)


def symbols(*lengths, seed=1):
    """Random sequences of symbols."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(SYMBOLS, (length,), generator=generator) for length in lengths]


def write_prose(folder, monkeypatch, words=("abc", "ca", "bba"), count=4000):
    """Writes the data set `prose` of random words."""
    monkeypatch.setenv("CCENV_DATA", str(folder))
    draws = torch.randint(3, (count,), generator=torch.Generator().manual_seed(0)).tolist()
    (folder / "prose.txt").write_text("".join(words[draw] for draw in draws))
