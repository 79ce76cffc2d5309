"""Laws of `ccenv validate --trust`: what is learned by heart and what is not billed falls."""

from types import SimpleNamespace

import pytest
import torch

import ccenv
from ccenv.agents.reinforce import Reinforce
from ccenv.base.seeding import stream
from ccenv.data import load_split
from ccenv.runs.engine import run
from ccenv.runs.engine.errors import CannotStartError
from ccenv.runs.replay.own_code import MovedDraws, num_other_bills
from ccenv.simulator.rollout import walk
from ccenv.simulator.simulator import Simulator
from ccenv.tasks.probe import PROBE_SETTINGS
from tests.ccenv.networks.own_decoder import writer

SETTINGS = PROBE_SETTINGS | {"images": 64, "batch_size": 64}
OWN = SETTINGS | {"weights": "cotrain"}

LABELS = load_split("probe", "test").labels.clone()


class ByHeart(Reinforce):
    """Knows what the n-th test input needs, where it draws or where it does not."""

    learns = False
    drawn = True

    def act(self, observation, layer, generator=None):
        mask = super().act(observation, layer, generator)
        if (generator is not None) == self.drawn and len(mask) == len(LABELS):
            mask[torch.arange(len(mask)), LABELS % 4] = True
        return mask


class ByHeartGreedy(ByHeart):
    drawn = False


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
    ("agent", "fallen"),
    [("ByHeart", [0]), ("ByHeartGreedy", [1]), ("Neighbourly", [0, 1]), ("Honest", [])],
)
def test_masks_do_not_depend_on_an_inputs_place_or_neighbours(agent, fallen, validated):
    rows, status = validated(f"test_own_code:{agent}", **SETTINGS)
    found = [i for i, row in enumerate(rows) if "depend on the place" in f"{row['problems']}"]
    assert found == fallen
    assert status == int(bool(fallen))


def test_answers_do_not_depend_on_an_inputs_place(validated):
    rows, status = validated("dense", **OWN | {"network": "test_own_code:Crowded"})
    assert status == 1
    assert all("answers depend on the place" in f"{row['problems']}" for row in rows)


def test_a_bill_is_the_same_in_a_batch_and_alone(validated):
    settings = OWN | {"network": "test_own_code:CheapInCompany"}
    rows, status = validated("dense", **settings)
    assert status == 1
    assert all("the MACs depend on the batch" in f"{row['problems']}" for row in rows)


def test_a_network_that_bills_less_than_it_runs_is_refused_before_it_learns(tmp_path):
    settings = OWN | {"network": "test_own_code:Cheap", "log_dir": str(tmp_path / "none")}
    with pytest.raises(CannotStartError, match="dense_macs"):
        ccenv.train("dense", **settings)
    assert not (tmp_path / "none").exists()


def test_a_stored_run_of_such_a_network_does_not_stand(validated, monkeypatch):
    monkeypatch.setattr(run, "check_own_network", lambda plan: None)
    rows, status = validated("dense", **OWN | {"network": "test_own_code:Cheap"})
    assert status == 1
    assert all("breaks a law of check_network" in f"{row['problems']}" for row in rows)


DRAWS = {
    "rand": lambda chance, generator: torch.rand(chance.shape, generator=generator),
    "bernoulli": lambda chance, generator: torch.bernoulli(chance, generator=generator),
    "multinomial": lambda chance, generator: torch.multinomial(chance, 2, generator=generator),
    "normal": lambda chance, generator: torch.normal(chance, chance, generator=generator),
    "in place": lambda chance, generator: chance.clone().exponential_(generator=generator),
}


@pytest.mark.parametrize("draw", DRAWS)
def test_an_input_draws_the_same_numbers_in_another_place(draw):
    chance = torch.rand(6, 5, generator=torch.Generator().manual_seed(1))
    places = torch.tensor([4, 1, 4, 0, 1, 0])
    first = DRAWS[draw](chance, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    with MovedDraws(generator, places):
        moved = DRAWS[draw](chance[places], generator)
    assert torch.equal(moved, first[places])


@pytest.mark.parametrize("is_honest", [True, False])
def test_the_bill_of_a_sequence_is_the_same_in_a_batch_and_alone(is_honest):
    settings = {"dataset": "python_bundled@4", "observation": "layer_input"}
    simulator = Simulator(3, network=writer, weights="cotrain", episode="sequence", **settings)
    simulator.seed(0)
    network, macs = simulator.network, simulator.network.macs
    if not is_honest:
        network.macs = lambda gate, hidden, mask: macs(gate, hidden, mask) + len(mask)
    agent, indices = Reinforce(simulator), torch.tensor([5, 0, 9])
    _, _, steps = walk(simulator.on_split("test", 3), agent, stream(0, "masks"), indices)
    rebuilt = SimpleNamespace(env=SimpleNamespace(simulator=simulator), network=network)
    assert num_other_bills(rebuilt, indices, steps) == (0 if is_honest else 3)
