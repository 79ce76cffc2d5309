"""Images of half size: averages over 2 x 2 pixels, and their rows beside rows on whole images."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.data import Split, check_split
from runs.page.against_dense import make_contests, total_macs
from runs.page.dense_figures import (
    conditional_groups,
    dense_figures,
    dense_lines,
    has_both_sizes,
)
from runs.rows import dataset_of, dropout_curves
from runs.sweeps import SWEEPS, halved, shifted
from runs.sweeps.cells import dense
from runs.timing.passes import by_size

LABELS = torch.arange(8) % 2


@given(
    st.integers(1, 9),
    st.sampled_from([1, 3]),
    st.integers(2, 7),
    st.integers(2, 7),
    st.booleans(),
    st.integers(0, 99),
)
def test_a_pixel_is_the_mean_of_four(count, channels, height, width, bytes_, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, channels, height, width), generator=generator)
    images = images.to(torch.uint8) if bytes_ else images / 255
    found = halved.halves(images)
    assert found.dtype == images.dtype
    assert found.shape == (count, channels, height // 2, width // 2)
    for i in range(height // 2):
        for j in range(width // 2):
            four = images[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].double().mean((2, 3))
            own = found[:, :, i, j].double()
            # Bytes are rounded to the nearest.
            assert (own - four).abs().max() <= (0.5 if bytes_ else 1e-6)


def test_more_images_than_are_halved_at_a_time_are_all_there(monkeypatch):
    images = torch.rand(10, 1, 4, 4)
    whole = halved.halves(images)
    monkeypatch.setattr(halved, "CHUNK", 3)
    assert torch.equal(halved.halves(images), whole)


def images_of(split: str) -> torch.Tensor:
    """Bytes of three channels of different mean and spread, the same at every call."""
    generator = torch.Generator().manual_seed({"train": 1, "test": 2}[split])
    scale, offset = torch.tensor([9.0, 60.0, 20.0]), torch.tensor([10.0, 90.0, 200.0])
    random = torch.rand(8, 3, 4, 6, generator=generator) * scale.view(3, 1, 1)
    return (random + offset.view(3, 1, 1)).to(torch.uint8)


def test_halves_are_standardised_by_the_halved_training_images(monkeypatch):
    for module in (halved, shifted):
        monkeypatch.setattr(module, "load_split", lambda _, name: Split(images_of(name), LABELS, 2))
    train = check_split(halved.mixed("train"), "train")
    test = check_split(halved.mixed("test"), "test")
    assert (len(train), len(test)) == (64, 8)
    assert torch.equal(train.images[:8], halved.halves(images_of("train")))
    part = halved.halves(images_of("train")) / 255
    mean, sd = part.mean((0, 2, 3), keepdim=True), part.std((0, 2, 3), keepdim=True)
    expected = (halved.halves(images_of("test")) / 255 - mean) / sd
    torch.testing.assert_close(test.batch(torch.arange(8))[0], expected)
    plain = halved.mnist("test")
    assert plain.mean is None
    assert plain.images.shape == (8, 3, 2, 3)


def result(agent, dataset, macs, error, blocks=(4,)):
    """What a run leaves, as far as a comparison reads it."""
    environment = {"dataset": dataset, "num_blocks": blocks, "block_size": 8, "network": "mlp"}
    environment |= {"head_units": (), "activation": "relu"}
    shares = {"num_images": 9, "error": error, "macs": macs, "compute_cost": macs / 1e3}
    evaluations = [
        {"split": split, "mode": mode, **shares}
        for split in ("test", "validation")
        for mode in ("sampled", "mode")
    ]
    settings = {"environment": environment, "agent_settings": {}}
    own = {"agent": agent, "seed": 0, "evaluations": evaluations, "latency": []}
    return own | {"settings": settings, "uses_labels": False}


HALVES = "runs.sweeps.halved:mnist"


def test_rows_on_halves_stand_in_one_contest_with_rows_on_whole_images():
    results = {
        "dense": [result("dense", "mnist", 200, 0.1)],
        "dense, half size": [result("dense", HALVES, 50, 0.12)],
        "rloo, half size": [result("rloo", HALVES, 100, 0.05)],
    }
    (contest,) = make_contests(results)
    assert contest.dataset == "mnist"
    assert [point.label for point in contest.dense] == ["dense, half size", "dense"]
    assert contest.of_dense(100) == {0: pytest.approx(0.11)}


def test_random_blocks_on_whole_images_are_no_floor_for_rows_on_halves():
    whole, half = (result("block_dropout", name, 100, 0.5) for name in ("mnist", HALVES))
    results = {"whole": [whole], "half": [half]}
    assert dropout_curves(results, "sampled", half) == {0: [(0.1, 0.5)]}
    assert dropout_curves({"whole": [whole]}, "sampled", half) == {}


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn", "mixed"])
def test_rows_on_halves_are_judged_on_the_images_of_their_sweep(name):
    sweep = SWEEPS[f"equal-cost-{name}"]
    plans = {"environment": {"dataset": sweep.settings.get("dataset", name)}}
    rows = [cell for cell in sweep.cells if cell.label.endswith(", half size")]
    assert {cell.agent for cell in rows} == {"dense", "rloo"}
    for cell in rows:
        own = {"environment": {"dataset": cell.settings["dataset"]}}
        assert dataset_of({"settings": own}) == dataset_of({"settings": plans})


def test_halves_are_timed_apart_from_whole_images_of_the_same_layers(monkeypatch):
    whole = SWEEPS["smoke"]
    (cell,) = dense(8)
    cells = tuple(
        type(cell)(label, "dense", {**cell.settings, "dataset": name})
        for label, name in (("whole", "digits"), ("other", "synthetic"))
    )
    sweep = type(whole)("s", "Two data sets.", cells, 1.0)
    assert [one.labels for one in by_size(sweep)] == [["whole"], ["other"]]


def test_figures_tell_whole_images_from_halves_only_where_both_are():
    results = {
        "dense 8": [result("dense", "mnist", 200, 0.1)],
        "dense 16": [result("dense", "mnist", 300, 0.08)],
        "rloo": [result("rloo", "mnist", 150, 0.07)],
    }
    (whole,) = make_contests(results)
    assert list(dense_lines(whole, total_macs)) == ["dense"]
    assert list(conditional_groups(whole.conditional, has_both_sizes(whole))) == ["rloo"]
    results["dense, half size"] = [result("dense", HALVES, 50, 0.09)]
    results["rloo, half size"] = [result("rloo", HALVES, 100, 0.05)]
    (both,) = make_contests(results)
    lines = {
        name: [p.label for p in line[0]] for name, line in dense_lines(both, total_macs).items()
    }
    assert lines == {
        "dense": ["dense, half size", "dense 16"],
        "dense, whole images": ["dense 8", "dense 16"],
    }
    groups = conditional_groups(both.conditional, has_both_sizes(both))
    assert {name: [p.label for p in own] for name, own in groups.items()} == {
        "rloo": ["rloo, half size"],
        "rloo, whole images": ["rloo"],
    }
    (drawn, *_) = dense_figures([both], "sampled")
    for label in results:
        assert label in drawn.alt
