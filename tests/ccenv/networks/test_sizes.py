"""Sizes that no network can have: each is refused in words, whatever network it is given to."""

import dataclasses
import functools
import inspect
import itertools

import pytest
import torch

from ccenv.annexes.networks.baselines.dense import DropoutMLP
from ccenv.annexes.networks.text.embedding import TokenMLP
from ccenv.base.registry import resolve
from ccenv.networks import NETWORKS as BY_NAME
from tests.ccenv.networks.tiny import LLAMA, NETWORKS, SYMBOLS, WINDOW


@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_that_are_no_whole_numbers_of_at_least_one_are_refused(name):
    builder, _ = NETWORKS[name]
    settings = getattr(builder, "keywords", {})
    sizes = [key for key, value in settings.items() if type(value) is int]
    for key, wrong in itertools.product(sizes, (0, 1.5)):
        with pytest.raises(ValueError, match=r"(whole numbers?|num_steps) of at least [12]"):
            functools.partial(builder, **{key: wrong})()


@pytest.mark.parametrize("name", ["ngram", "gru", "skip_gru", "lm", "smollm2", "pruned_bytes"])
def test_networks_of_texts_refuse_images(name):
    builder, _ = NETWORKS[name]
    with pytest.raises(ValueError, match=r"windows of (symbols|tokens)"):
        builder.func((1, 8, 8), SYMBOLS, **builder.keywords)


def named(name, *sizes, **more):
    return functools.partial(BY_NAME[name], *sizes, **more)


REFUSED = {
    "mlp": [
        ({"num_blocks": ()}, r"num_blocks to be whole numbers of at least 1, got \(\)"),
        ({"num_blocks": (10, 0)}, "num_blocks to be whole numbers"),
        ({"num_blocks": (True,)}, "num_blocks to be whole numbers"),
        ({"num_blocks": "10"}, "num_blocks to be whole numbers"),
        ({"block_size": (2, 2)}, "expected one block_size, or one for each of the 3 gated layers"),
        ({"head_units": (0,)}, "head_units to be whole numbers"),
        ({"num_classes": 0}, "num_classes to be whole numbers"),
        ({"activation": "thanh"}, "did you mean 'tanh'"),
        ({"activation": torch.sigmoid}, "maps 0 to 0, got 0.5"),
    ],
    "probe": [
        ({name: wrong}, "expected the probe's settings")
        for name, wrong in (("num_blocks", (5,)), ("block_size", 3), ("activation", "tanh"))
    ],
    "conv": [({"strides": (1,)}, "a stride for each")],
    "small_conv": [
        ({"strides": (1,)}, "2 strides and kernels, got"),
        ({"kernel": 2}, "expected odd kernels"),
    ],
    "resnet": [({"depth": depth}, r"expected depth to be 6 n \+ 2") for depth in (7, 18, 2)],
    "vit": [
        ({"num_heads": 5}, "num_heads to divide 12 features"),
        ({"num_groups": 7}, "num_groups to divide 48 hidden units"),
        ({"patch_size": 5}, "patch_size to divide images of 8 x 8"),
    ],
    "early_exit": [({"units": (4,)}, "at least two layers")],
    "pruned": [
        ({"macs": 10**6}, r"at most the whole network's \d+"),
        ({"begin": 0.5, "end": 0.5}, "begin < end"),
    ],
    "efficientnet_lite0": [
        ({"head": "own"}, "use 'linear'"),
        ({"head": "liner"}, "did you mean 'linear'"),
    ],
    "bytes": [
        ({"context": 6}, "context to be at most the window's 5"),
        ({"look_tokens": 6}, "look_tokens to be at most the 5 symbols"),
        ({"look_tokens": 4, "context": 3}, "look_tokens to be at most the 3 symbols"),
        ({"num_blocks": (2, 2), "block_size": (1, 2, 3)}, "one block_size, or one for each"),
        ({"num_symbols": -1}, "num_symbols"),
        ({"tables": "hiden"}, "hidden"),
        ({"tables": "pairs", "num_symbols": 60_000}, "look-up tables in training to fit"),
        ({"stem": "hash"}, "hashed"),
        ({"stem": "hashed", "context": 2, "order": 3}, "order of at most the 2 symbols"),
    ],
    "hashed_ngrams": [
        ({"order": 5}, "order of at most the 4 symbols that are read, got 5"),
        ({"num_rows": 3, "row_shares": (3, 1)}, "num_rows of at least 4, got 3"),
        ({"row_shares": (1, 1, 1)}, "2 row_shares, one for each length from 2 to 3, got"),
        ({"row_shares": (0.5, 0.5)}, "row_shares to be whole numbers"),
        ({"activation": "gelu"}, "activation"),
        ({"num_rows": 10**12}, "hashed rows in training to fit"),
        ({"num_blocks": [2, 3]}, "num_blocks to be whole numbers of at least 1, got"),
        ({"num_symbols": 9}, "num_symbols of 7 or, for sequences, 8, got 9"),
    ],
    "pruned_bytes": [({"context": 7}, "the window's 5 symbols, got 7")],
    "ngram": [
        ({"order": 6}, "an order of at most 5"),
        ({"max_pairs": 0}, "max_pairs"),
        ({"escape": 0.0}, "escape to be a finite number above 0"),
    ],
    "lm": [
        ({"num_kept": 5}, "num_kept of at most the 4 experts, got 5"),
        ({"context": 4}, "at most context=4 symbols"),
        ({"num_heads": 3}, "num_heads to divide the width 8, got 3"),
        ({"look_tokens": 9}, "look_tokens=9"),
        ({"gates": "attention,heads"}, "of attention and heads one at most"),
        ({"gates": ["ffn", "experts"]}, "of ffn and experts one at most"),
        ({"gates": "layers,exits"}, "no other gates with layers, got layers, exits"),
        ({"gates": []}, "got none"),
        ({"gates": "head"}, "unknown gate 'head'"),
        ({"gates": "exits", "depth": 1}, "a depth of at least 2, or layers that are repeated"),
    ],
    "patches": [
        ({"num_heads": 3}, "num_heads to divide the width"),
        ({"patch_size": 6}, "at most the window's"),
    ],
    "streaming": [
        ({"patch_size": 1}, r"patch_size in 2..6.*nothing lags"),
        ({"patch_size": 7}, r"patch_size in 2..6"),
        ({"chunk_size": 4}, "chunk_size that divides the input's 6 lines"),
        ({"predicts": "next"}, r"windows of symbols \(length,\)"),
        ({"predicts": "nxt"}, "did you mean 'next'"),
        ({"width": 6, "num_heads": 4}, "multiple of num_heads=4"),
    ],
}
"""Name of `tiny` -> changes of its settings, and what they are told."""
OTHERS = [
    (
        named("probe-exit", (1, 8, 8), 10),
        "expected dataset='probe' with inputs",
    ),
    (
        named("probe-residual", (1, 8, 8), 10),
        "expected dataset='probe' with inputs",
    ),
    (functools.partial(DropoutMLP, 6, (1,), 4, 3, dropout=1.0), r"dropout in \[0, 1\)"),
    (named("vit", (24,)), r"images \(channels, height, width\) for 'vit'"),
    (named("efficientnet_lite0", (64,), weights="random"), "expected images"),
    (functools.partial(TokenMLP, (3, 8, 8)), r"windows of symbols \(length,\) for 'bytes'"),
    (functools.partial(TokenMLP, (1,), tables="pairs", look_tokens=1), "windows of 2 symbols"),
    (named("ngram", WINDOW, 2**20, order=3), "an order of at most 2"),
    (
        named("smollm2", WINDOW, 12, weights="random", sizes=LLAMA),
        "as tokens, 7, got 12",
    ),
]
CASES = [
    (functools.partial(NETWORKS[name][0], **changes), message)
    for name, rows in REFUSED.items()
    for changes, message in rows
]


@pytest.mark.parametrize(("build", "message"), CASES + OTHERS)
def test_sizes_that_do_not_fit_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("name", ["bytes", "lm", "patches", "streaming"])
def test_a_network_of_texts_has_one_record_of_settings_whose_fields_its_signature_names(name):
    builder = resolve(name, BY_NAME, "network")
    shown = inspect.signature(builder).parameters
    record = type(builder().settings)
    fields = {field.name: field.default for field in dataclasses.fields(record)}
    assert {key: one.default for key, one in list(shown.items())[2:]} == fields
    assert builder.__init__.__code__.co_argcount == 3
    size = "embedding_size" if "embedding_size" in fields else "width"
    changed = builder(**{size: 2 * fields[size]}).settings
    assert changed == dataclasses.replace(record(), **{size: 2 * fields[size]})
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(changed, size, 1)
    with pytest.raises(TypeError, match="widht"):
        builder(widht=8)
