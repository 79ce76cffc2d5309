"""Finds what rounding does not explain: (a run, stored masks) -> bits no policy here gives.

Another machine adds numbers in another order, so that a block whose probability is at its threshold
or at its draw may fall on the other side. Whether that explains a stored bit is tried: weights of
policy and network are moved by rounding, and the policy is asked again, with the same draws, at the
gate where the bit stands and behind the stored masks of the gates before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ccenv.base.masks import as_mask, gate_values_of
from ccenv.base.seeding import stream
from ccenv.networks.core.precision import dtype_of
from ccenv.runs.replay.rebuilt import Rebuilt
from ccenv.runs.replay.replay import BATCH
from ccenv.runs.store import folder as run_folder
from ccenv.simulator.policy import as_policy
from ccenv.simulator.simulator import Simulator

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
    parts = torch.arange(len(simulator.data)).split(BATCH)
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
    agent, observation, others = rebuilt.agent, simulator.begin(indices), []
    as_policy(agent).begin_episode(simulator)
    for gate, stored in enumerate(masks):
        state, mask = simulator.state, stored[indices]
        value = None if values is None else values[gate][indices]
        with torch.no_grad():
            action = agent.act(observation, gate, generator)
        step = simulator.step(as_mask(action, mask.shape[1]), gate_values_of(action))
        other = step.outcome.mask.cpu() != mask
        if value is not None:
            apart = (simulator.gate_values[-1].cpu() - value).abs()
            other |= apart > OTHER_VALUE[dtype_of(rebuilt.network)]
        others.append(other)
        simulator.state = state
        observation = simulator.step(mask, value).observation
    return others


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
