"""Laws of `ccenv validate`: test labels fit into no tolerance."""

import json

import pytest
import torch
from stored_runs import one_run, opened

import ccenv
from ccenv.base.seeding import stream
from ccenv.data import load_split
from ccenv.runs.replay.replay import answers_under, ask, num_unexplained, replay
from ccenv.runs.replay.verdicts import figures
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import masks_file
from ccenv.runs.store.seal import sealed
from ccenv.simulator.rollout import walk

BLOCKS = (64, 64)
SETTINGS = {
    "dataset": "synthetic",
    "num_blocks": BLOCKS,
    "block_size": 1,
    "weights": "cotrain",
    "images": 256,
    "batch_size": 64,
}
DRAWS = ("sampled", "mode")


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Short runs of a policy of coins and of one that gives gate values."""
    place = tmp_path_factory.mktemp("forgeries")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCENV_CACHE", str(place / "cache"))
        for agent in ("reinforce", "noisy_topk"):
            ccenv.train(agent, log_dir=str(place / "logs"), learning_rate=0.01, **SETTINGS)
        yield place / "logs"


def claim(place, rebuilt, draw, masks, values=None):
    """Writes what masks do into a result as a forger would, who makes its checksum anew."""
    found, _ = figures(rebuilt, masks, values)
    content = json.loads((place / "result.json").read_text())
    (verdict,) = (e for e in content["evaluations"] if (e["split"], e["mode"]) == ("test", draw))
    verdict |= found
    (place / "result.json").write_text(json.dumps(sealed(content)))


def stored_masks(place):
    return {draw: masks_file.load_masks(place, draw, BLOCKS, 500) for draw in DRAWS}


def with_labels(rebuilt, masks, most):
    """Masks with at most so many other bits, each of which makes a wrong answer right."""
    images, labels = load_split("synthetic", "test").batch(torch.arange(500))
    forged, changed = [mask.clone() for mask in masks], torch.zeros(500, dtype=torch.bool)
    for block in range(BLOCKS[1]):
        tried = [forged[0], forged[1].clone()]
        tried[1][:, block] ^= True
        right = [
            answers_under(rebuilt.network, images, labels, given)[0][:, 0].argmax(dim=1) == labels
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
    honest = replay(rebuilt, masks["sampled"])
    masks["sampled"], changed = with_labels(rebuilt, masks["sampled"], 500 * 128 // 1000)
    forged = replay(rebuilt, masks["sampled"])
    assert changed > 30
    assert forged.error < honest.error - 0.05
    masks_file.save_masks(place, masks)
    claim(place, rebuilt, "sampled", masks["sampled"])
    (row, other), status = rows(place)
    assert status == 1
    assert not row["valid"]
    assert any("other bits" in text for text in row["problems"])
    assert any("by the masks that the policy gives here: error" in t for t in row["problems"])
    assert row["found"]["error"] == pytest.approx(honest.error)
    assert not any("bits" in text for text in other["problems"])


def test_an_error_may_differ_by_the_inputs_whose_classes_tie_and_by_no_more(mine, rows):
    place = one_run(mine, seed=0)
    found = replay(opened(place), stored_masks(place)["mode"])
    assert found.num_ties < 5
    content = json.loads((place / "result.json").read_text())
    content["evaluations"][1]["error"] -= (found.num_ties + 1) / 500
    (place / "result.json").write_text(json.dumps(sealed(content)))
    (_, row), status = rows(place)
    assert status == 1
    assert any(text.startswith("error: claimed") for text in row["problems"])


def test_one_bit_that_no_rounding_flips_does_not_stand(mine, rows):
    place = one_run(mine, seed=0)
    rebuilt, masks = opened(place), stored_masks(place)
    masks["mode"], changed = with_labels(rebuilt, masks["mode"], 1)
    assert changed == 1
    masks_file.save_masks(place, masks)
    claim(place, rebuilt, "mode", masks["mode"])
    (_, row), status = rows(place)
    assert status == 1
    assert any("chooses 1 other bits or gate values that no rounding" in t for t in row["problems"])


def at_its_draw(rebuilt, image, block):
    """Sets a bias so that the last gate's probability of a bit is what the evaluation draws."""
    simulator = rebuilt.env.simulator.on_split("test", 500)
    generator = stream(rebuilt.plan.program.seed, "evaluation masks")
    seen, _, _ = walk(simulator, rebuilt.agent, generator, torch.arange(500))
    again = stream(rebuilt.plan.program.seed, "evaluation masks")
    drawn = [torch.rand(500, blocks, generator=again) for blocks in BLOCKS][1][image, block]
    least, scores = rebuilt.agent.min_probability, rebuilt.agent.scores
    wanted = ((drawn - least) / (1 - 2 * least)).logit()
    with torch.no_grad():
        scores.layers[1][0].bias[block] += wanted - scores(seen[1], 1)[image, block]
    rebuilt.stored[run_folder.AGENT] = {
        name: value.detach().clone() for name, value in rebuilt.agent.parameters().items()
    }


def test_a_bit_may_differ_where_its_probability_is_its_draw_and_nowhere_else(mine):
    rebuilt = opened(one_run(mine, seed=0))
    draws = torch.rand(500, 64, generator=stream(0, "evaluation masks"))
    image = int(((draws > 0.1) & (draws < 0.9))[:, 5].nonzero()[0])
    at_its_draw(rebuilt, image, 5)
    masks = [mask.clone() for mask in ask(rebuilt, "sampled").masks]
    assert num_unexplained(rebuilt, "sampled", masks) == 0
    masks[1][image, 5] ^= True
    assert num_unexplained(rebuilt, "sampled", masks) == 0
    masks[1][image, 6] ^= True
    assert num_unexplained(rebuilt, "sampled", masks) == 1
    before = {n: v.clone() for n, v in rebuilt.agent.parameters().items()}
    assert all(torch.equal(v, rebuilt.stored[run_folder.AGENT][n]) for n, v in before.items())


@pytest.mark.parametrize(
    ("count", "problem"), [(30, "% other gate values"), (5, "chooses 5 other")]
)
def test_gate_values_may_differ_by_rounding_alone(count, problem, mine, rows):
    place = one_run(mine, "noisy_topk", seed=0)
    rebuilt, masks = opened(place), stored_masks(place)
    values = {draw: masks_file.load_gate_values(place, draw, BLOCKS, 500) for draw in DRAWS}
    honest = replay(rebuilt, masks["mode"], gate_values=values["mode"])
    row, block = values["mode"][1].nonzero()[:count].T
    values["mode"][1][row, block] = 1e-30
    masks_file.save_masks(place, masks, values)
    claim(place, rebuilt, "mode", masks["mode"], values["mode"])
    (_, found), status = rows(place)
    assert status == 1
    assert any(problem in text for text in found["problems"])
    assert found["found"]["nll"] == pytest.approx(honest.nll)
