"""Laws of image transforms: the settings name them, a row is one picture whoever draws it."""

import hashlib

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given, settings

from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.data import Split, load_split, preprocessing, transform_names
from ccenv.data.split import transformed
from ccenv.data.transforms import fit_transforms, fixed
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.learning.training import Pretraining, fingerprint
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.values import parse_pairs
from ccenv.simulator.simulator import Simulator

EVERY = ("copies=3", "shift=2", "mirror", "halve", "standardise")
SPLITS = ("train", "validation", "test")
FIRST = torch.arange(20)


def stored_bytes(split):
    """Three channels of different mean and spread, other images in every split."""
    generator = torch.Generator().manual_seed(SPLITS.index(split))
    scale, offset = torch.tensor([9.0, 60.0, 20.0]), torch.tensor([10.0, 90.0, 200.0])
    random = torch.rand(20, 3, 6, 8, generator=generator) * scale.view(3, 1, 1)
    return Split((random + offset.view(3, 1, 1)).to(torch.uint8), torch.arange(20) % 4, 4)


def stored_floats(split):
    part = stored_bytes(split)
    return Split(part.images / 255, part.labels, 4)


RECORDED = {
    ("copies=7", "shift=2"): "513914afd896d868f60c8333",
    ("copies=7", "shift=2", "mirror"): "0b6ba4fcedce44cf338779f4",
    ("copies=7", "shift=2", "mirror", "halve"): "3bf72f81bfc90d6220081247",
}
"""Transforms -> the digest of what results were recorded on: images as bytes, and labels."""


@pytest.mark.parametrize("names", RECORDED, ids="-".join)
def test_moved_copies_are_bit_for_bit_those_of_the_results_recorded_first(names):
    split = load_split(stored_bytes, "train", names)
    images, labels = split.batch(torch.arange(len(split)))
    parts = (images * 255).round().to(torch.uint8), labels
    found = hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts))
    assert found.hexdigest()[:24] == RECORDED[names]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("dataset", [stored_bytes, stored_floats])
@pytest.mark.parametrize("before", [(), ("halve",)])
def test_every_split_is_standardised_by_the_channels_of_training_images(before, dataset, split):
    train, plain = (load_split(dataset, name, before).batch(FIRST)[0] for name in ("train", split))
    channels = train.double().transpose(0, 1).flatten(1)
    mean, spread = (part.float().view(-1, 1, 1) for part in (channels.mean(1), channels.std(1)))
    found, _ = load_split(dataset, split, (*before, "standardise")).batch(FIRST)
    torch.testing.assert_close(found, (plain - mean) / spread, rtol=1e-5, atol=1e-5)


@given(st.permutations(["shift=2", "mirror", "halve", "standardise"]), st.data())
@settings(max_examples=15)
def test_a_row_is_the_same_picture_whoever_stands_beside_it_and_in_any_order_of_names(names, data):
    split = load_split(stored_bytes, "train", ["copies=3", *names])
    whole, labels = split.batch(torch.arange(len(split)))
    assert len(split) == 80
    assert torch.equal(labels, split.labels)
    rows = torch.tensor(data.draw(st.lists(st.integers(0, 79), min_size=1, max_size=9)))
    assert torch.equal(split.batch(rows)[0], whole[rows])
    # A copy looks like its image, not like others.
    assert torch.equal(labels, load_split(stored_bytes, "train").labels.repeat(4))
    assert split.image_shape == tuple(whole.shape[1:])


@pytest.mark.parametrize("names", [EVERY, EVERY[:3], ("mirror", "halve")])
def test_only_copies_of_training_images_are_moved(names):
    train = load_split(stored_bytes, "train", names)
    still = [name for name in names if name in ("halve", "standardise")]
    plain = load_split(stored_bytes, "train", still)
    first = torch.arange(20)
    assert torch.equal(train.batch(first)[0], plain.batch(first)[0])
    moved = train.batch(first + 20)[0]
    assert not torch.equal(moved, plain.batch(first)[0])
    for split in ("validation", "test"):
        found, same = load_split(stored_bytes, split, names), load_split(stored_bytes, split, still)
        assert len(found) == 20
        assert torch.equal(found.batch(first)[0], same.batch(first)[0])


def test_draws_reach_every_shift_and_both_mirrors_and_nothing_else():
    images, names = torch.zeros(2, 1, 4, 6), ("copies=2000", "shift=2", "mirror")
    shift, mirror = (one.tensors[0] for one in fit_transforms(names, lambda: images, "x"))
    assert len(shift) == len(mirror) == len(images) * 2001
    assert shift.dtype == torch.int16
    found = {tuple(pair) for pair in shift[2:].tolist()}
    assert found == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}
    assert 0.4 < mirror[2:].float().mean() < 0.6


def test_a_channel_of_one_value_is_divided_by_next_to_nothing():
    black = Split(torch.zeros(4, 1, 2, 2), torch.arange(4) % 2, 2)
    images, _ = load_split(lambda name: black, "test", "standardise").batch(torch.arange(4))
    assert torch.equal(images, torch.zeros(4, 1, 2, 2))


def test_nothing_large_is_stored_copied_and_halves_are_made_once_where_nothing_moves(monkeypatch):
    base = load_split(stored_bytes, "train")
    with monkeypatch.context() as patch:
        patch.setattr("ccenv.data.split.KEPT_BYTES", 0)
        assert transformed(base, fitted_to(EVERY[1:])).images is base.images
    assert load_split(stored_bytes, "train", "standardise").images is base.images
    halves = load_split(stored_bytes, "train", "halve,halve,standardise")
    assert halves.images.shape == (20, 3, 1, 2)
    assert [one.name for one in halves.transforms] == ["standardise"]
    assert load_split(stored_bytes, "train") is base


def test_a_split_keeps_its_transforms_on_its_way_to_a_device():
    split = load_split(stored_bytes, "train", EVERY)
    there = split.to("cpu")
    assert all(torch.equal(a, b) for a, b in zip(split.tensors(), there.tensors(), strict=True))
    assert split.to("meta").transforms[0].tensors[0].device.type == "meta"


@given(st.sampled_from([EVERY[:n] for n in range(3, 7)]), st.sampled_from(EVERY[1:]))
@settings(max_examples=12)
def test_what_a_batch_depends_on_is_other_where_a_transform_is(names, other):
    assume(other != names[-1])
    changed = (*names[:-1], other)
    one, two = (load_split(stored_bytes, "train", spelled) for spelled in (names, changed))
    network = GatedMLP(24, (2,), 3, 4)
    digests = {fingerprint(network, split, Pretraining()) for split in (one, two)}
    assert len(digests) == 2
    assert fingerprint(network, one, Pretraining()) in digests


def test_without_transforms_a_batch_depends_on_images_and_labels_alone():
    base = load_split("digits", "train")
    assert list(base.tensors()) == [base.images, base.labels]
    assert load_split("digits", "train", ()) is base
    assert load_split("digits", "train", "") is base


def darkened(images, share=0.5):
    """An own transform."""
    return images * share if images.is_floating_point() else (images * share).to(torch.uint8)


def flat(images):
    return images.flatten(1)


class Blinking:
    """An own transform of chance."""

    still = 1

    def draw(self, count, size, generator):
        return torch.randint(2, (count,), generator=generator)

    def __call__(self, images, drawn):
        return images * drawn.to(images.dtype)[:, None, None, None]


def test_own_transforms_are_functions_with_a_number_or_none_and_classes_of_chance():
    rows, base = torch.arange(160), load_split(stored_floats, "train")
    for name, share in (("darkened", 0.5), ("darkened=0.25", 0.25)):
        found = load_split(stored_floats, "train", f"test_transforms:{name}")
        assert torch.equal(found.batch(rows[:20])[0], base.images * share)
    blinking = load_split(stored_floats, "train", "test_transforms:Blinking").batch(rows)[0]
    is_black = blinking.flatten(1).amax(1) == 0
    assert not is_black[:20].any()
    assert 0.3 < is_black[20:].float().mean() < 0.7
    with pytest.raises(ValueError, match=r"'stored_floats': expected transforms .*:flat"):
        load_split(stored_floats, "train", "test_transforms:flat")


REFUSED = {
    "halv": "unknown transform 'halv': did you mean 'halve'",
    "shift=0": "whole number of at least 1, got 0",
    "shift=1.5": "whole number of at least 1, got 1.5",
    "shift=x": "name or name=number, got 'shift=x'",
    "shift=": "name or name=number, got 'shift='",
    "shift=nan": "name or name=number",
    "mirror=2": "transform 'mirror=2': too many",
    "copies=3": "'copies' once, with transforms that move them",
    "copies=3,copies=4,shift": "'copies' once",
    "halve,,mirror": "unknown transform ''",
    "nowhere:x": "no module named 'nowhere'",
    "test_transforms:darkened=1=2": "name or name=number",
    ("halve", 3): "transforms by name, got 3",
    5: "a list of names, got 5",
}


@pytest.mark.parametrize("given_", REFUSED, ids=str)
def test_a_wrong_name_or_number_is_refused_and_says_what_is_right(given_):
    with pytest.raises(ValueError, match=REFUSED[given_]):
        transform_names(given_)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("shift=6", "shift of fewer pixels than the images' sides .6, 8., got 6"),
        ("halve,shift=3", "shift of fewer pixels than the images' sides .3, 4., got 3"),
        ("halve,halve,halve", "at least 2 x 2 pixels to halve, got .1, 2."),
    ],
)
def test_images_too_small_for_a_transform_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        load_split(stored_bytes, "train", names)


def test_a_data_set_that_brings_transforms_of_its_own_is_refused():
    split = load_split(stored_bytes, "train", "standardise")
    with pytest.raises(ValueError, match="name those in the setting transforms"):
        load_split(lambda name: split, "train")


SPELLINGS = {
    "transforms=halve": ("halve",),
    "transforms=shift=2,halve": ("shift=2", "halve"),
    "transforms=['shift=2','mirror','halve']": ("shift=2", "mirror", "halve"),
    "transforms=": (),
    "transforms=()": (),
}


@pytest.mark.parametrize("text", SPELLINGS)
def test_the_command_line_spells_transforms_in_every_way_and_a_run_knows_one(text):
    plan = make_plan("dense", parse_pairs([text]))
    assert plan.environment["transforms"] == SPELLINGS[text]


def test_frozen_weights_learn_from_what_the_environment_shows(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "ccenv.simulator.simulator.frozen_weights", lambda _, split, **__: shown.append(split)
    )
    Simulator(
        4,
        **{**PROBE_SETTINGS, "transforms": ["standardise"], "weights": "frozen", "network": "mlp"},
    )
    assert [one.name for one in shown[0].transforms] == ["standardise"]


def test_what_images_go_through_unmoved_is_the_same_for_every_split():
    names = EVERY
    (halve, standardise) = preprocessing(stored_bytes, names)
    assert (halve.name, standardise.name) == ("halve", "standardise")
    train = load_split(stored_bytes, "train", names)
    ours = fixed(train.transforms)[-1].tensors
    assert all(map(torch.equal, ours, standardise.tensors))


@given(st.permutations(["shift=2", "mirror", "halve", "standardise"]))
@settings(max_examples=15)
def test_copies_made_once_are_those_that_are_made_when_drawn(names):
    whole = torch.arange(80)
    kept = transformed(load_split(stored_bytes, "train"), fitted_to(names))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ccenv.data.split.KEPT_BYTES", 0)
        drawn = transformed(load_split(stored_bytes, "train"), fitted_to(names))
    assert len(drawn.images) == 20
    as_bytes = set(names[: names.index("standardise")])
    assert len(kept.images) == (80 if as_bytes - {"halve"} else 20)
    for one, other in zip(kept.batch(whole), drawn.batch(whole), strict=True):
        assert torch.equal(one, other)


def fitted_to(names):
    return fit_transforms(
        ["copies=3", *names], lambda: load_split(stored_bytes, "train").images, "x"
    )
