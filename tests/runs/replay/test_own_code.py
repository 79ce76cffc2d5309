"""Laws of `ccenv validate --trust`: what is learned by heart and what is not billed falls."""

import pytest
import torch

import ccenv
from ccenv.agents.reinforce import Reinforce
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.data import load_split
from ccenv.runs.engine import prepare
from ccenv.runs.engine.errors import CannotStartError

SETTINGS = PROBE_SETTINGS | {"images": 64, "batch_size": 64}
OWN = SETTINGS | {"weights": "cotrain"}

LABELS = load_split("probe", "test").labels.clone()


class ByHeart(Reinforce):
    """Knows what the n-th test input needs."""

    learns = False

    def act(self, observation, layer, generator=None):
        mask = super().act(observation, layer, generator)
        if len(mask) == len(LABELS):
            mask[torch.arange(len(mask)), LABELS % 4] = True
        return mask


class Neighbourly(Reinforce):
    """Keeps each block for the quarter of the batch that shows most."""

    learns = False

    def act(self, observation, layer, generator=None):
        return observation[:, :4].argsort(dim=0).argsort(dim=0) < len(observation) // 4


class Honest(Reinforce):
    """Draws by three of torch's functions."""

    learns = False

    def act(self, observation, layer, generator=None):
        chance = self.keep_probability(observation, layer)
        if generator is None:
            return chance > 0.5
        one = torch.bernoulli(chance, generator=generator) > 0
        other = torch.empty_like(chance).exponential_(generator=generator) < 0.2
        third = torch.multinomial(chance, 1, generator=generator)
        return (one | other).scatter(1, third, True)


class Cheap(ccenv.GatedMLP):
    """Bills nothing."""

    def macs(self, gate, hidden, mask):
        return super().macs(gate, hidden, mask) // 2


class CheapInCompany(ccenv.GatedMLP):
    """Bills less in a batch that no check gives it."""

    def macs(self, gate, hidden, mask):
        found = super().macs(gate, hidden, mask)
        return found // 2 if len(mask) > 100 else found


class Crowded(ccenv.GatedMLP):
    """Answers by heart in a batch of the test inputs' size."""

    def logits(self, hidden, backend="auto"):
        found = super().logits(hidden, backend)
        if len(found) == len(LABELS):
            found = found + torch.nn.functional.one_hot(LABELS, found.shape[1])
        return found


@pytest.fixture
def validated(tmp_path, rows):
    """Trains an agent, and says what a validation of its run finds."""

    def go(agent, **settings):
        made = ccenv.train(agent, log_dir=str(tmp_path / "logs"), **settings).result
        return rows(made["folder"], "--trust", "test_own_code")

    return go


@pytest.mark.parametrize(
    ("agent", "stands"), [("ByHeart", False), ("Neighbourly", False), ("Honest", True)]
)
def test_masks_do_not_depend_on_an_inputs_place_or_neighbours(agent, stands, validated):
    rows, status = validated(f"test_own_code:{agent}", **SETTINGS)
    for row in rows:
        assert ("masks depend on the place" not in f"{row['problems']}") is stands
    assert status == int(not stands)


@pytest.mark.parametrize(("network", "number"), [("Crowded", "nll"), ("CheapInCompany", "macs")])
def test_answers_and_macs_do_not_depend_on_an_inputs_place(network, number, validated):
    rows, status = validated("dense", **OWN | {"network": f"test_own_code:{network}"})
    assert status == 1
    said = f"in batches of another size, {number}: claimed"
    assert all(said in f"{row['problems']}" for row in rows)


def test_a_network_that_bills_less_than_it_runs_is_refused_before_it_learns(tmp_path):
    settings = OWN | {"network": "test_own_code:Cheap", "log_dir": str(tmp_path / "none")}
    with pytest.raises(CannotStartError, match="dense_macs"):
        ccenv.train("dense", **settings)
    assert not (tmp_path / "none").exists()


def test_a_stored_run_of_such_a_network_does_not_stand(validated, monkeypatch):
    monkeypatch.setattr(prepare, "check_own_network", lambda plan: None)
    rows, status = validated("dense", **OWN | {"network": "test_own_code:Cheap"})
    assert status == 1
    assert all("breaks a law of check_network" in f"{row['problems']}" for row in rows)
