"""Shipped weights: what is written is read, what was altered or is another's is refused."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ccenv.base.checked_file import read_checked, write_checked
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.learning import bundled_weights
from ccenv.networks.learning.bundled_weights import SHIPPED, Shipped, load_shipped
from ccenv.networks.vision.residual import ResidualUnit
from ccenv.runs.lab import weights
from ccenv.runs.lab.weights import RECIPES, Measured, recipe_digest, write_shipped
from ccenv.simulator.simulator import Simulator
from tests.ccenv.base.test_damage import flip

NUM_IMAGES = 1000


def tiny(input_shape=(1, 8, 8), num_classes=10):
    """Two residual units on the bundled digits."""
    stem = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
    units = [ResidualUnit(nn.Sequential(nn.Linear(16, 16), nn.Tanh())) for _ in range(2)]
    return GatedSequential(stem, units, nn.Linear(16, num_classes), torch.zeros(1, *input_shape))


RECIPE = weights.Recipe(
    "tests.ccenv.networks.test_shipped:tiny", "digits", num_epochs=4, batch_size=32, bfloat16=False
)


@pytest.fixture
def table(monkeypatch, tmp_path):
    """A table and a folder with one recipe that takes no second."""
    shipped = Shipped(RECIPE.network, RECIPE.dataset, recipe_digest(RECIPE))
    monkeypatch.setitem(SHIPPED, "tiny", shipped)
    monkeypatch.setitem(RECIPES, "tiny", RECIPE)
    monkeypatch.setattr(bundled_weights, "PACKAGED", tmp_path)
    # The recipe's network is this file's function, whatever the tests are called from.
    monkeypatch.setattr(weights, "NETWORKS", {RECIPE.network: tiny})
    return tmp_path


def untrained(name):
    """The network of a recipe, or a skip where its data are not here."""
    try:
        return weights.untrained(RECIPES[name])
    except FileNotFoundError as error:
        pytest.skip(str(error))  # Its recipe's images, CIFAR-10, come with no package.


MEASURED = Measured(0.5, 0.25, 0.75)


def told_by(path):
    """The errors that a file says its weights have."""
    return Measured(**json.loads(read_checked(path)[1]["measured"]))


def test_the_program_trains_and_writes_a_file_whose_errors_are_its_networks(table, capsys):
    assert weights.main(["tiny"]) == 0
    network = tiny().eval()
    load_shipped(network, "tiny")
    found = told_by(table / "tiny.safetensors")
    assert found == weights.measured(network, RECIPE)
    assert found.test_error < 0.2
    assert found.test_error < found.half_error
    assert f"{100 * found.test_error:.2f} % (test)" in capsys.readouterr().out
    texts = read_checked(table / "tiny.safetensors")[1]
    assert texts["fingerprint"] == recipe_digest(RECIPE)
    assert "torch" in json.loads(texts["versions"])


def test_unknown_names_are_refused_before_anything_is_trained(table, capsys):
    assert weights.main(["tini"]) == 2
    assert "tiny" in capsys.readouterr().err


def test_what_is_written_is_read_to_the_bit(table):
    network, other = tiny(), tiny()
    write_shipped(network, "tiny", MEASURED, {"torch": "2"})
    load_shipped(other, "tiny")
    for name, tensor in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)


def altered(path, change):
    """Writes a file anew with other tensors or texts."""
    tensors, texts = read_checked(path)
    change(tensors, texts)
    write_checked(path, tensors, texts)


def unsealed(path):
    """As a file that another program has written."""
    tensors, texts = read_checked(path)
    save_file(tensors, path, metadata=texts)


DAMAGES = {
    "a flipped bit": (lambda path: flip(path, -1), "to have the SHA-256"),
    "no checksum": (unsealed, "expected a checksum"),
    "no file of weights": (lambda path: path.write_bytes(b"?"), "expected a safetensors file"),
    "another network": (
        lambda path: altered(path, lambda t, _: t.update({"head.weight": t["head.weight"][:5]})),
        "those of another: 'head.weight'",
    ),
    "a missing weight": (
        lambda path: altered(path, lambda t, _: t.pop("head.bias")),
        "'head.bias' is no tensor there",
    ),
    "no numbers": (
        lambda path: altered(path, lambda t, _: t["head.bias"].fill_(torch.nan)),
        "expected finite weights",
    ),
    "another recipe": (
        lambda path: altered(path, lambda _, s: s.update(fingerprint="0" * 64)),
        "by 000000000000...; train them again: python -m ccenv.runs.lab weights tiny",
    ),
    "another name": (lambda path: altered(path, lambda _, s: s.update(name="b")), "got 'b' by"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_altered_is_refused_and_the_network_stays_as_it_was(table, damage):
    path = write_shipped(tiny(), "tiny", MEASURED, {})
    change, message = DAMAGES[damage]
    change(path)
    network = tiny()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_shipped(network, "tiny")
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


def test_missing_files_say_how_to_make_them(table):
    with pytest.raises(FileNotFoundError, match=r"lab weights tiny"):
        load_shipped(tiny(), "tiny")


def test_a_network_is_found_by_its_settings_and_others_are_told_what_there_is():
    for own in ({}, {"depth": 20}, {"depth": 20, "width": 16}):
        assert bundled_weights.shipped_name("resnet", own, "cifar10") == "resnet20"
    for settings in (("resnet", {"depth": 32}, "cifar10"), ("resnet", {"depth": 20}, "svhn")):
        with pytest.raises(
            ValueError, match=r"network='resnet', network_kwargs=\{\}, dataset='cifar10'"
        ):
            bundled_weights.shipped_name(*settings)


def test_a_fingerprint_tells_what_the_recipe_says_and_a_default_said_aloud_is_the_default():
    assert recipe_digest(RECIPE) == recipe_digest(dataclasses.replace(RECIPE, seed=0))
    assert recipe_digest(RECIPE) != recipe_digest(dataclasses.replace(RECIPE, seed=1))
    for name in ("network", "dataset"):
        assert recipe_digest(RECIPE) != recipe_digest(
            dataclasses.replace(RECIPE, **{name: "other"})
        )


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_for_what_their_recipe_says(name):
    recipe, shipped = RECIPES[name], SHIPPED[name]
    assert shipped.recipe == recipe_digest(recipe)
    purposes = [
        bundled_weights.purpose_of(one.network, one.network_kwargs, one.dataset, one.transforms)
        for one in (recipe, shipped)
    ]
    assert purposes[0] == purposes[1]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_small_and_err_as_often_as_their_file_says(name):
    assert (bundled_weights.PACKAGED / f"{name}.safetensors").stat().st_size < 2_000_000
    recipe, network = RECIPES[name], untrained(name)
    load_shipped(network, name)
    said = told_by(bundled_weights.PACKAGED / f"{name}.safetensors")
    assert name != "resnet20" or 1 - said.test_error >= 0.89
    network.eval().requires_grad_(False)
    few = weights.error_of(network, recipe, "test", num_images=NUM_IMAGES)
    # Of a part of the images the error is within four standard errors of all images'.
    spread = (said.test_error * (1 - said.test_error) / NUM_IMAGES) ** 0.5
    assert abs(few - said.test_error) <= 4 * spread
    half = weights.error_of(network, recipe, "test", density=0.5, num_images=NUM_IMAGES)
    spread = (said.half_error * (1 - said.half_error) / NUM_IMAGES) ** 0.5
    assert abs(half - said.half_error) <= 4 * spread


@pytest.mark.parametrize("name", weights.FROZEN)
def test_frozen_weights_that_come_with_the_package_are_those_that_would_be_learned(
    name, monkeypatch, tmp_path
):
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path))
    learned = []
    monkeypatch.setattr(bundled_weights, "store_in_cache", lambda *_: learned.append(name))
    Simulator(2, **weights.FROZEN[name])
    assert not learned, f"code or data changed: run python -m ccenv.runs.lab weights {name}"
