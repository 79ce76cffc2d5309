"""Law of the study of patches: it runs in miniature, is recorded, shown and drawn."""

import json

import pytest

from ccenv.runs.experiment import run_experiment
from ccenv.runs.lab import patches
from ccenv.runs.store.seal import check_seal

SMALL = {
    "depth": 1,
    "width": 8,
    "num_heads": 2,
    "ffn_width": 8,
    "context": 4,
    "embedding_size": 4,
    "local_units": 8,
    "head_units": 8,
}


def test_bits_over_patch_sizes_are_recorded_shown_and_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CCENV_DATA", str(tmp_path))
    (tmp_path / "prose.txt").write_text("a cat sat on a mat, and that was that.\n" * 600)
    for name, value in {"DATASET": "prose", "SIZES": SMALL, "LENGTH": 16, "JUDGED": 8}.items():
        monkeypatch.setattr(patches, name, value)
    folders = [f"--{kind}-dir={tmp_path}" for kind in ("results", "report")]
    words = ["--sizes", "1", "4", "--updates", "2", "--record", *folders]
    assert run_experiment(patches.PATCH_STUDY, "lab", words) == 0
    content = json.loads((tmp_path / "patches.json").read_text())
    check_seal(content, "patches")
    by_kind = {(r["patch_size"], r["trained"], r["refreshes"]): r for r in content["rows"]}
    assert by_kind[4, "with", "always"]["rate"] == pytest.approx(0.75)
    assert by_kind[4, "with", "never"]["rate"] == 0 == by_kind[1, "without", "never"]["rate"]
    assert by_kind[4, "with", "periodic, 25%"]["rate"] == pytest.approx(0.25)
    by_entropy = [row for (_, _, name), row in by_kind.items() if name.startswith("entropy")]
    assert [row["rate"] for row in by_entropy] == sorted(row["rate"] for row in by_entropy)
    assert by_kind[1, "without", "never"]["cache_bytes"] == 16 * 8 * 2 * 4
    assert by_kind[4, "with", "always"]["cache_bytes"] == 4 * 8 * 2 * 4
    assert (tmp_path / "patches.png").read_bytes()[1:4] == b"PNG"
