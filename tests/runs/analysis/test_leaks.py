"""Laws of what traces tell: a guess of labels from the blocks that were touched, and retrieval."""

import json

import pytest
import torch

from ccenv.base.seeding import stream
from ccenv.runs.analysis.leaks import leak_of
from ccenv.runs.commands import analyze, train


def test_masks_by_label_tell_it_and_coins_and_a_constant_trace_tell_nothing():
    labels = torch.arange(400) % 4
    by_label = torch.nn.functional.one_hot(labels, 4).bool()
    assert leak_of([by_label], labels).accuracy == 1
    coins = torch.rand(400, 4, generator=stream(0, "coins")) < 0.5
    assert not leak_of([coins, coins], labels).tells
    constant = leak_of([torch.ones(400, 4).bool()], labels)
    assert not constant.tells
    assert constant.num_tested == 200
    # The noisier the trace, the less it tells.
    noise = torch.rand(400, 4, generator=stream(1, "noise"))
    told = [leak_of([by_label ^ (noise < share)], labels).accuracy for share in (0.1, 0.3)]
    assert 1 > told[0] > told[1] > 0.4


@pytest.mark.parametrize("labels", [torch.arange(10) % 2, torch.arange(400)])
def test_too_few_inputs_or_too_many_classes_are_refused(labels):
    with pytest.raises(ValueError, match="at least 20 inputs of at most 256 classes"):
        leak_of([torch.ones(len(labels), 2).bool()], labels)


def test_finished_runs_are_asked_what_they_tell_and_the_wrapper_closes_it(tmp_path, capsys):
    common = ["dataset=digits", "num_blocks=8", "block_size=4", "weights=cotrain"]
    common += ["batch_size=64", "progress=false", f"log_dir={tmp_path}"]
    learned = {"topk": ["num_kept=2", "images=12800", "learning_rate=0.02"]}
    for agent in ("topk", "wta_retrieval", "block_dropout"):
        own = learned.get(agent, ["images=640"])
        assert train.main([agent, *common, *own]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert analyze.main(["leaks", str(tmp_path), "--json", "--oblivious"]) == 0
    rows = json.loads(capsys.readouterr().out)
    tells = {(row["agent"], row["draw"]): row["tells"] for row in rows}
    assert len(tells) == 3 * 4
    assert tells["topk", "sampled"]
    assert tells["wta_retrieval", "mode"]
    assert not tells["block_dropout", "sampled"]
    hidden = [row for row in rows if row["draw"].startswith("oblivious")]
    assert not any(row["tells"] for row in hidden)
    assert all(row["total_cost"] >= 0.999999 for row in hidden)
    errors = {(row["agent"], row["draw"]): row["error"] for row in rows}
    assert errors["topk", "mode"] == pytest.approx(errors["topk", "oblivious, mode"], abs=0.01)
    assert analyze.main(["leaks", str(tmp_path / "nowhere")]) == 2


def test_recall_rises_with_tables_and_probes_and_is_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(analyze, "TABLES", (1, 8))
    monkeypatch.setattr(analyze, "PROBES", (1, 4))
    words = ["network=probe", "dataset=probe", "num_blocks=4,4", "block_size=2", "activation=relu"]
    figure = tmp_path / "recall.png"
    assert analyze.main(["retrieval", *words, "--json", "--figure", str(figure)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["entries"] for row in rows[:4]] == [4, 4, 32, 32]
    assert rows[3]["recall"] >= max(rows[1]["recall"], rows[2]["recall"])
    assert min(rows[1]["recall"], rows[2]["recall"]) >= rows[0]["recall"]
    assert figure.read_bytes().startswith(b"\x89PNG")
