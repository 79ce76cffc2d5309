"""What was altered on disk is noticed before it is used; what cannot be stored is said."""

import contextlib
import functools
import json
import operator

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ccenv.annexes.tasks.probe import PROBE_SETTINGS, probe_network
from ccenv.base import checked_file
from ccenv.base.checked_file import check_finite, load_tree, read_checked, save_tree, write_checked
from ccenv.data import load_split
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.learning import bundled_weights as weight_cache
from ccenv.networks.learning import training as weights
from ccenv.networks.learning.training import Pretraining, frozen_weights
from ccenv.rewards import latency
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import seeded

QUICK = Pretraining(batch_size=16, num_epochs=0, min_updates=3)
SIZES = {"in_features": 64, "num_blocks": (4,), "block_size": 4}


def learned(**sizes):
    """A network's weights from the cache, or learned."""
    network = build_network(GatedMLP, 0, **SIZES | sizes)
    frozen_weights(network, load_split("digits", "train"), QUICK)
    return [value.clone() for value in network.state_dict().values()]


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def flip(path, byte, bit=0):
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


@contextlib.contextmanager
def no_training():
    """Fails where something is learned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "tqdm", lambda *a, **k: pytest.fail("expected no training"))
        yield


def test_every_flipped_bit_of_a_file_is_noticed_or_changes_nothing(tmp_path):
    path = tmp_path / "file"
    tree = {"a": torch.arange(3.0), "b": [1, "x"], "c": torch.tensor(True)}
    save_tree(path, tree)
    whole, sound = path.read_bytes(), read_checked(path)
    for byte in range(len(whole)):
        for bit in (byte % 8, 7):
            path.write_bytes(whole)
            flip(path, byte, bit)
            # Only blanks between the parts of the header may change.
            with contextlib.suppress(ValueError):
                tensors, texts = read_checked(path)
                assert all(torch.equal(tensors[name], sound[0][name]) for name in sound[0])
                assert texts == sound[1]
            with contextlib.suppress(ValueError):
                found = load_tree(path)
                assert torch.equal(found["a"], tree["a"])
                assert found["b"] == tree["b"]


def parts_of(node, at=()):
    """Where everything in nested JSON stands."""
    yield at
    for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(inner, dict | list):
            yield from parts_of(inner, (*at, key))
        else:
            yield (*at, key)


ARRAY = {"array": {"tensor": "1", "stride": [1]}, "dtype": "S500000000"}
ODD = [None, -1, 10**30, 0.5, "S500000000", "V9", [], [[]], [10**30], {}, ARRAY, {"tensor": []}]
ODD += [
    ARRAY | {"dtype": ["int8"]},
    {"array": 7, "dtype": "int8"},
    {"dict": [[[], 1]]},
    {"tuple": 7},
]
ODD += [{"tensor": "1", "stride": stride} for stride in ([-1], [10**30], ["x"], [1, 1], None)]


def test_a_tree_with_another_node_in_any_place_is_a_tree_or_refused(tmp_path, monkeypatch):
    path = tmp_path / "tree"
    save_tree(path, {"a": torch.ones(1, 1), "b": [(2, None)], "c": np.ones(3, "u2"), 5: "x"})
    tensors, texts = read_checked(path)
    for at in parts_of(json.loads(texts["tree"])):
        for odd in ODD:
            whole = {"tree": json.loads(texts["tree"])}
            *way, last = ("tree", *at)
            functools.reduce(operator.getitem, way, whole)[last] = odd
            read = tensors, {"tree": json.dumps(whole["tree"])}
            monkeypatch.setattr(checked_file, "read_checked", lambda path, read=read: read)
            with contextlib.suppress(ValueError):
                load_tree(path)


@pytest.mark.parametrize("other", [{}, {"sha255": "0" * 64}])
def test_a_tree_without_a_checksum_is_refused(other, tmp_path):
    save_file({}, tmp_path / "tree", metadata={"tree": "[1, 2]", **other})
    with pytest.raises(ValueError, match="expected a checksum"):
        load_tree(tmp_path / "tree")


def two_bits(path):
    flip(path, -5, bit=6)
    flip(path, -9, bit=2)


def other_shapes(path):
    write_checked(path, {"layers.0.weight": torch.zeros(2, 2)}, {})


def other_names(path):
    write_checked(path, {f"x.{k}": v for k, v in load_file(path).items()}, {})


def not_finite(path):
    write_checked(path, {k: v + torch.nan for k, v in load_file(path).items()}, {})


def cut(path):
    path.write_bytes(path.read_bytes()[:40])


def another_kind(path):
    path.write_text("nonsense")


def no_checksum(path):
    save_file(load_file(path), path)


DAMAGES = [no_checksum, two_bits, other_shapes, other_names, not_finite, cut, another_kind]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_in_the_cache_are_learned_anew_once_and_that_is_said(cache, damage, capsys):
    sound = learned()
    (path,) = cache.glob("*.safetensors")
    damage(path)
    capsys.readouterr()
    assert same(learned(), sound)
    said = capsys.readouterr().err
    assert said.count("cached weights cannot be used and are learned again") == 1
    assert str(path) in said
    with no_training():
        assert same(learned(), sound)
    assert not capsys.readouterr().err


def test_where_the_cache_cannot_be_written_in_weights_are_learned_in_memory(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path / "sound"))
    sound = learned()
    capsys.readouterr()
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path / "file" / "cache"))
    assert same(learned(), sound)
    assert capsys.readouterr().err.count("weights cannot be stored") == 1


def test_a_full_disk_leaves_no_half_file_and_weights_in_memory(cache, monkeypatch, capsys):
    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ccenv.base.checked_file.save_file", full)
    assert learned()
    said = capsys.readouterr().err
    assert said.count("No space left on device") == 1
    assert "CCENV_CACHE" in said
    assert not list(cache.glob("*.partial"))
    assert not list(cache.glob("*.safetensors"))


def test_weights_that_are_not_finite_are_never_stored(cache):
    network = nn.Linear(2, 2)

    def diverge():
        with torch.no_grad():
            network.weight[0, 0] = torch.inf

    with pytest.raises(ValueError, match="finite weights of the network that was pre-trained"):
        weight_cache.learned_once(network, "name", diverge)
    assert not list(cache.glob("*.safetensors"))


def test_a_network_given_with_weights_that_are_not_finite_is_refused():
    network = GatedMLP(64, (3,), 4)
    with torch.no_grad():
        network.head_layers[0].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"finite weights of the network, got 1 .*head_layers"):
        Simulator(2, network=network)
    check_finite({"whole": torch.tensor([1])}, "whole numbers")


@pytest.mark.parametrize("reward", ["accuracy_minus_cost", "nll_minus_cost"])
def test_a_network_that_answers_nan_is_paid_nothing(reward):
    simulator = seeded(4, **PROBE_SETTINGS | {"network": probe_network, "reward": reward})
    # Its weights are finite: others are refused at the first step.
    answer = torch.full((4, simulator.network.num_classes), torch.nan)
    simulator.network.logits = lambda hidden, backend="auto": answer
    simulator.begin()
    masks = [torch.ones(4, n, dtype=torch.bool) for n in simulator.num_blocks]
    for mask in masks[:-1]:
        simulator.step(mask)
    with pytest.raises(ValueError, match="finite logits of the network, got others for 4 of 4"):
        simulator.step(masks[-1])


def test_damaged_times_in_the_cache_are_measured_anew(cache, monkeypatch, capsys):
    network = build_network(GatedMLP, 0, **SIZES)
    times = [{"before": [0], "kept": [0, 4], "shares": [[0.0, 1.0]]}]
    monkeypatch.setattr(latency, "measure_shares", lambda *arguments: times)
    first = latency.time_table(network, torch.zeros(8, network.in_features))
    (path,) = (cache.parent / "latency").glob("*.safetensors")
    flip(path, -8)
    second = latency.time_table(network, torch.zeros(8, network.in_features))
    assert capsys.readouterr().err.count("measured again") == 1
    latency.time_table(network, torch.zeros(8, network.in_features))
    assert not capsys.readouterr().err
    assert torch.equal(first.shares[0], second.shares[0])
