"""Laws of `ccenv validate`: test labels fit into no tolerance."""

import json

import pytest
import torch
from stored_runs import one_run, opened

import ccenv
from ccenv.base.files import sealed
from ccenv.base.mask_words import BOTH
from ccenv.data import load_split
from ccenv.runs.replay.replay import StoredMasks, ask
from ccenv.runs.replay.verdicts import judged_numbers
from ccenv.runs.stats.measures import evaluation
from ccenv.runs.store import masks_file

BLOCKS = (64, 64)
SETTINGS = {
    "dataset": "synthetic",
    "num_blocks": BLOCKS,
    "block_size": 1,
    "weights": "cotrain",
    "images": 256,
    "batch_size": 64,
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Short runs of a policy of coins and of one that gives gate values."""
    place = tmp_path_factory.mktemp("forgeries")
    for agent in ("reinforce", "noisy_topk"):
        ccenv.train(agent, log_dir=str(place), learning_rate=0.01, **SETTINGS)
    return place


def replay(rebuilt, masks, values=None):
    """What masks do on the test inputs."""
    policy = StoredMasks(rebuilt.agent, masks, values)
    return judged_numbers(rebuilt, ask(rebuilt, True, policy=policy))


def claim(place, rebuilt, greedy, masks, values=None):
    """Writes what masks do into a result as a forger would, who makes its checksum anew."""
    found = replay(rebuilt, masks, values)
    content = json.loads((place / "result.json").read_text())
    verdict = evaluation(content, greedy)
    verdict |= found
    (place / "result.json").write_text(json.dumps(sealed(content)))


def stored_masks(place):
    return {kind: masks_file.load_masks(place, kind, BLOCKS, 500) for kind in BOTH}


def with_labels(rebuilt, masks, most):
    """Masks with at most so many other bits, each of which makes a wrong answer right."""
    images, labels = load_split("synthetic", "test").batch(torch.arange(500))
    forged, changed = [mask.clone() for mask in masks], torch.zeros(500, dtype=torch.bool)
    for block in range(BLOCKS[1]):
        tried = [forged[0], forged[1].clone()]
        tried[1][:, block] ^= True
        right = [
            rebuilt.network(images, given, backend="reference").argmax(dim=1) == labels
            for given in (forged, tried)
        ]
        better = (~right[0] & right[1] & ~changed).nonzero().flatten()
        better = better[: most - int(changed.sum())]
        forged[1][better, block] ^= True
        changed[better] = True
    return forged, int(changed.sum())


def test_test_labels_do_not_fit_into_the_bits_that_rounding_may_flip(mine, rows):
    place = one_run(mine, seed=0)
    rebuilt, masks = opened(place), stored_masks(place)
    honest = replay(rebuilt, masks[False])
    masks[False], changed = with_labels(rebuilt, masks[False], 500 * 128 // 1000)
    forged = replay(rebuilt, masks[False])
    assert changed > 30
    assert forged["error"] < honest["error"] - 0.05
    masks_file.save_masks(place, masks)
    claim(place, rebuilt, False, masks[False])
    (row, other), status = rows(place)
    assert status == 1
    assert not row["valid"]
    assert any("other bits" in text for text in row["problems"])
    assert any("by the masks that the policy gives here: error" in t for t in row["problems"])
    assert row["found"]["error"] == pytest.approx(honest["error"])
    assert not any("bits" in text for text in other["problems"])


def test_an_error_may_differ_by_two_inputs_that_rounding_flips_and_by_no_more(mine, rows):
    place = one_run(mine, seed=0)
    for by, stands in ((2, True), (1, False)):
        content = json.loads((place / "result.json").read_text())
        content["evaluations"][1]["error"] -= by / 500
        (place / "result.json").write_text(json.dumps(sealed(content)))
        (_, row), status = rows(place)
        assert row["valid"] is stands
        assert status == int(not stands)
    assert any(text.startswith("error: claimed") for text in row["problems"])


def test_gate_values_may_differ_by_rounding_alone(mine, rows):
    place = one_run(mine, "noisy_topk", seed=0)
    rebuilt, masks = opened(place), stored_masks(place)
    values = {kind: masks_file.load_gate_values(place, kind, BLOCKS, 500) for kind in BOTH}
    honest = replay(rebuilt, masks[True], values[True])
    row, block = values[True][1].nonzero()[:30].T
    values[True][1][row, block] = 1e-30
    masks_file.save_masks(place, masks, values)
    claim(place, rebuilt, True, masks[True], values[True])
    (_, found), status = rows(place)
    assert status == 1
    assert any("% other gate values" in text for text in found["problems"])
    assert found["found"]["nll"] == pytest.approx(honest["nll"])
