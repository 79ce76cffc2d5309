"""Stopping when sure: shares hold on validation, the ends are the two networks, nothing is paid."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ccenv
from ccenv.agents.reference_policies import Dense
from ccenv.annexes.agents.confidence import MEASURES, Confidence, doubt_threshold
from ccenv.networks.core.protocol import dense_forward
from tests.ccenv.episodes import seeded

LEARNING = {
    "dataset": "digits",
    "weights": "cotrain",
    "weights_kwargs": {"learning_rate": 0.01},
}
NETWORKS = {
    "cascade": {"first": [6], "then": [12]},
    "early_exit": {"units": [8, 8, 8]},
}


def make(name="cascade", seed=0, **settings_given):
    network = {"network": name, "network_kwargs": NETWORKS[name]}
    return seeded(seed=seed, **LEARNING | network | settings_given)


@pytest.fixture(scope="module")
def trained():
    simulators = {name: make(name) for name in NETWORKS}
    for simulator in simulators.values():
        Dense(simulator).learn(32 * 40)
    return simulators


def judged(simulator, split="validation", **own):
    agent = Confidence(simulator, **own)
    return ccenv.evaluate(simulator, agent, split=split, batch_size=97)


def test_in_training_everything_is_kept():
    simulator = make()
    agent, heard = Confidence(simulator, stop_shares=1.0), []
    agent.learn(64, lambda _, scalars: heard.append(scalars["episode/compute_cost"]))
    assert heard == [1.0, 1.0]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_share_of_none_is_the_whole_network_and_of_all_the_first_exit(name, trained):
    simulator = trained[name]
    test = simulator.on_split("test", 100)
    images, labels = test.data.batch(torch.arange(len(test.data)))
    none, every = (judged(simulator, "test", stop_shares=share) for share in (0.0, 1.0))
    assert none.macs == simulator.dense_macs
    with torch.no_grad():
        whole = dense_forward(simulator.network, images)
        first = simulator.network.start(images)
    assert none.error == pytest.approx((whole.argmax(1) != labels).double().mean().item())
    assert every.error == pytest.approx((first.early.argmax(1) != labels).double().mean().item())
    assert every.macs == simulator.network.start_macs
    assert none.policy_cost == every.policy_cost == 0


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("shares", [(0.1, 0.1), (0.5, 0.0), (0.93, 0.93)])
def test_on_validation_the_share_that_stops_is_the_one_asked_for_at_each_exit(
    shares, measure, trained
):
    for name, simulator in trained.items():
        own = shares[: simulator.num_layers]
        found = judged(simulator, stop_shares=own, measure=measure)
        going = found.num_images
        for share, mask in zip(own, found.masks, strict=True):
            expected = going - round(share * going)
            assert abs(int(mask.sum()) - expected) <= 1, name
            going = int(mask.sum())


def test_thresholds_follow_a_network_that_learns_and_only_validation_inputs(trained):
    simulator = make()
    agent = Confidence(simulator, stop_shares=0.5)
    first = agent.parameters()["thresholds"]
    agent.learn(320)
    second = agent.parameters()["thresholds"]
    assert not torch.equal(first, second)
    ccenv.evaluate(simulator, agent, split="test")
    assert torch.equal(agent.parameters()["thresholds"], second)
    fresh = Confidence(simulator, stop_shares=0.5)
    assert torch.equal(fresh.parameters()["thresholds"], second)


def test_a_budget_or_price_before_the_look_changes_nothing_of_its_doubts(trained):
    weights = trained["cascade"].network.state_dict()
    found = []
    for context in (None, {"cost_weight": (0.1, 0.2)}):
        simulator = make(**({"context": context} if context else {}))
        simulator.network.load_state_dict(weights)
        found.append(judged(simulator, stop_shares=0.5))
    assert torch.equal(found[0].masks[0], found[1].masks[0])


def test_without_exits_it_keeps_everything():
    simulator = seeded(8, **LEARNING)
    assert judged(simulator, stop_shares=0.9).compute_cost == 1


@given(
    doubts=st.lists(st.floats(0, 2), min_size=1, max_size=40, unique=True), share=st.floats(0, 1)
)
def test_a_threshold_parts_different_doubts_by_the_share(doubts, share):
    values = torch.tensor(doubts, dtype=torch.float64)
    stopped = int((values <= doubt_threshold(values, share)).sum())
    assert stopped == round(share * len(doubts))


@pytest.mark.parametrize(
    ("measure", "doubt"),
    [("margin", 1 - (0.7 - 0.2)), ("probability", 1 - 0.7), ("entropy", 0.8018185525433373)],
)
def test_doubt_is_what_its_measure_says_of_known_probabilities(measure, doubt, trained):
    seen = torch.zeros(1, 12)
    seen[0, :3] = torch.tensor([0.1, 0.7, 0.2])
    # Behind the probabilities of ten classes stands what else an exit shows.
    seen[0, 10:] = 5.0
    agent = Confidence(trained["cascade"], measure=measure)
    assert agent.doubt(seen).item() == pytest.approx(doubt, abs=1e-6)
