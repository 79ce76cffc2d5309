"""Published texts: fetched whole or not at all, checked before use, never fetched unasked."""

import hashlib
import sys
import urllib.error
import zipfile

import pytest

from ccenv.data import load_split
from ccenv.data.text import ARCHIVES, Archive, download_text
from ccenv.runs.commands.data import main

TEXT = bytes(range(97, 123)) * 200


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("CCENV_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Publishes a text under a name, where no network is needed."""

    def publish(content=TEXT, member="text8", sha256=None, md5=None):
        path = tmp_path / "published.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, content)
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if sha256 is None else sha256
        known = hashlib.md5(TEXT).hexdigest() if md5 is None else md5
        monkeypatch.setitem(ARCHIVES, "text8", Archive(path.as_uri(), digest, known))

    return publish


def test_a_published_text_is_fetched_and_cut_as_one_file(root, published, capsys):
    published()
    main(["text8", "--download"])
    assert [file.name for file in root.iterdir()] == ["text8"]
    assert (root / "text8").read_bytes() == TEXT
    said = capsys.readouterr().out
    lengths = [len(TEXT) * 90 // 100 - 24, len(TEXT) // 20 - 24, len(TEXT) // 20 - 24]
    assert [line.split()[1] for line in said.splitlines()] == [f"{n:,}" for n in lengths]
    assert len(load_split("text8", "test")) == lengths[2]


@pytest.mark.parametrize("name", ["enwik8", "text8"])
def test_a_missing_one_says_the_command_that_gets_it_and_fetches_nothing(root, name):
    with pytest.raises(FileNotFoundError, match=f"run: ccenv data {name} --download"):
        load_split(name, "train")
    assert not root.exists()


def test_another_text_of_that_name_is_refused(root):
    root.mkdir()
    (root / "text8").write_bytes(TEXT)
    with pytest.raises(ValueError, match=r"expected .*text8 with MD5 3bea.* another name"):
        load_split("text8", "train")


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        ({"sha256": "0" * 64}, RuntimeError, "invalid hash"),
        ({"md5": "0" * 32}, ValueError, "expected a text of MD5 0000"),
        ({"content": TEXT[1:]}, ValueError, "expected a text of MD5"),
        ({"member": "../text8"}, ValueError, r"expected 'text8' in .*, got \['../text8'\]"),
    ],
)
def test_what_comes_and_is_not_that_text_leaves_nothing(root, published, other, error, message):
    published(**other)
    with pytest.raises(error, match=message):
        download_text("text8")
    assert not list(root.iterdir())
    assert not (root.parent / "text8").exists()


def test_what_cannot_be_fetched_is_said_and_leaves_nothing(root, monkeypatch, capsys, tmp_path):
    nowhere = Archive((tmp_path / "nowhere.zip").as_uri(), "0" * 64, "0" * 32)
    monkeypatch.setitem(ARCHIVES, "text8", nowhere)
    with pytest.raises(urllib.error.URLError):
        download_text("text8")
    monkeypatch.setattr(sys, "argv", ["ccenv.data", "text8", "--download"])
    assert main() == 2
    assert "nowhere.zip" in capsys.readouterr().err
    assert not list(root.iterdir())
