"""Law of files: whatever becomes of one, what is read of it is right, or refused by name."""

from ccenv.runs.engine import run
from ccenv.runs.lab.robustness.damage import BELIEVED, CRASHED, HARMLESS, NOTICED, harm_many
from ccenv.runs.lab.robustness.kinds import kinds


def test_a_damaged_file_of_any_kind_is_noticed_or_read_as_before(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "latencies", lambda plan, env, agent: [])
    bad = {}
    for name, kind in kinds(tmp_path).items():
        came, found = harm_many(kind, 25, seed=0)
        assert came[NOTICED] + came[HARMLESS] + came[BELIEVED] + came[CRASHED] == 25
        if kind.is_sealed:
            assert came[NOTICED] >= 12, name
        bad |= {f"{name}: {harm.what}": harm.error for harm in found}
    assert not bad
