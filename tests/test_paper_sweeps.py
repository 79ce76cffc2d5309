"""The sweeps of the paper and of equal cost: what they hold, and that a miniature of each runs."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.data import Split, check_split
from ccenv.networks import GatedMLP
from ccenv.weights import CoTrainer
from runs import compare
from runs.jobs import make_jobs
from runs.rows import dataset_of
from runs.settings import make_plan
from runs.sweeps import (
    SWEEPS,
    Cell,
    Sweep,
    cells,
    dense,
    equal_cost,
    moved,
    shifted,
    unit_dropout,
)

PREFIXES = ("paper-", "equal-cost-", "low-density-", "rloo-why")
OWN = [name for name in SWEEPS if name.startswith(PREFIXES)]
EQUAL_COST = [name for name in OWN if name.startswith("equal-cost-")]
FRONTS = [name for name in EQUAL_COST if not name.endswith(("-longer", "-shifted"))]
LABELS = torch.arange(8) % 2
CHOSEN = {"learning_rate", "weight_decay", "teacher_units", "distill_weight", "teacher_temperature"}
"""What validation chooses; a warm start is one of conditional networks."""


def test_every_table_and_figure_has_its_sweep():
    paper = {"mnist", "mnist-density", "cifar10", "svhn", "lambda-s", "lambda-v", "front"}
    equal_cost = {"mnist", "cifar10", "svhn", "mixed", "mnist-longer", "mnist-shifted"}
    expected = {f"paper-{name}" for name in paper} | {f"equal-cost-{name}" for name in equal_cost}
    assert set(OWN) == expected | {"low-density-mnist", "rloo-why"}


@pytest.mark.parametrize("name", OWN)
def test_a_miniature_of_every_sweep_runs(name, tmp_path, capsys):
    folders = [f"--{kind}-dir={tmp_path / kind}" for kind in ("log", "report", "results")]
    options = compare.make_parser().parse_args([name, "--jobs", "1", *folders])
    options.sweep = SWEEPS[name].miniature()
    assert compare.compare(options) == 0
    shown = capsys.readouterr().out
    for cell in options.sweep.cells:
        assert cell.label in shown


@pytest.mark.parametrize("name", OWN)
def test_a_miniature_has_a_row_of_every_kind_and_one_seed(name):
    sweep = SWEEPS[name]
    small = sweep.miniature()
    assert {(c.agent, c.label) for c in small.cells} <= {(c.agent, c.label) for c in sweep.cells}
    settings = [{**c.settings, **cells.MINIATURE, **sweep.mini} for c in sweep.cells]
    kinds = {
        cells.kind(Cell(cell.label, cell.agent, own))
        for cell, own in zip(sweep.cells, settings, strict=True)
    }
    assert [cells.kind(cell) for cell in small.cells] == list(
        dict.fromkeys(cells.kind(cell) for cell in small.cells)
    )
    assert {cells.kind(cell) for cell in small.cells} == kinds
    for job in make_jobs(small, "unused"):
        assert job.plan.program.images <= 512
        assert job.plan.environment["dataset"] == "synthetic"
    assert len(small.seeds) == 1


def test_what_a_miniature_has_for_itself_makes_no_other_kind():
    rows = tuple(Cell(name, "dense", {"dataset": name}) for name in ("mnist", "svhn"))
    assert len(Sweep("s", "d", rows, 1.0).miniature().cells) == 1


def test_a_miniature_says_what_fits_a_sweep_better():
    sweep = Sweep("s", "d", (Cell("a", "dense", {"images": 9}),), 1.0, mini={"images": 7})
    assert sweep.miniature().cells[0].settings["images"] == 7
    assert sweep.miniature().name == "s-miniature"


@pytest.mark.parametrize("name", OWN)
def test_sweeps_have_seeds_enough_for_intervals(name):
    large = ("cifar10", "paper-svhn", "lambda")
    expected = 1 if name == "paper-front" else 3 if any(word in name for word in large) else 5
    assert len(SWEEPS[name].seeds) == expected


def whole(plan):
    """The data set of a plan, of whole images where it has halves."""
    return dataset_of({"settings": {"environment": plan.environment}})


@pytest.mark.parametrize("name", EQUAL_COST)
def test_dense_and_conditional_networks_are_trained_alike(name):
    sweep = SWEEPS[name]
    plans = [make_plan(cell.agent, {**sweep.settings, **cell.settings}) for cell in sweep.cells]
    alike = [
        (p.program.images, p.program.batch_size, whole(p), p.environment["weights"]) for p in plans
    ]
    assert len(set(alike)) == 1
    first = plans[0].environment["weights_kwargs"]
    for plan in plans:
        own = plan.environment["weights_kwargs"]
        changed = {name for name in own if own[name] != first.get(name)}
        assert changed <= CHOSEN | {"warm_start"}
        assert "warm_start" not in changed or plan.agent != "dense"


@pytest.mark.parametrize("name", EQUAL_COST)
def test_what_is_tried_on_conditional_networks_is_tried_on_dense_ones(name):
    sweep = SWEEPS[name]
    tried = {True: set(), False: set()}
    for cell in sweep.cells:
        own = make_plan(cell.agent, {**sweep.settings, **cell.settings}).environment
        kwargs = {k: v for k, v in own["weights_kwargs"].items() if k in CHOSEN}
        way = (str(sorted(kwargs.items())), own["network"], own["dataset"])
        tried[cell.agent == "dense"].add(way)
    dropped = {way for way in tried[False] if "unit_dropout" in way[1]}
    starts = {way for way in tried[False] if "teacher_units" in way[0] and "distill" not in way[0]}
    assert tried[False] - dropped - starts <= tried[True]
    assert not dropped or any("unit_dropout" in way[1] for way in tried[True])


@pytest.mark.parametrize("name", FRONTS)
def test_fronts_have_all_widths_and_every_way_to_learn_masks(name):
    sweep = SWEEPS[name]
    plans = [make_plan(cell.agent, {**sweep.settings, **cell.settings}) for cell in sweep.cells]
    widths = {p.environment["block_size"] for p in plans if p.agent == "dense"}
    assert {8, 640} <= widths
    assert {"rloo", "topk", "straight_through", "block_dropout"} <= {p.agent for p in plans}


@pytest.mark.parametrize("name", FRONTS)
def test_rows_that_came_later_stand_behind_the_first_ones_which_stay_as_they_were(name):
    first = getattr(equal_cost, name.upper().replace("-", "_"))
    whole = SWEEPS[name]
    assert whole.cells[: len(first.cells)] == first.cells
    assert (whole.name, whole.settings, whole.seeds) == (first.name, first.settings, first.seeds)
    added = {
        make_plan(cell.agent, {**whole.settings, **cell.settings}).key()
        for cell in whole.cells[len(first.cells) :]
    }
    assert len(added) == len(whole.cells) - len(first.cells)


def test_the_table_of_cifar10_has_the_papers_eight_rows():
    labels = [cell.label for cell in SWEEPS["paper-cifar10"].cells]
    for row in (
        *("condnet 24,24 x 64", "condnet 16,32 x 16", "condnet 10,10 x 64", "bdNN 0.17"),
        *("bdNN 0.2", "NN 64, 64", "NN 128, 128", "NN 480, 480"),
    ):
        assert row in labels


def test_the_table_of_svhn_has_the_papers_six_rows():
    labels = [cell.label for cell in SWEEPS["paper-svhn"].cells]
    for row in (
        *("condnet 13,8 x 16", "condnet 27,7 x 16", "condnet 25,22 x 32"),
        *("NN 288, 928", "NN 800, 736", "NN 1280, 1056"),
    ):
        assert row in labels


def test_a_dense_cell_costs_what_its_widths_do():
    (cell,) = dense(48, num_layers=2)
    assert cell.label == "dense 48, 48"
    assert cell.settings["num_blocks"] == (1, 1)
    assert cell.settings["block_size"] == 48


def test_rows_of_the_ablation_change_one_thing_each():
    base, *others = SWEEPS["rloo-why"].cells
    sizes = {"num_blocks", "block_size", "num_kept"}
    for cell in others:
        changed = {k for k, v in cell.settings.items() if base.settings.get(k) != v}
        assert changed <= sizes or len(changed) == 1, cell.label
        units = cell.settings["num_kept"] * cell.settings["block_size"]
        assert units == 16 or re.fullmatch(r"\d kept", cell.label)


def batches(network, seed):
    torch.manual_seed(seed)
    images, labels = torch.rand(64, 6), torch.arange(64) % 3
    masks = [torch.ones(64, 1, dtype=torch.bool)]
    return CoTrainer(network), images, labels, masks


def test_dropout_is_on_while_the_network_learns_and_off_when_it_is_used():
    network = unit_dropout.half(in_features=6, num_blocks=(1,), block_size=400, num_classes=3)
    plain = GatedMLP(6, (1,), 400, 3)
    plain.load_state_dict(network.state_dict())
    trainer, images, labels, masks = batches(network, 0)
    network.eval()
    assert torch.equal(network(images, masks), plain(images, masks))
    network.train()
    hidden = network.gated_layer(0, images, None, None, "reference").detach()
    assert (hidden == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    # What is left counts double, so that units mean the same on average.
    kept = plain.gated_layer(0, images, None, None, "reference").detach()
    torch.testing.assert_close(hidden, torch.where(hidden == 0, 0.0, 2 * kept))
    trainer.update(images, labels, masks)
    assert not network.training


def test_dropout_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"dropout in \[0, 1\)"):
        unit_dropout.DropoutMLP(6, (1,), 4, 3, dropout=1.0)


@given(seed=st.integers(0, 30))
def test_a_moved_image_is_its_window_in_a_black_border(seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(1, 256, (6, 3, 5, 4), generator=generator, dtype=torch.uint8)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    for mirror in (False, True):
        found = shifted.moved(images, generator, mirror)
        for image, border in zip(found, padded, strict=True):
            windows = [border[:, i : i + 5, j : j + 4] for i in range(5) for j in range(5)]
            windows += [window.flip(2) for window in windows] if mirror else []
            assert any(torch.equal(image, window) for window in windows)


def test_copies_stand_behind_the_training_images_and_nowhere_else(monkeypatch):
    def load(dataset, split):
        return Split(torch.rand(8, 1, 4, 4), torch.arange(8) % 2, 2)

    monkeypatch.setattr(shifted, "load_split", load)
    train = shifted.with_copies("cifar10", "train", mirror=True)
    test = shifted.with_copies("svhn", "test", mirror=False)
    assert (len(train), len(test)) == (64, 8)
    assert torch.equal(train.labels, (torch.arange(8) % 2).repeat(8))
    for copy in train.images.view(8, 8, 1, 4, 4)[1:]:
        assert not torch.equal(copy, train.images[:8])


def test_moved_copies_are_the_same_in_every_process_and_mirrored_where_that_means_the_same(
    monkeypatch,
):
    monkeypatch.setattr(moved, "load_split", lambda *_: Split(torch.rand(8, 1, 9, 9), LABELS, 2))
    first, again, svhn = moved.cifar10("train"), moved.cifar10("train"), moved.svhn("train")
    assert torch.equal(first.moves.shift, again.moves.shift)
    assert first.moves.shift.abs().max() == moved.MAX_SHIFT
    assert 0.4 < first.moves.mirrored[8:].float().mean() < 0.6
    assert not svhn.moves.mirrored.any()
    assert moved.cifar10("validation").moves is None
    assert torch.equal(first.labels, LABELS.repeat(40))


@pytest.mark.parametrize("bytes_", [True, False])
@pytest.mark.parametrize(("module", "copies"), [(shifted, 8), (moved, 40)], ids=["few", "many"])
def test_channels_are_standardised_by_the_training_images_in_every_split(
    monkeypatch, module, copies, bytes_
):
    generator = torch.Generator().manual_seed(0)
    scale, offset = torch.tensor([9.0, 60.0, 20.0]), torch.tensor([10.0, 90.0, 200.0])
    images = {
        name: (torch.rand(8, 3, 4, 4, generator=generator) * scale.view(3, 1, 1)).round()
        + offset.view(3, 1, 1)
        for name in ("train", "test")
    }

    def load(dataset, split):
        found = images[split]
        found = found.to(torch.uint8) if bytes_ else found / 255
        return Split(found, torch.arange(8) % 2, 2)

    monkeypatch.setattr(module, "load_split", load)
    whole = images["train"] / 255
    for name, number in (("train", copies), ("test", 1)):
        found = check_split(module.mixed(name), name)
        assert len(found) == 8 * number
        assert found.images.dtype == load("", "test").images.dtype
        expected = (images[name] / 255 - whole.mean((0, 2, 3), keepdim=True)) / whole.std(
            (0, 2, 3), keepdim=True
        )
        torch.testing.assert_close(found.batch(torch.arange(8))[0], expected)
    torch.testing.assert_close(
        load("", "train").images.float(), images["train"] / (1 if bytes_ else 255)
    )
