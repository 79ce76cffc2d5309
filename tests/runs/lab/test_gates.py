"""Laws of `lab gates`: figures are a plain walk's, prefixes shared or not, and kept."""

import json

import pytest
import torch
from torch import nn

import ccenv
from ccenv.annexes.networks.pretrained.smollm import LlamaSizes, smollm2
from ccenv.base.files import check_seal
from ccenv.data import Split, load_split
from ccenv.networks.core.check import bill_of
from ccenv.networks.core.protocol import dense_forward, forward, num_blocks_of, through
from ccenv.networks.vision.early_exit import early_exit
from ccenv.networks.vision.residual import resnet
from ccenv.runs.lab import tables
from ccenv.runs.lab.__main__ import main
from ccenv.runs.lab.gates import chosen_inputs, without_gates

SMALL = LlamaSizes(vocabulary=11, width=16, num_layers=2, num_heads=4, num_kv_heads=2, hidden=12)


def digits_network():
    torch.manual_seed(0)
    return resnet((1, 8, 8), 10, depth=8, width=4).eval()


def with_exits():
    torch.manual_seed(0)
    return early_exit((1, 8, 8), 10, units=(8, 6, 5)).eval()


def mlp():
    torch.manual_seed(0)
    return ccenv.GatedMLP(64, num_blocks=(4, 3), block_size=4).eval()


@pytest.mark.parametrize("build", [digits_network, with_exits, mlp])
def test_each_row_is_a_plain_walk_under_its_masks_with_its_bill(build):
    network, split = build(), load_split("digits", "test")
    indices = chosen_inputs(split, 30)
    rows = without_gates(network, split, indices, batch_size=7)
    images, labels = split.batch(indices)
    for row in rows:
        if row["kept"] == "random half":
            continue
        masks = [torch.full((30, n), row["kept"] != "nothing") for n in num_blocks_of(network)]
        if row["gate"] is not None:
            masks[row["gate"]][:] = False
        with torch.no_grad():
            logits = forward(network, images, masks)
        nll = nn.functional.cross_entropy(logits, labels)
        assert row["nll"] == pytest.approx(nll.item(), rel=1e-4)
        assert row["nll_more"] == pytest.approx(row["nll"] - rows[0]["nll"], abs=1e-6)
        assert row["error"] == pytest.approx(float((logits.argmax(1) != labels).float().mean()))
        bill = sum(bill_of(network, images, masks)).double().mean() / network.dense_macs
        assert row["compute_cost"] == pytest.approx(float(bill))
    assert rows[0]["compute_cost"] == pytest.approx(1)
    assert rows[0]["nll_more_error"] == pytest.approx(0, abs=1e-6)


def test_the_random_half_is_the_same_whatever_the_batch_and_another_for_another_seed():
    network, split = digits_network(), load_split("digits", "test")
    indices = chosen_inputs(split, 20)
    first, same, other = (
        without_gates(network, split, indices, batch_size=size, seed=seed)[-2]
        for size, seed in ((20, 0), (6, 0), (20, 1))
    )
    assert first["kept"] == "random half"
    assert first["compute_cost"] == pytest.approx(same["compute_cost"], rel=1e-12)
    assert first["nll"] == pytest.approx(same["nll"], rel=1e-5)
    assert first["compute_cost"] != other["compute_cost"]


def test_a_text_is_judged_at_every_token():
    torch.manual_seed(0)
    network = smollm2((5,), SMALL.vocabulary, weights="random", sizes=SMALL)
    tokens = torch.randint(0, SMALL.vocabulary, (3, 6), generator=torch.Generator().manual_seed(0))
    split = Split(tokens[:, :-1], tokens[:, -1], SMALL.vocabulary)
    rows = without_gates(network, split, torch.arange(3), batch_size=2)
    for row, skipped in ((0, None), (2, 1)):
        masks = [torch.full((3, 1), gate != skipped) for gate in range(len(network.gates))]
        hidden = through(network, tokens[:, :-1], lambda gate, _, masks=masks: masks[gate])
        logits = network.logits_everywhere(hidden).transpose(1, 2)
        nll = nn.functional.cross_entropy(logits, tokens[:, 1:])
        assert rows[row]["nll"] == pytest.approx(nll.item(), rel=1e-5)
    hidden = network.start(tokens)
    for gate in range(len(network.gates)):
        hidden = network.step(gate, hidden, None)
    last = network.logits_everywhere(hidden)[:, -1]
    torch.testing.assert_close(last, dense_forward(network, tokens))


def test_the_program_shows_and_records(tmp_path, capsys):
    words = ["network=probe-residual", "dataset=probe", "--images", "40"]
    place = ["--name", "gates-tiny", "--results-dir", str(tmp_path)]
    assert main(["gates", *words, "--record", *place]) == 0
    assert "without unit0" in capsys.readouterr().out
    out = tmp_path / "gates-tiny.json"
    recorded = check_seal(json.loads(out.read_text()), str(out))
    assert recorded["settings"] == {"network": "probe-residual", "dataset": "probe"}
    assert recorded["images"] == 40
    page = tmp_path / "page.md"
    page.write_text("<!-- table: gates-tiny -->\n<!-- end -->\n")
    assert tables.main([str(page), "--results-dir", str(tmp_path)]) == 0
    assert "| random half " in page.read_text()
