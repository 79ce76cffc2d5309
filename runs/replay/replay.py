"""A stored run to what it really does: stored masks on stored weights -> error, MACs, densities.

Nothing of the environment takes part in error, MACs and densities but the network's definition and
the count of MACs: masks are multiplied in by the reference products, not by the kernels that the
result was made with. Returns are the reward's, on the environment.

Another machine adds numbers in another order, so that a block whose probability is at its threshold
or at its draw may fall on the other side. Whether that explains a stored bit is tried: weights of
policy and network are moved by rounding, and the policy is asked again, with the same draws, at the
gate where the bit stands and behind the stored masks of the gates before it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.base.masks import as_mask, gate_values_of
from ccenv.base.seeding import stream
from ccenv.data import Split, load_split
from ccenv.networks.core.abilities import AnswersOften, ability
from ccenv.networks.core.precision import dtype_of
from ccenv.networks.core.protocol import started, through
from ccenv.networks.core.unrolled import positions_of
from ccenv.runs.replay.rebuilt import Rebuilt, test_images
from ccenv.runs.store import folder as run_folder
from ccenv.simulator.evaluate import Evaluation, evaluate, in_order
from ccenv.simulator.policy import as_policy
from ccenv.simulator.simulator import Simulator

ROUNDING = {"float32": 1e-3, "bfloat16": 0.03}
"""By what a network computes in: relative to an input's largest logit, and to the nll. Kernels add
in another order than the reference, and two classes that are nearer may change places."""
BATCH = 1000
"""Images at a time, as in `ccenv.evaluate`: a reward may look at its whole batch."""


@dataclass(frozen=True)
class Facts:
    """What stored masks do on stored weights, over all test images."""

    num_images: int
    """how many."""
    error: float
    """share of wrong answers."""
    nll: float
    """mean negative log-likelihood in nats."""
    density: tuple[float, ...]
    """share of blocks kept in each gated layer."""
    compute_cost: float
    """executed MACs over the dense network's."""
    policy_cost: float
    """the policy's own MACs over the dense network's."""
    total_cost: float
    """both."""
    macs: float
    """executed MACs of an image with the policy's own."""
    num_ties: int
    """images whose two best classes are within `ROUNDING` of each other."""


@torch.no_grad()
def replay(
    rebuilt: Rebuilt,
    masks: Sequence[Tensor],
    batch_size: int = BATCH,
    gate_values: Sequence[Tensor] | None = None,
) -> Facts:
    """Classifies all test images under given masks.

    Args:
        rebuilt: network, agent (for the MACs of its policy) and the data set's name.
        masks: for each gated layer bool [num_images, num_blocks].
        batch_size: images at a time.
        gate_values: what kept blocks are multiplied with, float32 of the same shapes; None: 1.

    Raises:
        ValueError: if there is not one mask for each test image, or a gate value is zero where a
            block was computed, or the other way round.
    """
    network, test = rebuilt.network, test_images(rebuilt.plan)
    count, length = len(test), rebuilt.env.simulator.positions
    batch_size *= length
    if [len(mask) for mask in masks] != [count] * len(masks):
        raise ValueError(f"expected masks of {count} test images, got {[len(m) for m in masks]}")
    wrong, nll, macs, num_ties = 0.0, 0.0, 0, 0
    within = ROUNDING[dtype_of(network)]
    for indices in torch.arange(count).split(batch_size):
        images, labels = test.batch(indices)
        chosen = [mask[indices] for mask in masks]
        values = None if gate_values is None else [value[indices] for value in gate_values]
        if length > 1:
            found = answers_of_sequences(network, images, labels, chosen, values, length)
        else:
            start = started(network, images, earlier=rebuilt.env.simulator.earlier)
            found = answers_under(network, images, labels, chosen, values, start)
        logits, right, spent = found
        macs += spent
        wrong += float((logits.argmax(dim=2) != right).double().mean(dim=1).sum())
        best = logits.topk(2, dim=-1).values
        room = within * logits.abs().amax(dim=-1).clamp(min=1.0)
        num_ties += int((best[..., 0] - best[..., 1] <= room).any(dim=1).sum())
        flat = logits.flatten(0, 1)
        total = torch.nn.functional.cross_entropy(flat, right.flatten(), reduction="sum")
        nll += float(total) / right.shape[1]
    dense, policy = network.dense_macs, sum(rebuilt.agent.policy_macs)
    return Facts(
        num_images=count,
        error=wrong / count,
        nll=nll / count,
        density=tuple(mask.double().mean().item() for mask in masks),
        compute_cost=macs / count / dense,
        policy_cost=policy / dense,
        total_cost=(macs / count + policy) / dense,
        macs=macs / count + policy,
        num_ties=num_ties,
    )


def answers_under(
    network: Any,
    images: Tensor,
    labels: Tensor,
    masks: Sequence[Tensor],
    gate_values: Sequence[Tensor] | None = None,
    start: Any = None,
) -> tuple[Tensor, Tensor, int]:
    """Logits [images, n, num_classes] under masks by the reference, what is right, all MACs.

    n is 1 but for networks that answer several times on the way. `start` is the hidden state before
    the first gate, where it is there already.
    """
    bills: list[Tensor] = []

    def choose(gate: int, hidden: Any) -> Tensor:
        if gate_values is not None:
            check_same_blocks(network, gate, hidden, masks[gate], gate_values[gate])
        bills.append(network.macs(gate, hidden, masks[gate]).sum())
        return masks[gate]

    hidden = through(network, images, choose, "reference", gate_values, start=start)
    macs = int(sum(bills))
    if (several := ability(network, AnswersOften)) is not None:
        return *several.every_answer(hidden, labels), macs
    return network.logits(hidden, "reference")[:, None], labels[:, None], macs


def answers_of_sequences(
    network: Any,
    images: Tensor,
    labels: Tensor,
    masks: Sequence[Tensor],
    gate_values: Sequence[Tensor] | None,
    length: int,
) -> tuple[Tensor, Tensor, int]:
    """The same of whole sequences, whose state goes on as their masks made it."""
    bills: list[Tensor] = []

    def choose(place: int, gate: int, hidden: Any) -> Tensor:
        mask = masks[gate][place::length]
        if gate_values is not None:
            check_same_blocks(network, gate, hidden, mask, gate_values[gate][place::length])
        bills.append(network.macs(gate, hidden, mask).sum())
        return mask

    def weights(place: int) -> Sequence[Tensor] | None:
        return None if gate_values is None else [value[place::length] for value in gate_values]

    walked = positions_of(network, images, length, choose, "reference", weights)
    logits = torch.stack([network.logits(hidden, "reference") for hidden in walked], dim=1)
    return logits.flatten(0, 1)[:, None], labels[:, None], int(sum(bills))


def check_same_blocks(network: Any, gate: int, hidden: Any, mask: Tensor, values: Tensor) -> None:
    """Refuses gate values of blocks that were not computed; a computed one may count nothing."""
    asked = network.executed(gate, hidden, values > 0)
    if (others := asked & ~mask).any():
        share = others.double().mean().item()
        raise ValueError(
            f"expected gate values of 0 where no block was computed, got {100 * share:.2g} % "
            f"others at gate {gate}"
        )


def returns(
    rebuilt: Rebuilt, masks: Sequence[Tensor], gate_values: Sequence[Tensor] | None = None
) -> Tensor:
    """What the reward pays for given masks of all test images: [episodes], undiscounted."""
    simulator = rebuilt.env.simulator.on_split("test", BATCH)
    found = []
    for indices in torch.arange(simulator.num_episodes).split(BATCH):
        simulator.begin(indices)
        steps = []
        while not simulator.is_over:
            rows, gate = indices * simulator.positions + simulator.position, simulator.layer
            value = None if gate_values is None else gate_values[gate][rows]
            steps.append(simulator.step(masks[gate][rows], value).reward)
        found.append(torch.stack(steps).sum(dim=0).cpu())
    return torch.cat(found)


def ask(rebuilt: Rebuilt, draw: str, split: str = "test") -> Evaluation:
    """Asks the policy for its masks again, with the run's seed."""
    sample, seed = draw == "sampled", rebuilt.plan.program.seed
    return evaluate(rebuilt.env, rebuilt.agent, split=split, deterministic=not sample, seed=seed)


@contextmanager
def wrong_labels(rebuilt: Rebuilt) -> Iterator[None]:
    """For a while every test image has the next class as its label, wherever that is looked up.

    The loaded tensors themselves are changed: what a policy finds on the call stack, in the
    environment or by loading the data set once more is the wrong label too.
    """
    simulator = rebuilt.env.simulator
    stored, seen = load_split(rebuilt.plan.environment["dataset"], "test"), test_split(simulator)
    num_classes, first = seen.num_classes, int(seen.labels[0])
    # Labels of a data set and of what was made of it may be one tensor, which is moved on once.
    found = {labels.data_ptr(): labels for labels in (stored.labels, seen.labels)}
    shift(found.values(), 1, num_classes)
    try:
        if int(test_split(simulator).labels[0]) == first:
            raise RuntimeError("expected wrong labels in the environment, got the true ones")
        yield
    finally:
        shift(found.values(), -1, num_classes)


def test_split(simulator: Simulator) -> Split:
    """Test images and labels as a policy of this simulator is judged on."""
    return simulator.on_split("test", 1).data


def shift(tensors: Iterable[Tensor], by: int, num_classes: int) -> None:
    """Moves labels on to another class, in place."""
    for labels in tensors:
        labels.add_(by).remainder_(num_classes)


def share_of_other_values(
    one: Sequence[Tensor], other: Sequence[Tensor], apart: float = 0.0
) -> float:
    """Share of gate values of the same images that are further apart; 1 if one side has none."""
    if len(one) != len(other):
        return 1.0
    pairs = [(a.cpu().double(), b.cpu().double()) for a, b in zip(one, other, strict=True)]
    others = sum(int(((a - b).abs() > apart).sum()) for a, b in pairs)
    return others / max(1, sum(value.numel() for value in other))


def share_of_other_bits(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Share of bits that differ between masks of the same images."""
    others = sum(int((a.cpu() != b.cpu()).sum()) for a, b in zip(one, other, strict=True))
    return others / sum(mask.numel() for mask in other)


NUDGE = {"float32": 2.0**-19, "bfloat16": 2.0**-8}
"""Relative move of a network's weight, by what it computes in: 16 units in the last place of
float32, one of bfloat16, to which each product is rounded. Each of a sum's products then moves on
its own, by more than the few units that another order of adding moves it. Policies are float32."""
NUM_NUDGES = 12
"""A bit at a tie to one unit takes either side in half of them: all miss it once in 4,000."""
OTHER_VALUE = {"float32": 1e-5, "bfloat16": 0.02}
"""Gate values in [0, 1] that are closer are the same: what NUDGE makes of scores of size 5."""


def num_unexplained(
    rebuilt: Rebuilt, draw: str, masks: Sequence[Tensor], values: Sequence[Tensor] | None = None
) -> int:
    """Counts bits and gate values of a run's test inputs that no rounding of weights gives.

    Args:
        rebuilt: the run, its policy restored.
        draw: "sampled" or "mode".
        masks: for each gate bool [num_images, num_blocks], as stored.
        values: gate values float32 of the same shapes, None of an agent that gives masks.
    """
    simulator = rebuilt.env.simulator.on_split("test", BATCH)
    seed = rebuilt.plan.program.seed
    generator = stream(seed, "evaluation masks") if draw == "sampled" else None
    parts = torch.arange(simulator.num_episodes).split(BATCH)
    begun: list[Tensor] = []
    left: dict[int, list[Tensor]] = {}
    for part, indices in enumerate(parts):
        if generator is not None:
            begun.append(generator.get_state())
        others = others_of(rebuilt, simulator, generator, indices, masks, values)
        if any(bool(other.any()) for other in others):
            left[part] = others
    for turn in range(NUM_NUDGES):
        if not left:
            break
        with nudged(rebuilt, turn):
            for part, others in list(left.items()):
                if generator is not None:
                    generator.set_state(begun[part])
                found = others_of(rebuilt, simulator, generator, parts[part], masks, values)
                left[part] = [a & b for a, b in zip(others, found, strict=True)]
                if not any(bool(other.any()) for other in left[part]):
                    del left[part]
    return sum(int(other.sum()) for others in left.values() for other in others)


def others_of(
    rebuilt: Rebuilt,
    simulator: Simulator,
    generator: torch.Generator | None,
    indices: Tensor,
    masks: Sequence[Tensor],
    values: Sequence[Tensor] | None,
) -> list[Tensor]:
    """Which stored bits the policy gives otherwise behind the stored masks of earlier gates.

    Returns:
        For each gate bool [batch, num_blocks].
    """
    agent, observation = rebuilt.agent, simulator.begin(indices)
    as_policy(agent).begin_episode(simulator)
    others: list[list[Tensor]] = [[] for _ in masks]
    while not simulator.is_over:
        gate, rows = simulator.layer, indices * simulator.positions + simulator.position
        state, mask = simulator.state, masks[gate][rows]
        value = None if values is None else values[gate][rows]
        with torch.no_grad():
            action = agent.act(observation, gate, generator)
        asked, given = as_mask(action, mask.shape[1]), gate_values_of(action)
        if not simulator.is_sequence:
            asked = simulator.step(asked, given).outcome.mask
            given = None if given is None else simulator.gate_values[-1]
            simulator.state = state
        other = asked.cpu() != mask
        if value is not None:
            assert given is not None
            other |= (given.cpu() - value).abs() > OTHER_VALUE[dtype_of(rebuilt.network)]
        others[gate].append(other)
        observation = simulator.step(mask, value).observation
    return [in_order(parts) for parts in others]


@contextmanager
def nudged(rebuilt: Rebuilt, turn: int) -> Iterator[None]:
    """For a while every weight of policy and network is another by rounding."""
    network, agent = rebuilt.network, rebuilt.agent
    generator = stream(turn, "rounding")
    weights = rebuilt.stored[run_folder.NETWORK]
    try:
        learned = moved(rebuilt.stored[run_folder.AGENT], NUDGE["float32"], generator)
        agent.load_parameters(learned)
        network.load_state_dict(moved(weights, NUDGE[dtype_of(network)], generator))
        yield
    finally:
        network.load_state_dict(weights)
        agent.load_parameters(rebuilt.stored[run_folder.AGENT])


def moved(
    tensors: Mapping[str, Tensor], by: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Tensors whose numbers each moved by up to a share of themselves."""
    return {
        name: value * (1 + by * (2 * torch.rand(value.shape, generator=generator) - 1)).to(value)
        if value.is_floating_point()
        else value
        for name, value in tensors.items()
    }
