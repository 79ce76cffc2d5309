"""Texts by any file or folder: which bytes are a split, and what is refused."""

import hashlib
import lzma

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.annexes.data import files as text_files
from ccenv.annexes.data import windows as text
from ccenv.data import SPLITS, load_split


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def parts_of(texts):
    return [bytes(texts.read(split)) for split in SPLITS]


@pytest.mark.parametrize("name", ["book", "book.txt"])
def test_one_file_is_cut_in_nine_tenths_and_two_twentieths(root, name):
    content = bytes(range(60, 120)) * 20
    write(root, {"book.txt": content})
    found = {split: load_split(name, split) for split in SPLITS}
    assert [len(found[split]) for split in SPLITS] == [1080 - 24, 60 - 24, 60 - 24]
    assert parts_of(text_files.texts_of(root / "book.txt", name)) == [
        content[:1080],
        content[1080:1140],
        content[1140:],
    ]


def test_files_of_a_folder_are_split_in_the_order_of_their_paths(root):
    files = {f"{'ab'[i % 2]}/{i:02}.md": b"%02d " % i * 20 for i in range(40)}
    write(root / "notes", files | {".git/00": b"hidden"})
    ordered = [content for _, content in sorted(files.items())]
    test = b"".join(ordered[19::20])
    validation = b"".join(ordered[18::20])
    train = b"".join(c for i, c in enumerate(ordered) if i % 20 < 18)
    assert parts_of(text_files.texts_of(root / "notes", "notes")) == [train, validation, test]
    assert len(load_split("notes", "test")) == len(test) - 24


def test_a_folder_of_few_files_is_cut_as_one(root):
    write(root / "notes", {"b": b"b" * 700, "a": b"a" * 500})
    whole = b"a" * 500 + b"b" * 700
    assert b"".join(parts_of(text_files.texts_of(root / "notes", "notes"))) == whole
    assert len(load_split("notes", "train")) == 1080 - 24


@given(st.integers(0, 10_000))
def test_the_parts_of_one_file_are_all_of_it_and_nothing_twice(length):
    whole = range(length)
    parts = [whole[text_files.cut_of(length, split)] for split in SPLITS]
    assert [place for part in parts for place in part] == [*whole]
    assert len(parts[0]) == length * 90 // 100


@given(st.integers(1, 99))
def test_each_file_is_of_one_split_and_with_twenty_each_split_has_one(count):
    parts = text_files.split_files(range(count))
    assert sorted(sum(parts, ())) == [*range(count)]
    assert [bool(part) for part in parts] == [True] * (3 if count >= 20 else 1)


def test_files_that_are_no_text_are_named_and_refused_or_left_out(root):
    files = {"a.txt": b"a" * 900, "c/picture": b"\x89PN\0\0", "d.txt": b"d" * 900}
    write(root / "notes", files)
    with pytest.raises(ValueError, match=r"'notes': .*got 1 with NUL bytes, such as c/picture"):
        load_split("notes", "train")
    assert len(load_split("notes@text", "train")) == 1620 - 24
    write(root / "only", {"picture": b"\0"})
    with pytest.raises(ValueError, match="'only@text': expected a file of text"):
        load_split("only@text", "train")


def test_what_is_shorter_than_a_window_or_empty_is_refused_by_name(root):
    write(root, {"short.txt": b"a" * 240, "empty.txt": b""})
    write(root / "hollow", {"a": b"", "b": b""})
    assert len(load_split("short", "train")) == 216 - 24
    for name, split in (("short", "test"), ("empty", "train"), ("hollow", "train")):
        with pytest.raises(ValueError, match=rf"'{name}': expected more than 24 bytes of {split}"):
            load_split(name, split)


def test_a_folder_with_an_image_is_none_of_text_and_neither_is_the_root(root):
    write(root / "flowers", {"rose/1.PNG": b"x", "notes.txt": b"y"})
    assert text_files.text_path(root, "flowers") is None
    assert text_files.text_path(root, "") is None
    assert text_files.text_path(root, "nothing") is None
    with pytest.raises(ValueError, match="unknown dataset 'nothing'"):
        load_split("nothing", "train")


def test_without_a_folder_python_text_is_the_library_that_runs(root):
    texts = text_files.library_texts()
    if texts is None:
        pytest.skip("this Python has no sources of its library")
    files = [file for part in texts.files for file in part]
    assert len(set(files)) == len(files)
    for file in files:
        assert file.suffix == ".py"
        assert text_files.LIBRARY_SIZES[0] <= file.stat().st_size <= text_files.LIBRARY_SIZES[1]
    assert not [f for f in files if {"lib2to3", "site-packages"} & set(f.parts)]
    test = load_split("python_text", "test")
    assert len(test) == sum(file.stat().st_size for file in texts.files[2]) - 24
    write(root / "python_text", {f"{split}.txt": b"own" * 20 for split in SPLITS})
    assert len(text.python_text("test")) == 36


def test_a_sample_is_every_32nd_window_of_what_is_judged_and_all_that_is_learned_from(root):
    words = np.random.default_rng(0).integers(97, 110, 500, dtype=np.uint8).tobytes()
    write(root / "python_text", {f"{split}.txt": words for split in SPLITS})
    for split in SPLITS:
        every, some = (load_split(name, split) for name in text_files.LIBRARY)
        step = 1 if split == "train" else 32
        rows = torch.arange(0, len(every), step)
        assert len(some) == len(rows)
        for mine, whole in zip(some.batch(torch.arange(len(rows))), every.batch(rows), strict=True):
            assert torch.equal(mine, whole)


def test_the_bundled_text_is_the_same_everywhere_and_read_without_a_folder_of_data_sets(root):
    data = {split: load_split("python_bundled", split) for split in SPLITS}
    assert [len(data[split]) for split in SPLITS] == [6_957_917, 57_281, 51_047]
    found = hashlib.sha256()
    for split in SPLITS:
        found.update(b"".join(part.numpy().tobytes() for part in data[split].images.parts()))
    assert found.hexdigest()[:24] == "79006b6f4a549824049288c3"
    windows, labels = data["test"].batch(torch.arange(2))
    assert windows[1, 15] == labels[0]
    symbols, back = text.coding("python_bundled")
    assert back[symbols[ord("(")]] == ord("(")
    assert (text_files.FOLDER / "LICENSE").read_text().count("Python Software Foundation")


def test_a_damaged_packed_text_is_refused_by_name(root):
    packed = lzma.compress(b"some words of a text" * 20)
    write(root / "poems", {f"{split}.txt.xz": packed for split in SPLITS})
    assert len(load_split("poems", "test")) == 400 - 24
    (root / "poems" / "test.txt.xz").write_bytes(packed[:-20])
    with pytest.raises(ValueError, match=r"whole file .*test\.txt\.xz, got a damaged one"):
        text_files.texts_of(root / "poems", "poems").read("test")


def test_without_sources_it_says_what_to_put_where(root, monkeypatch):
    monkeypatch.setattr(text_files, "library_texts", lambda: None)
    with pytest.raises(FileNotFoundError, match=r"python_text/train\.txt"):
        text.python_text("train")
