"""Laws of tables: entries are the environment's steps, builds resume, what is wrong is refused."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import ccenv
from ccenv.annexes import mask_table
from ccenv.base.files import DamagedFileError, arrays_digest
from ccenv.base.seeding import stream
from ccenv.data import Split
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.vision.residual import ResidualUnit, resnet
from ccenv.rewards import correct, log_likelihood
from tests.ccenv.episodes import seeded

NUM_IMAGES, BATCH = 40, 8


def images_of(split, size=8):
    """Random small images and labels."""
    generator = stream(len(split), "images")
    images = torch.rand(NUM_IMAGES, 1, size, size, generator=generator)
    return Split(images, torch.randint(0, 10, (NUM_IMAGES,), generator=generator), 10)


def residual():
    return resnet((1, 8, 8), 10, depth=8, width=4)


def layers():
    return ccenv.GatedMLP(64, num_blocks=(3, 2), block_size=4)


def with_exit():
    """A unit, an exit, a unit."""
    units = [ResidualUnit(nn.Sequential(nn.Linear(64, 64), nn.Tanh())) for _ in range(2)]
    parts = {"first": units[0], "exit": Exit(nn.Linear(64, 10)), "second": units[1]}
    return ccenv.GatedSequential(nn.Flatten(), parts, nn.Linear(64, 10), torch.zeros(1, 1, 8, 8))


NETWORKS = {"residual": residual, "layers": layers, "with_exit": with_exit}


@pytest.fixture(scope="module", params=NETWORKS)
def made(request, tmp_path_factory):
    """The environment with a network of random weights, its table, and the table's file."""
    return made_of(NETWORKS[request.param], tmp_path_factory)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The same of two layers."""
    return made_of(layers, tmp_path_factory)


def made_of(make, factory):
    simulator, folder = simulator_of(make), factory.mktemp("tables")
    said = {"dataset": "mine", "split": "test", "settings": {"depth": 8}}
    return simulator, built(simulator, folder, said=said), folder / "t.safetensors"


def simulator_of(make):
    torch.manual_seed(0)
    found = seeded(BATCH, dataset=images_of, split="test", network=make().eval())
    return found


def built(simulator, folder, **settings):
    settings = {"batch_size": BATCH} | settings
    return mask_table.build(simulator.network, simulator.data, folder / "t.safetensors", **settings)


def walked(simulator, images, masks):
    """The last step's outcome in the environment."""
    simulator.begin(torch.as_tensor(images))
    for mask in torch.from_numpy(masks).split(list(simulator.num_blocks), dim=1):
        outcome = simulator.step(mask).outcome
    return outcome


def scores(outcome):
    right = correct(outcome).bool().numpy()
    return right, (-log_likelihood(outcome)).half().numpy(), outcome.macs.numpy()


def entries(table, images, numbers):
    """Right, nll and MACs of some masks."""
    return table.is_right()[images, numbers], table.nll[images, numbers], table.macs[numbers]


def test_entries_are_the_environments_steps_bit_for_bit(made):
    (simulator, found, _), generator = made, np.random.default_rng(0)
    masks = mask_table.all_masks(found.header.menus)
    for number in generator.permutation(len(masks)):
        first = BATCH * int(generator.integers(NUM_IMAGES // BATCH))
        images = np.arange(first, first + BATCH)
        outcome = walked(simulator, images, np.repeat(masks[number, None], BATCH, axis=0))
        entry = entries(found, images, np.full(BATCH, number))
        for one, other in zip(scores(outcome), entry, strict=True):
            assert np.array_equal(one, other)


def test_labels_may_be_stored_as_bytes_as_those_of_texts_are(tmp_path):
    split, network = images_of("test"), layers().eval().requires_grad_(False)
    stored = Split(split.images, split.labels.to(torch.uint8), split.num_classes)
    one, other = (
        mask_table.build(network, s, tmp_path / str(n), limit=4)
        for n, s in enumerate((split, stored))
    )
    assert np.array_equal(one.right, other.right)
    assert np.array_equal(one.bills, other.bills)


def test_among_other_images_and_masks_entries_differ_by_rounding_alone(made):
    (simulator, found, _), generator = made, np.random.default_rng(1)
    masks = mask_table.all_masks(found.header.menus)
    for _ in range(8):
        images, numbers = (generator.integers(n, size=BATCH) for n in (NUM_IMAGES, len(masks)))
        outcome = walked(simulator, images, masks[numbers])
        right, nll, macs = scores(outcome)
        entry = entries(found, images, numbers)
        two = outcome.logits.topk(2).values
        is_sure = (two[:, 0] - two[:, 1] > 1e-5).numpy()
        assert is_sure.any()
        assert np.array_equal(right[is_sure], entry[0][is_sure])
        np.testing.assert_allclose(nll, entry[1], rtol=2**-10)
        assert np.array_equal(macs, entry[2])


def test_a_file_holds_the_table_and_what_is_seen_at_the_first_gate(made):
    simulator, found, path = made
    simulator.begin(torch.arange(BATCH))
    seen = simulator.network.look(0, simulator.state.hidden).numpy()
    assert np.array_equal(found.look[:BATCH], seen)
    read = mask_table.read_table(path)
    assert read.header == found.header
    for name in ("right", "nll", "macs", "look", "bills"):
        assert np.array_equal(getattr(read, name), getattr(found, name))
    assert [one.name for one in path.parent.iterdir()] == ["t.safetensors"]


def test_building_changes_nothing_and_comes_to_the_same(made, tmp_path):
    simulator, found, _ = made

    def state():
        logits = walked(simulator, np.arange(BATCH), np.ones((BATCH, sum(blocks)), dtype=bool))
        return arrays_digest(simulator.network.state_dict(), {}), logits.logits

    blocks = simulator.num_blocks
    before = state()
    again = built(simulator, tmp_path)
    after = state()
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    assert np.array_equal(found.nll, again.nll)
    assert np.array_equal(found.right, again.right)


def test_what_stands_behind_an_exit_that_is_taken_is_ignored_and_free(tmp_path):
    found = built(simulator_of(with_exit), tmp_path)
    masks = mask_table.all_masks(found.header.menus)
    stops = np.flatnonzero(~masks[:, 1])
    for first in stops[::2]:
        assert np.array_equal(found.nll[:, first], found.nll[:, first + 1])
        assert found.macs[first] == found.macs[first + 1]
    assert found.header.executed().sum(axis=1).tolist() == [0, 0, 1, 2, 1, 1, 2, 3]
    linear = 64 * 64
    assert found.macs.tolist() == [
        *(640, 640, 1280, 1280 + linear),
        *(640 + linear, 640 + linear, 1280 + linear, 1280 + 2 * linear),
    ]


class Counted(nn.Module):
    """x -> x / 2, and how many rows it has seen."""

    def __init__(self):
        super().__init__()
        self.rows = 0

    def forward(self, x):
        self.rows += len(x)
        return x / 2

    def __deepcopy__(self, memo):
        # Packing works on copies, whose rows count too.
        return self


def test_every_block_is_computed_once_a_prefix(tmp_path):
    bodies = [Counted() for _ in range(4)]
    units = {str(place): ResidualUnit(body) for place, body in enumerate(bodies)}
    network = ccenv.GatedSequential(nn.Flatten(), units, nn.Linear(64, 10), torch.zeros(1, 1, 8, 8))
    network.eval().requires_grad_(False)
    for body in bodies:
        body.rows = 0
    mask_table.build(network, images_of("test"), tmp_path / "t.safetensors", batch_size=BATCH)
    # One input more walks the prefixes of all but the last two units for their bills.
    assert [body.rows for body in bodies] == [41, 82, NUM_IMAGES << 2, NUM_IMAGES << 3]


def test_a_stopped_build_goes_on_from_its_finished_chunks(tmp_path, monkeypatch):
    simulator = simulator_of(residual)
    whole = built(simulator, tmp_path)
    drawn = []
    batch = Split.batch
    monkeypatch.setattr(Split, "batch", lambda s, i: drawn.append(len(i)) or batch(s, i))

    def stop(done):
        if done == 2 * 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(simulator, tmp_path, progress=stop)
    (folder,) = tmp_path.glob("*.parts")
    chunk = sorted(folder.glob("*.safetensors"))[0]
    chunk.write_bytes(chunk.read_bytes()[:-1])
    drawn.clear()
    plans = []
    again = built(simulator, tmp_path, tell=plans.append)
    # The hash and the looks draw all of them, the bills one; of three chunks the second was
    # finished and whole.
    assert drawn == [NUM_IMAGES, 16, 8, *[BATCH] * 5, 1]
    assert (plans[0].num_left, plans[0].num_images, plans[0].num_masks) == (24, NUM_IMAGES, 8)
    assert np.array_equal(again.nll, whole.nll)
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.slow
def test_several_processes_build_the_same_table(made, tmp_path):
    simulator, one, _ = made
    several = built(simulator, tmp_path, processes=2)
    assert np.array_equal(one.nll, several.nll)
    assert np.array_equal(one.right, several.right)


def test_a_menu_has_the_whole_tables_entries(plain, tmp_path):
    simulator, whole, _ = plain
    menu = built(simulator, tmp_path, menus=[["000", "101", "011"], None])
    every = mask_table.all_masks(whole.header.menus).tolist()
    numbers = [every.index(mask) for mask in mask_table.all_masks(menu.header.menus).tolist()]
    assert np.array_equal(menu.nll, whole.nll[:, numbers])
    assert np.array_equal(menu.is_right(), whole.is_right()[:, numbers])
    assert np.array_equal(menu.macs, whole.macs[numbers])
    assert menu.outcomes().num_units is None


def test_masks_are_numbered_in_counting_order():
    masks = mask_table.all_masks(tuple(mask_table.Menu(count) for count in (3, 1, 2)))
    assert ((masks << np.arange(5, -1, -1)).sum(axis=1) == np.arange(1 << 6)).all()


def test_a_drawn_menu_has_nothing_everything_and_no_mask_twice():
    menu = mask_table.drawn_menu(6, 9, stream(0, "menu"))
    assert {"000000", "111111"} <= set(menu)
    assert len(menu) <= 9
    assert mask_table.drawn_menu(3, 8, stream(0, "menu")) is None


@pytest.mark.parametrize("masks", [["00"], ["000", "000"], [], ["0a0"]])
def test_masks_that_do_not_fit_a_gate_are_refused(masks):
    with pytest.raises(ValueError, match="different masks of 3"):
        mask_table.menus_of(layers().gates, [masks, None])


def test_networks_that_are_not_frozen_are_refused(tmp_path):
    data, path = images_of("test"), tmp_path / "t.safetensors"
    with pytest.raises(ValueError, match="training mode"):
        mask_table.build(residual().train(), data, path)
    with pytest.raises(ValueError, match="learns"):
        mask_table.build(residual().eval(), data, path)


def test_more_units_than_fit_are_refused_with_the_size_they_would_have(tmp_path):
    network = ccenv.GatedMLP(64, num_blocks=(20, 20), block_size=1).eval().requires_grad_(False)
    with pytest.raises(ValueError, match=r"1,099,511,627,776 masks \(40 .*102,254,58\d\.\d MB"):
        mask_table.build(network, images_of("test"), tmp_path / "t.safetensors")
    # Fewer bytes than many a disk has, but hours of work.
    network = ccenv.GatedMLP(64, num_blocks=(12, 12), block_size=1).eval().requires_grad_(False)
    with pytest.raises(ValueError, match=r"16,777,216 masks \(24 .* 1,560\.3 MB; limit the inputs"):
        mask_table.build(network, images_of("test"), tmp_path / "t.safetensors")
    with pytest.raises(ValueError, match="limit"):
        mask_table.build(simulator_of(layers).network, images_of("test"), tmp_path / "t", limit=41)


def test_damaged_and_other_files_are_refused(plain, tmp_path):
    content, path = plain[2].read_bytes(), tmp_path / "t.safetensors"
    for wrong in (content[:-7], content[:-1] + bytes([content[-1] ^ 1]), b"", content[:20]):
        path.write_bytes(wrong)
        with pytest.raises(DamagedFileError):
            mask_table.read_table(path)
    save_file(load_file(plain[2]), path)
    with pytest.raises(DamagedFileError, match="expected a checksum"):
        mask_table.read_table(path)
    other = dataclasses.replace(plain[1].header, version=99)
    mask_table.write_table(path, dataclasses.replace(plain[1], header=other))
    with pytest.raises(ValueError, match="version 1, got 99"):
        mask_table.read_table(path)
    with pytest.raises(FileNotFoundError):
        mask_table.read_table(tmp_path / "none.safetensors")


def test_a_header_says_what_is_compared_and_not_with_what_it_was_made(plain):
    found = dataclasses.replace(plain[1].header, made_with={"cpu": "one"})
    other = dataclasses.replace(found, made_with={"cpu": "two"})
    assert found == other
    assert found.digest == other.digest
    assert mask_table.header.header_from(mask_table.header.header_text(found)) == found


def test_scores_are_right_or_wrong_or_log_likelihoods(plain):
    found = plain[1]
    assert found.outcomes().scores.dtype == bool
    np.testing.assert_array_equal(found.outcomes("log_likelihood").scores, -found.nll)
    assert found.outcomes().costs.max() == 1
    with pytest.raises(ValueError, match="score"):
        found.outcomes("rihgt")
