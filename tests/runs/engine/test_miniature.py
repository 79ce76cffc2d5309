"""Laws of miniatures: the same command runs them, in folders of their own, unrecorded."""

from ccenv.runs.commands import compare


def options_of(tmp_path):
    return [f"--{kind}-dir={tmp_path / kind}" for kind in ("log", "report", "results")]


def test_a_miniature_runs_by_its_own_flag_and_leaves_no_record(tmp_path, capsys):
    given = ["rloo-why", "--miniature", "--jobs", "1", *options_of(tmp_path)]
    assert compare.main(given) == 0
    assert "16 masks" not in (shown := capsys.readouterr().out)
    assert "base: 8 masks" in shown
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["rloo-why-miniature"]
    assert not (tmp_path / "results").exists()


def test_a_miniature_is_never_recorded(tmp_path, capsys):
    given = ["rloo-why", "--miniature", "--record", *options_of(tmp_path)]
    assert compare.main(given) == 2
    assert "leave one out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
