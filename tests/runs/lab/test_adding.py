"""Laws of the study of Skip RNN's adding task."""

import torch

from ccenv.networks.core.unrolled import sequence_logits
from ccenv.runs.lab import adding, tables
from ccenv.runs.lab.experiment import run_experiment


def test_whole_sequences_without_what_is_skipped_are_the_walk_that_skips_it():
    network = adding.taught(0, updates=1)
    windows, _ = adding.DATA("test").batch(torch.arange(3 * adding.LENGTH))
    keeps = torch.rand(3, adding.LENGTH, generator=torch.Generator().manual_seed(0)) < 0.5
    with torch.no_grad():
        found = adding.answers(network, windows[:, -1].view(3, -1), keeps)
        masks = [keeps.view(-1, 1)]
        expected = sequence_logits(network, windows, masks, adding.LENGTH)
    torch.testing.assert_close(found.flatten(0, 1), expected, rtol=1e-4, atol=1e-5)


def test_a_question_is_answered_by_what_two_marked_digits_say():
    split = adding.DATA("test")
    windows, labels = split.batch(torch.arange(4 * adding.LENGTH))
    symbols, labels = windows[:, -1].view(4, -1), labels.view(4, -1)
    marked = symbols[:, :-1] - adding.tasks.DIGITS
    assert ((marked >= 0).sum(dim=1) == 2).all()
    assert torch.equal(labels[:, -1], marked.clamp(min=0).sum(dim=1) + 1)
    assert not labels[:, :-1].any()


def test_the_study_runs_in_miniature_and_is_recorded(tmp_path, capsys):
    words = ["--updates", "2", "--rollouts", "1", "--seeds", "1", "--record"]
    words += ["--results-dir", str(tmp_path), "--report-dir", str(tmp_path)]
    assert run_experiment(adding.ADDING, "lab", words) == 0
    rows = tables.recorded.read_table(tmp_path / "adding.json")["rows"]
    assert [row["decides"] for row in rows] == ["always", "policy"]
    assert rows[0]["updates"] == [1.0] != rows[1]["updates"]
    assert "wrong answers" in capsys.readouterr().out
