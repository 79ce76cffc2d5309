"""Constrained allocation: (first look at an input) -> an offer of a menu, a budget met on average.

Zhai et al. 2026, "Adaptive test-time compute allocation for reasoning LLMs via constrained policy
optimization" (arXiv 2604.14853). First solve: what each input would gain from each offer is known
on held-out inputs, so that the best offers under a budget follow from one cost weight (`offers`).
Then learn: a classifier names the offer from cheap features. What it loses, in value less weight
times cost, is at most its share of other offers times the largest gap between two. In spite of the
title there is no gradient of a policy: it is a weight, and imitation.

Faithful to the abstract, which is all that could be read: Lagrangian relaxation, bisection, a light
classifier. Ours: the menu, which are exits where a network has some, else masks of growing density;
the value, which is the probability of the right class (right or wrong leaves few mean costs that
can be reached); softmax regression on the observation before the first gate; and a second weight,
on the classifier's own log-probabilities, so that its offers and not only the oracle's meet the
budget (below zero where the classifier alone would spend less), with a coin between the two best
offers at that weight. Left out: samples of a language model as a menu. Values come from validation
inputs, never from those that the network has learned.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.annexes.agents.calibrated import BATCH, Calibrated
from ccenv.annexes.agents.halting import exits_of
from ccenv.annexes.tasks.allocation import allocate
from ccenv.base.machine import check_fits
from ccenv.base.seeding import integers, uniform
from ccenv.base.values import positive_int
from ccenv.mdp.dynamics import EpisodeState, StepOutcome, initial, transition
from ccenv.networks.core.protocol import GatedNetwork, num_blocks_of
from ccenv.networks.core.unrolled import played
from ccenv.rewards import check_cost_limit
from ccenv.simulator.simulator import Simulator

PENALTY = 1e-3
"""Of the classifier's squared weights: there may be fewer inputs than features."""
ITERATIONS = 100
"""Of L-BFGS at most."""

PAID = 1e4
"""Beforehand for a unit of cost: more than log-probabilities differ by."""


class ConstrainedAllocation(Calibrated):
    """Takes offers at random in training; else those of its classifier at its cost weight."""

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        cost_limit: float = 0.5,
        num_offers: int = 5,
    ) -> None:
        """Writes the menu.

        Of a network with exits it is to stop at the first, second and so on, or at none; of others
        the first blocks of each gate, of gates of one block every so many.

        Args:
            cost_limit: mean compute cost of the offers that are taken, in (0, 1].
            num_offers: at least 2, of a network without exits.

        Raises:
            ValueError: if a setting is impossible.
        """
        super().__init__(env, seed=seed)
        self.exits = exits_of(self.simulator)
        check_cost_limit(cost_limit)
        positive_int(num_offers, "num_offers", least=2)
        # Learning looks at every pair of offers, in float64.
        check_fits(2 * num_offers**2, "pairs of num_offers offers", "choose fewer")
        self.cost_limit = cost_limit
        offers = exit_menu(self.num_blocks, self.exits) if self.exits else None
        self.menu = offers or density_menu(self.num_blocks, num_offers)
        self.num_offers = len(self.menu[0])
        self.size = self.simulator.observe.lengths[0]
        self.policy_macs = [self.size * self.num_offers, *[0] * (len(self.num_blocks) - 1)]
        self.learned = {
            "weight": torch.zeros(self.num_offers, self.size),
            "bias": torch.zeros(self.num_offers),
            "costs": torch.zeros(self.num_offers, dtype=torch.float64),
            # Price of cheap offers, of dear ones, and the share of inputs that take these.
            "prices": torch.zeros(3, dtype=torch.float64),
        }
        self.offers = torch.zeros(0, dtype=torch.int64)

    def calibrated(self) -> dict[str, Tensor]:
        """Values of offers, the oracle, then the classifier and its cost weight.

        Raises:
            ValueError: if the budget is below the cheapest offer.
        """
        seen, values, costs = offer_table(self.validation(), self.menu)
        oracle = allocate(values.numpy(), costs.numpy(), self.cost_limit)
        one_hot = torch.eye(self.num_offers, dtype=torch.float64)
        dear, cheap = (one_hot[torch.from_numpy(o)] for o in (oracle.dear, oracle.cheap))
        targets = torch.lerp(cheap, dear, oracle.share)
        weight, bias = fit_softmax(seen[:, : self.size].double(), targets)
        learned = {"weight": weight.float(), "bias": bias.float(), "costs": costs.mean(dim=0)}
        self.learned |= learned
        return {"prices": self.own_prices(seen, costs, oracle.mean_cost(costs.numpy()))}

    def own_prices(self, seen: Tensor, spent: Tensor, budget: float) -> Tensor:
        """Cost weights at which the classifier spends the oracle's budget: float64 [3].

        What is spent is float64 [inputs, offers]; the classifier knows only its means.
        """
        costs = self.learned["costs"].numpy()
        # A classifier that would spend less needs a price below zero, which is one above it again
        # where every cost is paid for beforehand.
        scores = self.scores(seen).numpy() + PAID * costs
        allocation = allocate(scores, costs, budget, spent.numpy())
        prices = (allocation.price - PAID, allocation.dear_price - PAID, allocation.share)
        return torch.tensor(prices, dtype=torch.float64)

    def scores(self, observation: Tensor) -> Tensor:
        """Log-probability of each offer: [batch, obs_size] -> float64 [batch, num_offers]."""
        x, weight = observation[:, : self.size], self.learned["weight"].to(observation.device)
        logits = x @ weight.t() + self.learned["bias"].to(observation.device)
        return logits.double().log_softmax(dim=1)

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Masks of the offers that are taken before the first gate; without a stream no coins."""
        if layer == 0:
            self.offers = self.take(observation, generator).cpu()
        return self.menu[layer][self.offers].to(observation.device)

    def take(self, observation: Tensor, generator: torch.Generator | None) -> Tensor:
        """Numbers of offers: int64 [batch]."""
        rows = len(observation)
        if generator is self.generator:
            return integers(self.num_offers, (rows,), generator, observation.device)
        price, dear_price, share = self.learned["prices"].tolist()
        cheap, dear = (self.best_at(observation, one) for one in (price, dear_price))
        if generator is None:
            return dear if share > 0.5 else cheap
        coins = uniform((rows,), generator, observation.device) < share
        return torch.where(coins, dear, cheap)

    def best_at(self, observation: Tensor, price: float) -> Tensor:
        """Numbers of the offers at a cost weight: [batch, obs_size] -> int64 [batch]."""
        costs = self.learned["costs"].to(observation.device)
        # With the rounding by which the prices were found: they differ by that alone.
        paid = self.scores(observation) + PAID * costs
        return (paid - (price + PAID) * costs).argmax(dim=1)


def exit_menu(num_blocks: Sequence[int], exits: Sequence[int]) -> list[Tensor]:
    """For each gate a bit of each block for each offer: stop at an exit, or (the last) at none."""
    stops = torch.tensor([*exits, len(num_blocks)])
    return [(stops != gate)[:, None].expand(-1, blocks) for gate, blocks in enumerate(num_blocks)]


def density_menu(num_blocks: Sequence[int], num_offers: int) -> list[Tensor]:
    """For each gate bool [num_offers, num_blocks]: none, then more and more, then all blocks.

    Of gates of one block a share is kept, spread evenly over the network.
    """
    shares = torch.arange(num_offers, dtype=torch.float64) / (num_offers - 1)
    single = [gate for gate, blocks in enumerate(num_blocks) if blocks == 1]
    menu = []
    for gate, blocks in enumerate(num_blocks):
        # A gate of one block is the next of its kind, and kept where the count of kept ones grows.
        place = single.index(gate) if blocks == 1 else 0
        first = (shares * place + 1e-9).floor()
        count = (shares * (place + blocks) + 1e-9).floor() - first
        menu.append(torch.arange(blocks) < count[:, None])
    return menu


@torch.no_grad()
def offer_table(simulator: Simulator, menu: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """What every offer of a menu would give every input of a split.

    That is what is seen before the first gate, [inputs, obs_size]; then the probability of the
    right class and the compute cost, float64 [inputs, offers].
    """
    network, device = simulator.network, simulator.device
    masks = torch.cat([*menu], dim=1)
    seen, tables = [], []
    for indices in torch.arange(len(simulator.data)).split(BATCH):
        batch = simulator.data.batch(indices.to(device))
        before = played(network, batch[0], simulator.rule)
        state = initial(network, *batch, state=before)
        seen.append(simulator.observe(state).cpu())
        walked = walk_menu(network, state, masks, torch.arange(len(masks)))
        right_and_costs = {number: right_and_cost(network, outcome) for number, outcome in walked}
        tables.append(torch.stack([right_and_costs[number] for number in range(len(masks))], dim=2))
    values, costs = torch.cat(tables, dim=1)
    return torch.cat(seen), values, costs


def walk_menu(
    network: GatedNetwork, state: EpisodeState, masks: Tensor, numbers: Tensor
) -> Iterator[tuple[int, StepOutcome]]:
    """Walks a batch through those of `masks`, bool [masks, num_units], that lead through a state.

    What they have in common at the start is computed once.
    """
    blocks = num_blocks_of(network)
    first = sum(blocks[: state.layer])
    gate_masks = masks[numbers, first : first + blocks[state.layer]]
    kinds, kind_of = gate_masks.unique(dim=0, return_inverse=True)
    for kind, bits in enumerate(kinds):
        here = numbers[kind_of == kind]
        rows = bits.to(state.labels.device).expand(len(state.labels), -1).contiguous()
        after, outcome = transition(network, state, rows)
        if outcome.is_last:
            yield from ((int(number), outcome) for number in here)
        else:
            yield from walk_menu(network, after, masks, here)


def right_and_cost(network: GatedNetwork, outcome: StepOutcome) -> Tensor:
    """Probability of the right class, and compute cost: float64 [2, batch]."""
    assert outcome.logits is not None
    shares = outcome.logits.double().softmax(dim=1)
    right = shares.gather(1, outcome.labels[:, None])[:, 0]
    return torch.stack([right, outcome.macs / network.dense_macs]).cpu()


def fit_softmax(x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax regression with a penalty: float64 [n, features], [n, classes] -> weight and bias.

    Features are made alike for the penalty's sake; the weights are those of features as they are.
    """
    mean, spread = x.mean(dim=0), x.std(dim=0, correction=0).clamp(min=1e-6)
    z = (x - mean) / spread
    weight = torch.zeros(targets.shape[1], x.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(targets.shape[1], dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> float:
        optimizer.zero_grad()
        cross_entropy = torch.nn.functional.cross_entropy(z @ weight.t() + bias, targets)
        total = cross_entropy + PENALTY * weight.square().sum()
        total.backward()
        return total.item()

    with torch.enable_grad():
        optimizer.step(loss)
    weight, bias = weight.detach() / spread, bias.detach()
    return weight, bias - weight @ mean
