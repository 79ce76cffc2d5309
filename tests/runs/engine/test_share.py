"""Laws of sharing a run: a stranger has the answers of the run, and what is uploaded is that."""

import sys
from types import ModuleType

import pytest
import torch

from ccenv.deploy.export import SkippingClassifier
from ccenv.runs import share, train


class Hub:
    """What the hub's library is asked to do."""

    asked: list

    def create_repo(self, repo_id, *, exist_ok):
        self.asked.append((repo_id, exist_ok))

    def upload_folder(self, *, folder_path, repo_id, allow_patterns):
        self.asked.append((folder_path, repo_id, set(allow_patterns)))
        return f"https://hub/{repo_id}"


def test_a_shared_run_answers_as_the_run_and_is_uploaded_whole(tmp_path, monkeypatch, capsys):
    small = ["images=64", "batch_size=32", f"log_dir={tmp_path}/logs"]
    assert train.main(["reinforce", "weights=cotrain", "--export", *small]) == 0
    (run,) = (path.parent for path in tmp_path.rglob("result.json"))
    out = tmp_path / "gift"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert share.main([str(run), "--out", str(out), "--push", "me/gift"]) == 2
    assert "pip install huggingface_hub" in capsys.readouterr().err
    fake = ModuleType("huggingface_hub")
    fake.HfApi, Hub.asked = Hub, []
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    assert share.main([str(run), "--out", str(out), "--push", "me/gift"]) == 0
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
        share.gather(run, out)
