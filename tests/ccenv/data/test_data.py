"""Data sets: sizes and splits, and damaged or missing files refused by name."""

import gzip
import hashlib
import importlib.util
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.base.machine import user_cache
from ccenv.data import SPLITS, Split, check_split, data_root, load_split, npz, real
from ccenv.data.real import STORED_AS
from ccenv.runs.commands.data import main

BUNDLED = {"digits": (1097, 200, 500), "synthetic": (2000, 500, 500), "probe": (1024, 256, 256)}


def arrays(count=40, shape=(6, 6), num_classes=4, seed=0):
    """Arrays of a small data set of one's own."""
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (count, *shape), dtype=np.uint8),
        "y_train": np.arange(count) % num_classes,
        "x_test": rng.integers(0, 256, (12, *shape), dtype=np.uint8),
        "y_test": np.arange(12) % num_classes,
    }


def rows_of(split):
    return [row.tobytes() for row in split.images.flatten(1).numpy()]


@pytest.mark.parametrize(("name", "sizes"), BUNDLED.items())
def test_bundled_data_sets_have_the_documented_sizes_and_every_class(name, sizes):
    splits = [load_split(name, split) for split in SPLITS]
    assert tuple(len(split) for split in splits) == sizes
    images, labels = splits[0].batch(torch.arange(sizes[0]))
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert sorted(set(labels.tolist())) == list(range(2 if name == "probe" else 10))


@pytest.mark.parametrize("name", BUNDLED)
def test_no_image_is_in_two_splits(name):
    rows = [set(rows_of(load_split(name, split))) for split in SPLITS]
    assert sum(map(len, rows)) == len(set.union(*rows))


def test_the_splits_of_digits_together_are_scikit_learns_digits():
    # Its table alone is read: importing the package takes seconds.
    package = Path(importlib.util.find_spec("sklearn").origin).parent
    table = np.loadtxt(package / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    ours = sorted(row for split in SPLITS for row in rows_of(load_split("digits", split)))
    theirs = (table[:, :-1] / 16).astype(np.float32)
    assert ours == sorted(row.tobytes() for row in theirs)


@given(groups=st.integers(0, 20), together=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_shuffled_pass_has_every_row_once_and_sequences_whole(groups, together, seed):
    rows = torch.arange(groups * together)
    split = Split(rows[:, None], rows, num_classes=1, together=together)
    order = split.shuffled(torch.Generator().manual_seed(seed))
    assert torch.equal(order.sort().values, rows)
    sequences = order.view(-1, together)
    assert torch.equal(sequences, sequences[:, :1] + torch.arange(together))


def test_shuffled_passes_begin_with_every_row_alike():
    split = Split(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64), num_classes=1)
    draws = torch.Generator().manual_seed(0)
    first = torch.stack([split.shuffled(draws)[0] for _ in range(400)])
    assert first.bincount().tolist() == pytest.approx([100] * 4, abs=30)


def test_an_npz_file_of_ones_own_is_a_data_set_by_its_name(root):
    own = arrays(count=40)
    np.savez(root / "mine.npz", **own)
    train, validation, test = (load_split("mine", split) for split in SPLITS)
    assert (len(train), len(validation), len(test)) == (36, 4, 12)
    assert train.image_shape == (1, 6, 6)
    assert train.num_classes == 4
    assert np.array_equal(torch.cat([train.images, validation.images])[:, 0], own["x_train"])
    images, labels = test.batch(torch.arange(12))
    np.testing.assert_allclose(images[:, 0], own["x_test"] / 255, rtol=1e-6)
    assert np.array_equal(labels, own["y_test"])


def test_an_npz_file_by_its_path_is_the_data_set_that_it_is_by_its_name(
    root, tmp_path, monkeypatch
):
    np.savez(root / "mine.npz", **arrays(seed=1))
    here = tmp_path / "working"
    here.mkdir()
    monkeypatch.chdir(here)
    expected = load_split("mine", "train").images
    assert torch.equal(load_split("mine.npz", "train").images, expected)
    assert torch.equal(load_split(str(root / "mine.npz"), "train").images, expected)
    np.savez("mine.npz", **arrays(seed=2))
    np.savez("yours.npz", **arrays(seed=2))
    other = load_split("./mine.npz", "train").images
    assert not torch.equal(other, expected)
    assert torch.equal(load_split("yours.npz", "train").images, other)
    # A path leads elsewhere from another folder, whatever was read before.
    monkeypatch.chdir(tmp_path)
    assert torch.equal(load_split("working/mine.npz", "test").images, arrays_as_images(seed=2))
    with pytest.raises(ValueError, match=r"seen from the working folder .*, got none"):
        load_split("./yours.npz", "train")


def arrays_as_images(seed):
    """Test images as they are stored."""
    return torch.from_numpy(arrays(seed=seed)["x_test"])[:, None]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5, 7), (1, 5, 7)), ((5, 7, 3), (3, 5, 7)), ((9,), (1, 1, 9))],
)
def test_grey_images_coloured_images_and_features_are_read(root, shape, expected):
    own = arrays(shape=shape)
    np.savez(root / "mine.npz", **own)
    split = load_split("mine", "test")
    assert split.image_shape == expected
    if len(shape) == 3:
        assert np.array_equal(split.images[2, 1], own["x_test"][2, :, :, 1])


def test_float_pixels_are_used_as_they_are(root):
    own = arrays()
    own |= {"x_train": own["x_train"] - 3.5, "x_test": own["x_test"] - 3.5}
    np.savez(root / "mine.npz", **own)
    images, _ = load_split("mine", "test").batch(torch.arange(12))
    np.testing.assert_allclose(images[:, 0], own["x_test"], rtol=1e-6)


BAD_ARRAYS = {
    "missing x_test": ({"x_test": None}, "got none named x_test"),
    "labels of another length": ({"y_train": np.zeros(39, int)}, "as many images and labels"),
    "labels as floats": ({"y_train": np.zeros(40)}, "labels as whole numbers"),
    "labels in columns": ({"y_train": np.zeros((40, 1), int)}, "labels as whole numbers"),
    "labels from 1": (
        {"y_train": np.arange(40) % 4 + 1, "y_test": np.arange(12) % 4 + 1},
        r"labels that start at 0, got 1\.\.4; renumber",
    ),
    "pixels as integers": ({"x_train": np.zeros((40, 6, 6), int)}, "pixels as uint8 in 0..255"),
    "pixels as objects": ({"x_train": np.array([None] * 40)}, "cannot be read"),
    "one dimension": ({"x_train": np.zeros(40, np.uint8)}, "x of 2 to 4 dimensions"),
    "channels first": ({"x_train": np.zeros((40, 3, 6, 6), np.uint8)}, "has its channels first"),
    "no pixels": ({"x_train": np.zeros((40, 0, 6), np.uint8)}, "n > 0"),
    "NaN": ({"x_train": np.full((40, 6, 6), np.nan)}, "expected finite pixels, got NaN"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_a_wrong_npz_file_is_refused_by_name(root, case):
    changes, message = BAD_ARRAYS[case]
    own = {key: value for key, value in (arrays() | changes).items() if value is not None}
    np.savez(root / "mine.npz", **own)
    with pytest.raises(ValueError, match=f"mine.*{message}"):
        load_split("mine", "train")


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 and then nothing", "half"])
def test_a_file_that_is_no_npz_is_refused_by_name(root, content):
    np.savez(root / "mine.npz", **arrays())
    whole = (root / "mine.npz").read_bytes()
    (root / "mine.npz").write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(ValueError, match=r"dataset 'mine': .*mine\.npz cannot be read"):
        load_split("mine", "train")


def header_of(shape):
    """The header of an array of bytes that is said to be as large as its shape."""
    file = io.BytesIO()
    told = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, told)
    return file.getvalue()


def write_npz(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def as_bytes(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_a_file_that_unpacks_to_more_than_the_limit_is_refused_before_it_takes_memory(
    root, monkeypatch
):
    count = 2**24
    zeros = header_of((count, 1, 1)) + bytes(count)
    rest = {name: as_bytes(array) for name, array in arrays().items() if name != "x_train"}
    write_npz(root / "mine.npz", x_train=zeros, **rest)
    assert (root / "mine.npz").stat().st_size < count / 100
    monkeypatch.setenv("CCENV_MAX_UNPACKED_GIB", "0.01")
    monkeypatch.setattr(np, "load", lambda path: pytest.fail("it was unpacked"))
    with pytest.raises(ValueError, match=r"at most 0\.01 GiB in .*mine\.npz, got 0\.0156 GiB"):
        load_split("mine", "train")
    monkeypatch.delenv("CCENV_MAX_UNPACKED_GIB")
    monkeypatch.setattr(npz, "machine_memory", lambda: 2**23)
    with pytest.raises(ValueError, match=r"got 0\.0156 GiB .*; this machine has no more memory$"):
        load_split("mine", "train")


def test_an_array_that_promises_more_than_the_file_holds_is_refused_by_name(root, monkeypatch):
    rest = {name: as_bytes(array) for name, array in arrays().items() if name != "x_train"}
    write_npz(root / "mine.npz", x_train=header_of((2**50, 6, 6)) + bytes(99), **rest)
    monkeypatch.setattr(np, "load", lambda path: pytest.fail("it was unpacked"))
    with pytest.raises(ValueError, match=r"'mine': .*x_train\.npy promises .* bytes and holds"):
        load_split("mine", "train")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "much"])
def test_a_limit_that_is_no_positive_number_is_refused(root, monkeypatch, text):
    np.savez(root / "mine.npz", **arrays())
    monkeypatch.setenv("CCENV_MAX_UNPACKED_GIB", text)
    with pytest.raises(ValueError, match="expected CCENV_MAX_UNPACKED_GIB to be a positive"):
        load_split("mine", "train")


def test_a_checksum_beside_an_npz_file_is_checked(root):
    np.savez(root / "mine.npz", **arrays())
    right = hashlib.sha256((root / "mine.npz").read_bytes()).hexdigest()
    note = root / "mine.npz.sha256"
    note.write_text(f"{right}  mine.npz\n")
    assert len(load_split("mine", "test")) == 12
    for wrong in ("0" * 64, ""):
        note.write_text(wrong)
        with pytest.raises(ValueError, match=r"mine\.npz: expected SHA-256 .* is damaged"):
            load_split("mine", "train")


@pytest.mark.parametrize(("name", "count"), [("mnist", 60_000), ("cifar10", 50_000)])
def test_a_short_npz_of_a_known_data_set_is_refused_by_name(root, name, count):
    np.savez(root / f"{name}.npz", **arrays())
    with pytest.raises(ValueError, match=f"dataset '{name}': expected {count} images"):
        load_split(name, "train")


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_a_missing_data_set_says_the_command_that_gets_it_and_leaves_nothing_behind(root, name):
    with pytest.raises(FileNotFoundError, match=f"run: ccenv data {name} --download"):
        load_split(name, "train")
    assert not list(root.iterdir())


def write_mnist(root, num_images, present=4):
    """Files of MNIST's names and format, with another content."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = struct.pack(">iiii", 0x803, 60_000, 28, 28) + bytes(num_images * 784)
    labels = struct.pack(">ii", 0x801, num_images) + bytes(num_images)
    kinds = [(k, d) for k in ("train", "t10k") for d in ("images-idx3", "labels-idx1")]
    for kind, what in kinds[:present]:
        (raw / f"{kind}-{what}-ubyte").write_bytes(pixels if "images" in what else labels)
    (raw / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"download"))


@pytest.mark.parametrize(
    ("num_images", "present", "split"),
    [(0, 4, "train"), (5, 1, "train"), (5, 4, "test")],
)
def test_damaged_short_and_missing_files_of_mnist_are_refused_by_name(
    root, num_images, present, split
):
    write_mnist(root, num_images, present)
    with pytest.raises(
        ValueError, match=r"dataset 'mnist': the files .* are damaged or incomplete"
    ):
        load_split("mnist", split)


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_damaged_files_of_torchvision_are_refused_by_name(root, name):
    stored = root / STORED_AS[name]
    if name == "cifar10":
        stored.mkdir()
        stored = stored / "data_batch_1"
    stored.write_bytes(b"half a file")
    with pytest.raises(ValueError, match=f"dataset '{name}': the files .* are damaged"):
        load_split(name, "train")


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("mnits", "train", "unknown dataset 'mnits': did you mean 'mnist'"),
        ("mine", "train", r"module:name, or mine\.npz, mine\.txt or a folder"),
        ("digits", "valid", "unknown split 'valid': did you mean 'validation'"),
        ("nowhere:images", "train", "no module named 'nowhere'"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_right_one(root, name, split, message):
    with pytest.raises(ValueError, match=message):
        load_split(name, split)


def test_splits_that_cannot_be_used_are_refused():
    images, labels = torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 0, 1])
    for wrong, message in [
        (Split(images, labels, 1), r"labels in 0\.\.0, got 0\.\.1"),
        (Split(images.double(), labels, 2), "images uint8 or float32"),
        (Split(images[0], labels, 2), "expected images"),
        (Split(torch.tensor([[-1, 0]]), labels[:1], 2), "symbols of at least 0"),
        (Split(images, labels.int(), 2), "labels int64"),
        (Split(images / 0, labels, 2), "finite pixels"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_split(wrong, "mine")
    with pytest.raises(TypeError, match=r"expected a ccenv\.data\.Split, .*got NoneType"):
        load_split(lambda split: None, "train")


def test_the_root_is_ccenv_data_else_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CCENV_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("CCENV_DATA")
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path / "cache"))
    assert data_root() == tmp_path / "cache" / "data"
    monkeypatch.delenv("CCENV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache() == tmp_path / "xdg" / "ccenv"


def test_a_user_without_a_home_is_told_of_the_cache(monkeypatch):
    for name in ("CCENV_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.expanduser", unknown)
    with pytest.raises(FileNotFoundError, match="give a folder that can be written in as CCENV_C"):
        user_cache()


def test_the_program_describes_a_data_set(capsys):
    main(["digits"])
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [["train", "1,097"], ["validation", "200"], ["test", "500"]]


def real_split(name, split):
    try:
        return load_split(name, split)
    except FileNotFoundError:
        pytest.skip(f"{name} is not in {data_root()} (CCENV_DATA)")


def test_the_real_data_sets_have_their_images_of_each_class():
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    parts = [real_split("mnist", split) for split in SPLITS]
    assert [len(part) for part in parts] == [50_000, 10_000, 10_000]
    assert parts[2].labels.bincount().tolist() == counts
    parts = [real_split("cifar10", split) for split in SPLITS]
    assert [len(part) for part in parts] == [40_000, 10_000, 10_000]
    assert (parts[0].image_shape, parts[2].labels.bincount().tolist()) == ((3, 32, 32), [1000] * 10)


def pretend(monkeypatch, sizes, shapes=((1, 28, 28), (3, 32, 32), (3, 32, 32)), dtype=torch.uint8):
    """Puts small data sets in the place of the three that are mixed."""

    def maker(domain, size, shape):
        def load(split):
            labels = torch.arange(size) % 10
            # The first pixel's value tells domain and label, and which part it is.
            images = torch.zeros(size, *shape, dtype=dtype)
            images[:, :, 15, 15] = (1 + labels + 10 * domain + 40 * SPLITS.index(split)).view(-1, 1)
            return Split(images, labels, 10)

        return load

    found = zip(sizes, shapes, strict=True)
    sources = {
        name: maker(domain, *form)
        for domain, (name, form) in enumerate(zip(real.SOURCES, found, strict=True))
    }
    monkeypatch.setattr(real, "SOURCES", sources)


@pytest.mark.parametrize("split", SPLITS)
def test_the_mixture_has_equal_shares_in_colour_with_labels_of_their_own(split, monkeypatch):
    pretend(monkeypatch, sizes=(50, 40, 30))
    found, again = (check_split(real.mixed(split), "mixed") for _ in range(2))
    assert torch.equal(found.images, again.images)
    assert torch.equal(found.labels, again.labels)
    assert len((found.labels[:30] // 10).unique()) == 3
    assert (len(found), found.image_shape, found.num_classes) == (90, (3, 32, 32), 30)
    assert (found.labels // 10).bincount().tolist() == [30, 30, 30]
    grey = found.labels < 10
    # MNIST's 28 x 28 pixels lie in the middle: two more rows and columns on each side.
    pixels = torch.where(grey, found.images[:, 0, 17, 17], found.images[:, 0, 15, 15])
    assert torch.equal(pixels.long(), 1 + found.labels + 40 * SPLITS.index(split))
    assert torch.equal(found.images[grey][:, 0], found.images[grey][:, 2])


def test_the_mixture_says_which_of_its_sources_is_absent(root):
    needs = "dataset 'mixed' needs mnist, cifar10, svhn; of these dataset 'mnist' is not in"
    with pytest.raises(FileNotFoundError, match=needs):
        load_split("mixed", "train")
    np.savez(root / "svhn.npz", **arrays(shape=(32, 32, 3)))
    with pytest.raises(FileNotFoundError, match="ccenv data mnist --download"):
        load_split("mixed", "train")


def test_the_mixture_refuses_what_is_no_byte_image(monkeypatch):
    pretend(monkeypatch, sizes=(9, 9, 9), dtype=torch.float32)
    with pytest.raises(ValueError, match="expected uint8 images of 1 or 3 channels"):
        real.mixed("train")
    pretend(monkeypatch, sizes=(9, 9, 9), shapes=((1, 28, 28), (3, 64, 64), (3, 32, 32)))
    with pytest.raises(ValueError, match=r"at most 32 x 32 pixels in 'cifar10'"):
        real.mixed("train")
