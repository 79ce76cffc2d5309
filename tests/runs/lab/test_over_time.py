"""Law of the study of problems over time: it runs in miniature, and is recorded."""

from ccenv.runs.lab import over_time, tables
from ccenv.runs.lab.experiment import run_experiment


def test_the_study_of_problems_over_time_runs_in_miniature_and_is_recorded(tmp_path, capsys):
    words = ["--rollouts", "2", "--seeds", "1", "--problem", "staleness", "--record"]
    words += ["--results-dir", str(tmp_path), "--report-dir", str(tmp_path)]
    assert run_experiment(over_time.OVER_TIME, "lab", words) == 0
    rows = {
        row["decides"]: row["shares"][0]
        for row in tables.recorded.read_table(tmp_path / "over-time.json")["rows"]
    }
    assert rows["optimum (dynamic programming)"] == 1 > rows["best threshold on the belief"]
    assert rows["best threshold on the belief"] >= rows["best threshold on the signal"] - 0.01
    assert rows["best threshold on the belief"] > rows["best fixed places"] > rows["random"] == 0
    assert "PPO (Stable-Baselines3)" in capsys.readouterr().out
