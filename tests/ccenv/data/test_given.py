"""Data sets in the forms people have: objects, folders, texts, and what is larger than memory."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from ccenv.annexes.data.windows import CONTEXT
from ccenv.data import SPLITS, Rows, Split, load_split


def pixels(count=40, shape=(3, 5, 7), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


class Counting(Dataset):
    """Pairs made on demand; counts how often each is read."""

    def __init__(self, inputs, labels):
        self.inputs, self.answers, self.reads = inputs, labels, [0] * len(inputs)

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, row):
        self.reads[row] += 1
        return self.inputs[row], self.answers[row]


def mapped(inputs, labels, folder):
    np.save(folder / "x.npy", inputs)
    return np.load(folder / "x.npy", mmap_mode="r"), labels


def tensors(inputs, labels, folder):
    return torch.from_numpy(inputs), torch.from_numpy(labels)


FORMS = {
    "arrays": lambda x, y, _: (x, y),
    "lists of labels": lambda x, y, _: (x, y.tolist()),
    "named arrays": lambda x, y, _: {"x": x, "y": y},
    "tensors": tensors,
    "TensorDataset": lambda *data: TensorDataset(*tensors(*data)),
    "Subset": lambda *data: Subset(TensorDataset(*tensors(*data)), range(len(data[1]))),
    "map-style": lambda x, y, _: Counting(torch.from_numpy(x), y),
    "memmap": mapped,
    "Split": lambda *data: Split(*tensors(*data), int(data[1].max()) + 1),
}
"""The same data in the forms that people have."""


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("is_function", [False, True])
def test_every_form_gives_the_same_batches(tmp_path, kind, is_function):
    inputs, labels = pixels(), np.arange(40) % 4
    found = FORMS[kind](inputs, labels, tmp_path)
    given = dict.fromkeys(SPLITS, found)
    split = load_split(given.get if is_function else given, "train")
    rows = torch.tensor([7, 0, 39, 7])
    drawn, answers = split.batch(rows)
    assert (len(split), split.image_shape, split.num_classes) == (40, (3, 5, 7), 4)
    assert torch.equal(drawn, torch.from_numpy(inputs)[rows].float() / 255)
    assert answers.tolist() == [3, 0, 3, 3]
    assert answers.dtype == torch.int64


@pytest.mark.parametrize(
    ("dtype", "drawn"),
    [("float32", torch.float32), ("float64", torch.float32), ("int32", torch.int64)],
)
@pytest.mark.parametrize("kind", ["arrays", "map-style", "memmap"])
def test_floats_and_symbols_of_any_shape_are_drawn_as_they_are(tmp_path, kind, dtype, drawn):
    inputs = pixels(12, (9,)).astype(dtype)
    found = FORMS[kind](inputs, np.arange(12) % 3, tmp_path)
    split = load_split({"train": found, "test": found}, "test")
    batch, _ = split.batch(torch.arange(12))
    assert (batch.dtype, split.image_shape) == (drawn, (9,))
    assert np.array_equal(batch, inputs)


@pytest.mark.parametrize("kind", FORMS)
def test_a_validation_split_that_is_not_given_is_a_tenth_of_the_training_one(tmp_path, kind):
    inputs = pixels(40)
    given = {"train": FORMS[kind](inputs, np.arange(40) % 4, tmp_path), "test": (inputs, [0] * 40)}
    if kind == "Split":
        given["test"] = given["train"]
    train, held = load_split(given, "train"), load_split(given, "validation")
    assert (len(train), len(held)) == (36, 4)
    rows = [s.batch(torch.arange(len(s)))[0].flatten(1) for s in (train, held)]
    known = {row.numpy().tobytes() for row in torch.from_numpy(inputs).flatten(1).float() / 255}
    assert {row.numpy().tobytes() for part in rows for row in part} == known


def test_rows_are_read_when_they_are_drawn_and_labels_once():
    data = Counting(torch.from_numpy(pixels()), np.arange(40) % 4)
    given = dict.fromkeys(SPLITS, data)
    split = load_split(given, "train")
    # Labels once, the first input's shape, and the first inputs that are checked, a split each.
    before = list(data.reads)
    assert max(before[20:]) <= len(SPLITS)
    assert load_split(given, "train") is split
    split.batch(torch.tensor([30, 31]))
    new_reads = [after - one for after, one in zip(data.reads, before, strict=True)]
    assert new_reads[28:34] == [0, 0, 1, 1, 0, 0]


def test_a_data_set_on_disk_is_not_copied_to_memory(tmp_path):
    inputs = pixels(40)
    split = load_split(
        dict.fromkeys(SPLITS, FORMS["memmap"](inputs, np.arange(40), tmp_path)), "test"
    )
    assert isinstance(split.images, Rows)
    parts = list(split.tensors())
    assert np.array_equal(torch.cat(parts[:-1]), inputs)
    assert torch.equal(parts[-1], split.labels)


def test_arrays_in_memory_are_shared_and_not_copied():
    inputs = pixels(40)
    split = load_split(dict.fromkeys(SPLITS, (inputs, np.arange(40))), "test")
    assert split.images.data_ptr() == inputs.ctypes.data


@pytest.mark.parametrize("transforms", ["halve", "standardise", "copies=2,shift=1,mirror"])
def test_images_that_are_read_when_drawn_go_through_the_same_transforms(tmp_path, transforms):
    data = pixels(shape=(3, 6, 8)), np.arange(40) % 4, tmp_path
    one, other = (
        load_split(dict.fromkeys(SPLITS, FORMS[kind](*data)), "train", transforms)
        for kind in ("memmap", "arrays")
    )
    assert len(one) == len(other)
    assert one.image_shape == other.image_shape
    for drawn in zip(one.batch(torch.arange(40)), other.batch(torch.arange(40)), strict=True):
        torch.testing.assert_close(*drawn)


def test_transforms_of_what_is_no_image_are_refused():
    given = dict.fromkeys(SPLITS, (pixels(9, (8,)), np.arange(9)))
    with pytest.raises(ValueError, match=r"expected images .* for transforms \(halve\), got .*8"):
        load_split(given, "train", "halve")


class Ragged(Counting):
    """Inputs of different shapes."""

    def __getitem__(self, row):
        return torch.zeros(1, 2 + (row > 20), 2), 0


BAD = {
    "no pair": (TensorDataset(torch.zeros(3, 1, 2, 2)), ValueError, "to be a pair"),
    "other shapes": (Ragged([0] * 40, [0] * 40), ValueError, "to be .* like the first, got .* at"),
    "NaN": ((np.full((4, 1, 2, 2), np.nan), [0, 1, 0, 1]), ValueError, "finite pixels"),
    "fewer labels": ((pixels(4), [0, 1, 0]), ValueError, "as many labels as inputs, got 3 and 4"),
    "labels of floats": ((pixels(2), [0.0, 1.0]), ValueError, "labels as whole numbers"),
    "labels from 1": ((pixels(2), [1, 2]), ValueError, "labels that start at 0, got 1..2"),
    "labels below 0": ((pixels(2), [-1, 0]), ValueError, "labels that start at 0"),
    "channels last": ((pixels(2, (6, 6, 3)), [0, 1]), ValueError, r"numpy.moveaxis\(x, -1, 1\)"),
    "bool": ((np.zeros((2, 3), bool), [0, 1]), ValueError, "as whole numbers, got torch.bool"),
    "texts": ((np.array([["a"], ["b"]]), [0, 1]), ValueError, "as uint8, float or whole numbers"),
    "negative symbols": ((np.array([[-1], [2]]), [0, 1]), ValueError, "symbols of at least 0"),
    "one dimension": ((np.zeros(2, np.uint8), [0, 1]), ValueError, "expected images"),
    "lists": (([[1], [2]], [0, 1]), TypeError, "numpy.asarray"),
    "one number": ((np.int64(-1), 0.5), TypeError, "array or tensor .*, got np.int64"),
    "nothing": ((np.zeros((0, 3), np.uint8), []), ValueError, "n > 0"),
    "no item": (Counting([], []), ValueError, "at least one pair"),
    "a number": (5, TypeError, r"expected a ccenv.data.Split, .* got int"),
    "classes": (Split(torch.zeros(2, 3), torch.arange(2), -1), ValueError, "classes, got -1"),
    "text of an item": (Counting(["a", "b"], [0, 1]), ValueError, "ToTensor"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_data_that_cannot_be_used_are_refused_by_name(case):
    found, kind, message = BAD[case]

    def mine(split):
        return found

    with pytest.raises(kind, match=f"(?s)mine.*{message}"):
        load_split(mine, "train").batch(torch.tensor([30]))


def test_non_finite_rows_of_a_file_are_refused_when_they_are_drawn(tmp_path):
    inputs = np.zeros((40, 3), np.float32)
    inputs[30] = np.inf
    split = load_split(
        dict.fromkeys(SPLITS, FORMS["memmap"](inputs, np.arange(40), tmp_path)), "test"
    )
    split.batch(torch.tensor([29]))
    with pytest.raises(ValueError, match="finite pixels"):
        split.batch(torch.tensor([30]))


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"train": 0, "tset": 0}, ValueError, "unknown split 'tset': did you mean 'test'"),
        ({"train": 0}, ValueError, "got none for test"),
        (5, TypeError, "expected dataset to be a name or a function"),
        (TensorDataset(torch.zeros(2, 2), torch.zeros(2)), TypeError, "or a mapping"),
        (lambda: 0, ValueError, "a function of a split's name, got one that refuses 'train'"),
        (DataLoader([0]), TypeError, "of a DataLoader its dataset.*got DataLoader"),
        ((np.zeros(2), np.zeros(2)), TypeError, r"of arrays \(x, y\).*got tuple"),
    ],
)
def test_what_is_no_mapping_of_splits_is_refused(given, kind, message):
    with pytest.raises(kind, match=message):
        load_split(given, "train")


def write_images(folder, classes, count=4, size=(6, 5)):
    from PIL import Image

    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            colour = (40 * number + i, i, 7)
            Image.new("RGB", size, colour).save(folder / name / f"{i}.png")


def test_a_folder_of_class_folders_is_a_data_set_by_its_name(root):
    write_images(root / "own" / "train", ["cat", "dog"], 10)
    write_images(root / "own" / "test", ["cat", "dog"], 3)
    splits = [load_split("own", split) for split in SPLITS]
    assert [len(split) for split in splits] == [18, 2, 6]
    assert {(s.image_shape, s.num_classes) for s in splits} == {((3, 5, 6), 2)}
    images, labels = splits[2].batch(torch.arange(6))
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (images[:, 0, 0, 0] * 255).round().tolist() == [0, 1, 2, 40, 41, 42]


def test_a_folder_without_splits_is_cut_in_three_and_resized_where_that_is_asked(root):
    write_images(root / "own", ["a", "b"], 10)
    write_images(root / "own", ["c"], 10, size=(9, 9))
    splits = [load_split("own@4", split) for split in SPLITS]
    assert [len(split) for split in splits] == [24, 3, 3]
    assert {(s.image_shape, s.num_classes) for s in splits} == {((3, 4, 4), 3)}
    with pytest.raises(ValueError, match=r"like the first, got .* at \d+; resize"):
        load_split("own", "train")


def test_a_path_from_the_working_folder_leads_to_images_and_texts(root, tmp_path, monkeypatch):
    here = tmp_path / "working"
    write_images(here / "own", ["a", "b"], 10)
    (here / "notes.txt").write_text("a fox. " * 200)
    monkeypatch.chdir(here)
    assert len(load_split("./own@4", "train")) == 16
    expected = load_split(str(here / "notes.txt"), "test")
    for path in ("./notes.txt", "./notes", "../working/notes.txt"):
        assert torch.equal(load_split(path, "test").labels, expected.labels)
    # A path leads elsewhere from another folder, whatever was read before.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="unknown dataset"):
        load_split("./notes.txt", "test")


@pytest.mark.parametrize(
    ("name", "folders", "message"),
    [
        ("own@", {"train": ["a"], "test": ["a"]}, "as name or name@pixels"),
        ("own@-3", {"train": ["a"], "test": ["a"]}, "as name or name@pixels"),
        ("own@big", {"train": ["a"], "test": ["a"]}, "as name or name@pixels"),
        ("own", {"train": ["a"]}, "got none named test"),
        ("own", {"train": ["a", "b"], "test": ["a"]}, r"expected the classes \['a', 'b'\]"),
        ("own", {"train": [], "test": ["a"]}, "expected images in folders of classes"),
        ("owm", {"train": ["a"], "test": ["a"]}, "unknown dataset 'owm'"),
    ],
)
def test_a_folder_that_is_none_of_images_is_refused_by_name(root, name, folders, message):
    for folder, classes in folders.items():
        (root / "own" / folder).mkdir(parents=True)
        write_images(root / "own" / folder, classes)
    with pytest.raises(ValueError, match=f"{name}.*{message}|{message}.*{name}"):
        load_split(name, "train")


def write_text(folder, **parts):
    folder.mkdir()
    for name, text in parts.items():
        (folder / f"{name}.txt").write_bytes(text)


@pytest.mark.parametrize("name", ["python_text", "poems"])
def test_a_text_gives_windows_of_symbols_and_the_symbol_behind(root, name):
    text = bytes(range(200)) * 3 + b"b" * 9 + b"a" * 8
    write_text(
        root / name, train=text[:500], train_more=text[500:], validation=text, test=text[:40]
    )
    train, _, test = (load_split(name, split) for split in SPLITS)
    assert (len(train), len(test)) == (len(text) - CONTEXT, 16)
    assert (train.image_shape, train.num_classes) == ((24,), 128)
    windows, labels = train.batch(torch.arange(len(train)))
    assert windows.dtype == labels.dtype == torch.int64
    assert torch.equal(windows[1:, -1], labels[:-1])
    assert torch.equal(windows[1:, :-1], windows[:-1, 1:])
    # By how often they occur: "b", "a", then the first 125 of the others, and one for the rest.
    assert labels[-17:].tolist() == [0] * 9 + [1] * 8
    assert labels[: 125 - CONTEXT].tolist()[:3] == [2 + CONTEXT, 3 + CONTEXT, 4 + CONTEXT]
    assert labels.bincount(minlength=128)[127] == 3 * 73


def test_a_text_that_is_too_short_or_lacks_a_split_is_refused_by_name(root):
    write_text(root / "poems", train=b"a" * 24, validation=b"a" * 30)
    with pytest.raises(ValueError, match=r"'poems': expected more than 24 bytes of train"):
        load_split("poems", "train")
    with pytest.raises(ValueError, match=r"'poems': expected files named .* got none for test"):
        load_split("poems", "test")
