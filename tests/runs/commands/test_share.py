"""Laws of sharing a run: a stranger has the answers of the run, and what is uploaded is that."""

import json
import os
import shutil
import sys
from types import ModuleType

import pytest
import torch

from ccenv.deploy.export import SkippingClassifier
from ccenv.runs.commands import export, train
from ccenv.runs.store.seal import sealed


class Hub:
    """What the hub's library is asked to do."""

    asked: list

    def create_repo(self, repo_id, *, exist_ok):
        self.asked.append((repo_id, exist_ok))

    def upload_folder(self, *, folder_path, repo_id, allow_patterns):
        self.asked.append((folder_path, repo_id, set(allow_patterns)))
        return f"https://hub/{repo_id}"


CLASSIFIER = "checkpoint/classifier.safetensors"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that left a classifier."""
    place = tmp_path_factory.mktemp("share")
    small = ["images=64", "batch_size=32", f"log_dir={place}"]
    assert train.main(["reinforce", "weights=cotrain", "--export", *small]) == 0
    (result,) = place.rglob("result.json")
    return result.parent


def test_a_shared_run_answers_as_the_run_and_is_uploaded_whole(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "gift"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert export.main(["--share", str(run), "--out", str(out), "--push", "me/gift"]) == 2
    assert "pip install huggingface_hub" in capsys.readouterr().err
    fake = ModuleType("huggingface_hub")
    fake.HfApi, Hub.asked = Hub, []
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    assert export.main(["--share", str(run), "--out", str(out), "--push", "me/gift"]) == 0
    names = {"README.md", "classifier.safetensors", "config.json"}
    assert Hub.asked == [("me/gift", True), (str(out), "me/gift", names)]
    assert capsys.readouterr().out.endswith("https://hub/me/gift\n")
    assert {path.name for path in out.iterdir()} == names
    own = SkippingClassifier.load(run / "checkpoint" / "classifier.safetensors")
    given = SkippingClassifier.load(out / "classifier.safetensors")
    images = torch.rand(4, *own.image_shape)
    assert torch.equal(own(images), given(images))
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: ccenv\n")
    assert "# reinforce on digits" in card
    (out / "mine.txt").write_text("")
    with pytest.raises(ValueError, match=r"got mine\.txt in it"):
        export.gather_shared(run, out)


def test_a_run_is_given_away_as_plain_files_of_known_names_or_not_at_all(run, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("private")
    for name in ("command.txt", "config.json", "result.json", "checkpoint", CLASSIFIER):
        place, out = tmp_path / "copy", tmp_path / "gift"
        shutil.copytree(run, place)
        aside = shutil.move(place / name, tmp_path / "aside")
        for target in (secret, aside):
            (place / name).symlink_to(target)
            with pytest.raises(ValueError, match=r"got a link|train with --export"):
                export.gather_shared(place, out)
            (place / name).unlink()
        os.mkfifo(place / name)
        with pytest.raises(ValueError, match=r"expected"):
            export.gather_shared(place, out)
        assert not out.exists()
        shutil.rmtree(place)
        shutil.rmtree(aside) if aside.is_dir() else aside.unlink()


def test_what_is_written_never_goes_through_a_link(run, tmp_path):
    secret, out = tmp_path / "secret.txt", tmp_path / "gift"
    secret.write_text("private")
    for name in ("README.md", "config.json", "classifier.safetensors"):
        out.mkdir()
        (out / name).symlink_to(secret)
        with pytest.raises(ValueError, match="expected plain files"):
            export.gather_shared(run, out)
        shutil.rmtree(out)
    (tmp_path / "elsewhere").mkdir()
    out.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"expected .* to be a folder"):
        export.gather_shared(run, out)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert secret.read_text() == "private"


@pytest.mark.parametrize("content", ["{}", "[]", "", '{"settings": {}}', '{"evaluations": [1]}'])
@pytest.mark.parametrize("name", ["config.json", "both"])
def test_a_run_without_settings_or_result_is_refused_in_a_line(
    content, name, run, tmp_path, capsys
):
    place = tmp_path / "copy"
    shutil.copytree(run, place)
    for one in ("config.json", "result.json"):
        if name in (one, "both"):
            (place / one).write_text(content)
    assert export.main(["--share", str(place)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (place / "shared").exists()


@pytest.mark.parametrize("part", ["agent", "seed", "images_seen", "evaluations", "settings"])
def test_a_forged_result_without_a_part_is_refused_in_a_line(part, run, tmp_path, capsys):
    place = tmp_path / "copy"
    shutil.copytree(run, place)
    result = json.loads((place / "result.json").read_text())
    for value in (None, {}, [{}], 1.5):
        (place / "result.json").write_text(json.dumps(sealed(result | {part: value})))
        assert export.main(["--share", str(place)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
