"""Law of the study of drift: it runs in miniature, is recorded, shown and drawn."""

import pytest

from ccenv.runs.experiment import run_experiment
from ccenv.runs.lab import drift, tables


def test_the_study_of_drift_runs_in_miniature_and_is_recorded_shown_and_drawn(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(drift.SETTINGS, "dataset", "digits@drift")
    words = ["--images", "512", "--seeds", "1", "--record", "--results-dir", str(tmp_path)]
    assert run_experiment(drift.DRIFT, "lab", [*words, "--report-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    rows = tables.recorded.read_table(tmp_path / "drift.json")["rows"]
    assert [row["kind"] for row in rows] == list(drift.KINDS)
    assert all(len(row["pieces"][0]) == drift.PIECES for row in rows)
    between, unsafe, inactive, frozen = (row["pieces"][0] for row in rows)
    # The network that is frozen later has learned as the first one up to then.
    assert frozen[: drift.PIECES // 4] == between[: drift.PIECES // 4]
    assert frozen != between
    assert drift.shown(rows[0])["mean"] == pytest.approx(sum(between[4:]) / 12)
    assert all(row["kind"] in shown for row in rows)
    assert drift.drawn(rows).name == "errors"
    assert unsafe != inactive
