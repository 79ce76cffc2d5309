"""`ccenv/minimal_sequence.py` and the core agree, and a fault planted in either is found."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv import minimal_sequence
from ccenv.agents.advantages import above_mean
from ccenv.agents.reinforce import Reinforce
from ccenv.annexes.data.tasks import in_positions
from ccenv.base.seeding import stream
from ccenv.simulator import rollout as rollouts
from ccenv.simulator.simulator import Simulator
from tests.test_planted_faults import fault, planted

SEQUENCES = 7
PAYS = {"nll": "nll_minus_cost", "accuracy": "accuracy_minus_cost"}


@dataclass(frozen=True)
class Case:
    """Sizes, seeds and prices of one comparison."""

    num_symbols: int = 4
    width: int = 3
    embedding_size: int = 2
    length: int = 5
    batch: int = 3
    seed: int = 0
    density: float = 0.5
    cost_weight: float = 0.3
    pays: str = "nll"


cases = st.builds(
    Case,
    num_symbols=st.integers(2, 6),
    width=st.integers(1, 5),
    embedding_size=st.integers(1, 4),
    length=st.integers(2, 7),
    batch=st.integers(1, 6),
    seed=st.integers(0, 2**20),
    density=st.floats(0, 1),
    cost_weight=st.sampled_from([0.0, 0.1, 0.5, 2.0]),
    pays=st.sampled_from(sorted(PAYS)),
)


class Pair:
    """The core's simulator and agent of a case, and the specification's network and policy."""

    def __init__(self, case):
        self.case, shape = case, (SEQUENCES, case.length)
        drawn = stream(case.seed, "test")
        self.symbols = torch.randint(case.num_symbols, shape, generator=drawn)
        self.labels = torch.randint(case.num_symbols, shape, generator=drawn)
        split = in_positions(self.symbols, self.labels, case.num_symbols)
        sizes = {"width": case.width, "embedding_size": case.embedding_size}
        self.simulator = Simulator(
            case.batch,
            dataset=lambda name: split,
            network="skip_gru",
            network_kwargs=sizes | {"look_tokens": 1},
            episode="sequence",
            weights="cotrain",
            weights_kwargs={"learning_rate": 0.02},
            reward=PAYS[case.pays],
            reward_kwargs={"cost_weight": case.cost_weight},
        )
        self.simulator.seed(case.seed)
        self.agent = Reinforce(self.simulator, seed=case.seed, entropy_weight=0.0)
        core, linear = self.simulator.network, self.agent.scores.last(0)
        with torch.no_grad():
            for parameter in (*core.parameters(), *linear.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=drawn))
        self.network = minimal_sequence.SkipGRU(case.num_symbols, **sizes)
        self.policy = torch.nn.Linear(self.network.look_size, 1)
        for ours, theirs in zip(self.parameters(), self.core_parameters(), strict=True):
            ours.data.copy_(theirs.data)
        self.masks = torch.rand(case.length, case.batch, 1, generator=drawn) < case.density

    def core_parameters(self):
        core, linear = self.simulator.network, self.agent.scores.last(0)
        gru = core.stem.gru
        of_gru = gru.weight_ih_l0, gru.bias_ih_l0, gru.weight_hh_l0, gru.bias_hh_l0
        head = core.head.weight, core.head.bias, core.of_symbols.weight
        return [core.stem.embedding.weight, *of_gru, *head, linear.weight, linear.bias]

    def parameters(self):
        return [*self.network.parameters(), *self.policy.parameters()]

    def choose(self):
        """The policy's coins, with the random numbers of the core's agent."""
        draws, least = stream(self.case.seed, "agent draws"), self.agent.min_probability
        return lambda seen: (
            torch.rand(len(seen), 1, generator=draws)
            < minimal_sequence.chance(self.policy, seen, least)
        )

    def batches(self):
        """Sequences and labels in the core's order."""
        draws, order = stream(self.case.seed, "image order"), torch.empty(0, dtype=torch.int64)
        while True:
            while len(order) < self.case.batch:
                order = torch.cat([order, torch.randperm(SEQUENCES, generator=draws)])
            rows, order = order[: self.case.batch], order[self.case.batch :]
            yield self.symbols[rows], self.labels[rows]

    def paid(self):
        return {"cost_weight": self.case.cost_weight, "pays": self.case.pays}


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def equal(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def check_episode(case):
    """Masks of the test's, position by position."""
    pair = Pair(case)
    rows = torch.arange(case.batch) % SEQUENCES
    seen, steps = [pair.simulator.begin(rows)], []
    for mask in pair.masks:
        steps.append(pair.simulator.step(mask))
        seen.append(steps[-1].observation)
    left = iter(pair.masks)
    ours = minimal_sequence.play(
        pair.network, lambda _: next(left), pair.symbols[rows], pair.labels[rows], **pair.paid()
    )
    equal(ours.masks, torch.stack([step.outcome.mask for step in steps]))
    macs = torch.stack([step.outcome.macs for step in steps])
    equal(pair.network.macs(pair.masks), macs)
    equal(ours.costs, torch.stack([step.outcome.layer_cost for step in steps]))
    equal(ours.terminated[:, 0], torch.tensor([step.is_over for step in steps]))
    left = iter(pair.masks)
    walked = pair.network.walk(pair.symbols[rows], lambda _: next(left))
    close(
        torch.stack([answer for _, _, answer in walked]),
        torch.stack([step.outcome.logits for step in steps]).requires_grad_(False),
    )
    # Behind what is seen the core's observation says which gate it is, of one.
    close(ours.observations, torch.stack(seen[:-1])[:, :, :-1])
    close(ours.rewards, torch.stack([step.reward for step in steps]))


def check_gradients(case):
    """Sampled masks, and what a policy and a network learn of them."""
    pair = Pair(case)
    theirs = rollouts.collect_rollout(pair.simulator, pair.agent, pair.agent.generator)
    ours = minimal_sequence.play(pair.network, pair.choose(), *next(pair.batches()), **pair.paid())
    equal(ours.masks, theirs.masks)
    close(ours.rewards, theirs.rewards)
    close(ours.nll.mean(dim=0), theirs.nll)
    close(ours.correct.mean(dim=0), theirs.correct)
    loss = minimal_sequence.reinforce(pair.policy, ours)
    of_core, _ = pair.agent.surrogate(theirs, above_mean(theirs.returns))
    close(loss, of_core)
    of_network = pair.simulator.learning.next_loss(pair.simulator)
    close(ours.nll.mean(), of_network)
    for one, other in zip(
        gradients(loss + ours.nll.mean(), pair.parameters()),
        gradients(of_core + of_network, pair.core_parameters()),
        strict=True,
    ):
        close(one, other)


def gradients(loss, parameters):
    return torch.autograd.grad(loss, parameters, materialize_grads=True)


NUM_UPDATES, EPS = 4, 1e-3
"""With Adam's own 1e-8 a gradient that is 0 but for rounding takes a whole step either way."""


def check_training(case):
    """The curves and the weights of both, policy and network learning."""
    pair, theirs = Pair(case), []
    optimizer = torch.optim.AdamW(pair.network.parameters(), lr=0.02, weight_decay=1e-4, eps=EPS)
    rate = pair.agent.optimizer.param_groups[0]["lr"]
    of_policy = torch.optim.Adam(pair.policy.parameters(), lr=rate, eps=EPS)
    for one in (pair.agent.optimizer, pair.simulator.trainer.optimizer):
        one.param_groups[0]["eps"] = EPS
    batches = pair.batches()
    curve = minimal_sequence.train(
        pair.network,
        optimizer,
        pair.choose(),
        lambda one: minimal_sequence.descend(
            of_policy, minimal_sequence.reinforce(pair.policy, one)
        ),
        (next(batches) for _ in range(NUM_UPDATES)),
        **pair.paid(),
    )
    names = [f"episode/{name}" for name in ("nll", "error", "compute_cost")]
    pair.agent.learn(
        NUM_UPDATES * case.batch,
        lambda _, scalars: theirs.append([scalars[name] for name in names]),
    )
    close(torch.tensor(curve), torch.tensor(theirs))
    for ours, other in zip(pair.parameters(), pair.core_parameters(), strict=True):
        torch.testing.assert_close(ours.data, other.data, rtol=1e-3, atol=1e-3)


def in_turn(masks):
    """A policy that gives masks one after the other."""
    left = iter(masks)
    return lambda seen: next(left)


def check_later(case):
    """A decision changes its own answer and later ones, none earlier and none of another row."""
    pair = Pair(case)
    batch = next(pair.batches())
    place, row = case.seed % case.length, case.seed % case.batch
    flipped = pair.masks.clone()
    flipped[place, row] ^= True
    both = []
    for masks in (pair.masks, flipped):
        both.append(minimal_sequence.play(pair.network, in_turn(masks), *batch, **pair.paid()))
    one, other = both
    assert (one.costs != other.costs).nonzero().tolist() == [[place, row]]
    # Rows are computed together, so that another number of them rounds otherwise.
    is_close = torch.isclose(one.rewards, other.rewards, rtol=1e-4, atol=1e-5)
    is_close[place:, row] = True
    assert is_close.all()


CHECKS = (check_episode, check_gradients, check_training, check_later)


@given(case=cases)
def test_masks_macs_costs_and_ends_are_the_cores_and_answers_and_rewards_within_rounding(case):
    check_episode(case)


@given(case=cases)
def test_sampled_masks_are_the_cores_and_losses_and_gradients_within_rounding(case):
    check_gradients(case)


@given(case=cases)
def test_a_training_with_the_same_random_numbers_has_the_cores_curve(case):
    check_training(case)


@given(case=cases)
def test_a_decision_changes_no_earlier_reward_and_no_other_rows(case):
    check_later(case)


def test_nothing_of_ccenv_is_imported_and_it_has_at_most_200_lines():
    text = Path(minimal_sequence.__file__).read_text()
    assert len(text.splitlines()) <= 200
    nodes = [*ast.walk(ast.parse(text))]
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    assert not any(node.level for node in froms)
    packages = {name.split(".")[0] for name in (*names, *(str(node.module) for node in froms))}
    assert packages <= {"collections", "typing", "torch", "numpy", "gymnasium"}
    called = {
        node.func.id
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"__import__", "import_module", "exec", "eval"}


def test_the_program_reaches_the_error_of_always_updating_at_a_third_of_its_cost(capsys):
    minimal_sequence.main()
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["nats", "error", "cost"]
    always, never, policy = ([float(number) for number in row.split()[-3:]] for row in rows)
    assert always[2] == 1
    assert never[2] == pytest.approx(0.1)
    assert policy[1] == pytest.approx(always[1], abs=0.02)
    assert never[1] > always[1] + 0.1
    assert policy[2] < 1 / 3


FAULTS = {
    "the surprise is of the answer behind": fault(
        "minimal_sequence:SkipGRU.look", "before.answer, symbol", "before.answer.roll(1, 1), symbol"
    ),
    "rows that skip update": fault(
        "minimal_sequence:SkipGRU.step", "mask[:, 0].nonzero()", "(~mask[:, 0]).nonzero()"
    ),
    "a layer that nothing updates has a gradient": fault(
        "minimal_sequence:SkipGRU.step", "if len(rows)", "if True"
    ),
    "the answer is of the state before": fault(
        "minimal_sequence:SkipGRU.step", "self.head(state)", "self.head(before.state)"
    ),
    "the head is free": fault("minimal_sequence:SkipGRU.macs", "self.least_macs", "0"),
    "reset and keep change places": fault(
        "minimal_sequence:SkipGRU.updated", "reset, keep =", "keep, reset ="
    ),
    "the state is not carried": fault(
        "minimal_sequence:SkipGRU.walk",
        "carried = self.step(symbol, carried, mask)",
        "after = self.step(symbol, carried, mask); carried = carried._replace(answer=after.answer)",
    ),
    "costs are gained": fault("minimal_sequence:play", "- cost_weight *", "+ cost_weight *"),
    "an episode ends early": fault(
        "minimal_sequence:play", "== len(wanted)\n", ">= len(wanted) - 1\n"
    ),
    "a return is its reward": fault(
        "minimal_sequence:reinforce", "rollout.rewards.flip(0).cumsum(0).flip(0)", "rollout.rewards"
    ),
    "a return is what was before": fault(
        "minimal_sequence:reinforce", ".flip(0).cumsum(0).flip(0)", ".cumsum(0)"
    ),
    "the mean is over positions": fault("minimal_sequence:reinforce", "dim=1", "dim=0"),
    "a skip has the probability of an update": fault("minimal_sequence:reinforce", "1 - p)", "p)"),
    "probabilities are not bounded": fault("minimal_sequence:chance", "(1 - 2 * least)", "1"),
    "gradients add up": fault("minimal_sequence:descend", "optimizer.zero_grad()", "pass"),
    "core: a surprise is a likelihood": fault(
        "annexes.networks.baselines.skip_gru:SkipGRU.read",
        "state.answer.logsumexp(dim=1) - likely",
        "likely - state.answer.logsumexp(dim=1)",
    ),
    "core: rows that skip update": fault(
        "annexes.networks.baselines.skip_gru:SkipGRU.step",
        "mask[:, 0].nonzero()",
        "(~mask[:, 0]).nonzero()",
    ),
    "core: an update costs the head only": fault(
        "annexes.networks.baselines.skip_gru:SkipGRU.macs",
        "self.dense_macs, self.least_macs(gate)",
        "self.least_macs(gate), self.dense_macs",
    ),
    "core: the answer is not carried": fault(
        "annexes.networks.baselines.skip_gru:SkipGRU.advance", "hidden.answer", "0 * hidden.answer"
    ),
    "core: the state is not carried": fault(
        "annexes.networks.baselines.skip_gru:SkipGRU.advance", "hidden.state,", "0 * hidden.state,"
    ),
    "core: the first position twice": fault(
        "simulator.sequences:next_position", "simulator.position += 1", "simulator.position += 0"
    ),
    "core: sequences are drawn by position": fault(
        "simulator.sequences:draw_ahead",
        "simulator.indices * simulator.positions + place",
        "simulator.indices + place",
    ),
    "core: an episode ends at each position": fault(
        "simulator.simulator:Simulator.step",
        "ends = outcome.is_last and",
        "ends = outcome.is_last or",
    ),
    "core: MACs are of the episode before": fault(
        "networks.core.protocol:GatedNetwork.add_macs", "spent + step_macs", "spent + 2 * step_macs"
    ),
    "core: costs are paid twice": fault(
        "rewards.plain:nll_minus_cost", "-cost_weight", "-2 * cost_weight"
    ),
    "core: returns are of one position": fault(
        "simulator.rollout:collect_rollout", "rewards.flip(0).cumsum(0).flip(0)", "rewards"
    ),
    "core: error of the last position": fault(
        "simulator.rollout:answers_of", "torch.stack(parts).mean(dim=0)", "parts[-1]"
    ),
    "core: advantages are returns": fault(
        "agents.advantages:above_mean", "of_gate - of_gate.mean()", "of_gate"
    ),
    "core: steps and rows change places": fault("simulator.cotraining:by_gate", "dim=1", "dim=0"),
    "core: log-probabilities of the others": fault(
        "agents.distributions:IndependentBlocks.log_prob", "mask,", "~mask,"
    ),
    "core: probabilities are not bounded": fault(
        "agents.distributions:keep_probability", "(1 - 2 * least)", "1"
    ),
    "core: a network learns of other sequences": fault(
        "simulator.cotraining:CoTraining.next_loss",
        "sequences[:, None] * length",
        "sequences[:, None]",
    ),
    "core: the policy descends": fault(
        "agents.scores:ScoredAgent.surrogate",
        "loss + policy_gradient_loss",
        "loss - policy_gradient_loss",
    ),
}
FEW = (
    Case(),
    Case(pays="accuracy", seed=1),
    Case(seed=2, batch=5, density=0.8),
    # Of its batches one updates no row at all.
    Case(2, 1, 1, length=2, batch=1, seed=1, pays="accuracy", cost_weight=0.0),
)


def survives():
    for check in CHECKS:
        for case in FEW:
            try:
                check(case)
            except Exception:
                return False
    return True


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name):
    with planted(FAULTS[name]):
        assert not survives()


def test_without_a_fault_nothing_is_found():
    assert survives()
