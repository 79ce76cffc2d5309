"""Policies on the environment: what one is, and (simulator, policy) -> a rollout to learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.base.annotations import checks_types
from ccenv.base.checks import Checks
from ccenv.base.masks import as_mask, gate_values_of, pad_mask
from ccenv.simulator.policy import Policy, as_policy, follow
from ccenv.simulator.simulator import Simulator
from ccenv.simulator.step import Step


@dataclass(frozen=True)
class Rollout:
    """One episode of every row of a batch; masks are padded to the widest gate.

    >>> from ccenv.agents.reference_policies import BlockDropout
    >>> simulator = Simulator(8, dataset="synthetic", weights="cotrain", num_blocks=[4, 4])
    >>> simulator.seed(0)
    >>> rollout = collect_rollout(simulator, BlockDropout(simulator), None)
    >>> torch.equal(rollout.returns[0], rollout.rewards.sum(dim=0))
    True
    """

    observations: Tensor
    """[num_layers, batch, obs_size] float32."""
    masks: Tensor
    """[num_layers, batch, max_blocks] bool."""
    actions: tuple[Tensor, ...]
    """as the policy gave them, one for each layer: masks, int64 [batch, k] in drawn order,
    or gate values."""
    rewards: Tensor
    """[num_layers, batch] float32."""
    costs: Tensor
    """[num_layers, batch] float32 in [0, 1]; the layers' compute costs."""
    returns: Tensor
    """[num_layers, batch] float32; undiscounted rewards from this layer to the end."""
    correct: Tensor
    """[batch] float32; 1 for a right answer."""
    nll: Tensor
    """[batch] float32; negative log-likelihood of the label in nats."""
    compute_cost: Tensor
    """[batch] float32 in [0, 1]."""
    labels: Tensor
    """[batch] int64."""
    num_images: int
    """different images: batch / group_size."""
    means: dict[str, float]
    """means over the batch; see `episode_means`, and `episode_curves` for their tags."""


def walk(
    simulator: Simulator,
    policy: Policy,
    generator: torch.Generator | None,
    indices: Tensor | None = None,
) -> tuple[list[Tensor], list[Tensor], list[Step]]:
    """Runs one batch from the images to the logits: observations, actions and steps by layer."""
    policy = as_policy(policy)
    follow(policy, simulator, generator)
    observation = simulator.begin(indices)
    # Policies that need more than observations (search on the label, norms) look at the episode.
    policy.begin_episode(simulator)
    observations: list[Tensor] = []
    actions: list[Tensor] = []
    steps: list[Step] = []
    for layer, num_blocks in enumerate(simulator.num_blocks):
        observation = steps[-1].observation if steps else observation
        with torch.no_grad():
            action = policy.act(observation, layer, generator)
        observations.append(observation)
        actions.append(action)
        mask = as_mask(action, num_blocks, simulator.checks)
        steps.append(simulator.step(mask, gate_values_of(action, simulator.checks)))
    return observations, actions, steps


@checks_types
def collect_rollout(
    simulator: Simulator, policy: Any, generator: torch.Generator | None
) -> Rollout:
    """Runs one episode of each row of the next batch.

    Args:
        simulator: a seeded simulator.
        policy: chooses the masks.
        generator: samples the masks; None for greedy masks.

    Example:
        >>> from ccenv.agents.reference_policies import BlockDropout
        >>> simulator = Simulator(8, dataset="synthetic", weights="cotrain", num_blocks=[4, 4])
        >>> simulator.seed(0)
        >>> agent = BlockDropout(simulator)
        >>> rollout = collect_rollout(simulator, agent, agent.generator)
        >>> rollout.masks.shape, rollout.returns.shape
        (torch.Size([2, 8, 4]), torch.Size([2, 8]))
    """
    policy = as_policy(policy)
    observations, actions, steps = walk(simulator, policy, generator)
    simulator.learning.teach_by_every(policy.taught_every)
    rewards = torch.stack([step.reward for step in steps])
    last = steps[-1].outcome
    return Rollout(
        observations=torch.stack(observations),
        masks=torch.stack([pad_mask(s.outcome.mask, simulator.max_blocks) for s in steps]),
        actions=tuple(actions),
        rewards=rewards,
        costs=torch.stack([step.outcome.layer_cost for step in steps]),
        returns=rewards.flip(0).cumsum(0).flip(0),
        correct=last.correct,
        nll=-last.log_likelihood,
        compute_cost=last.compute_cost,
        labels=last.labels,
        num_images=simulator.num_images // simulator.group_size,
        means=episode_means(steps, simulator.checks),
    )


def episode_means(steps: Sequence[Step], checks: Checks) -> dict[str, float]:
    """Means over a batch whose episodes have ended: return, error, nll, cost, density by layer.

    Also the reward's terms, summed over each episode, and what it remembered, as `reward/<name>`.
    What `checks` still have to look at is read along with them.
    """
    last = steps[-1].outcome
    means = {
        "return": torch.stack([step.reward for step in steps]).sum(dim=0).mean(),
        "error": last.correct.mean(),
        "nll": -last.log_likelihood.mean(),
        "compute_cost": last.compute_cost.mean(),
    }
    kept = {f"density_{i}": s.outcome.mask.float().mean() for i, s in enumerate(steps)}
    terms = {
        f"reward/{name}": torch.stack([s.terms[name] for s in steps]).sum(dim=0).mean()
        for name in steps[-1].terms
    }
    numbers = checks.read(means | kept | terms)
    numbers["error"] = 1 - numbers["error"]
    return numbers | {f"reward/{k}": v for k, v in steps[-1].numbers.items()}


def episode_curves(means: Mapping[str, float]) -> dict[str, float]:
    """Names of `episode_means` as tags of curves.

    >>> episode_curves({"error": 0.1, "reward/price": 2.0})
    {'episode/error': 0.1, 'reward/price': 2.0}
    """
    return {name if "/" in name else f"episode/{name}": v for name, v in means.items()}


def simulator_of(env: Any) -> Simulator:
    """The simulator behind any view of the environment; TypeError if there is none."""
    base = getattr(env, "unwrapped", env)
    simulator = getattr(base, "simulator", base)
    if not isinstance(simulator, Simulator):
        raise TypeError(
            "expected a block-selection environment or a Simulator, got "
            f"{type(env).__name__}{instead_of(base)}"
        )
    return simulator


def instead_of(env: Any) -> str:
    """What to use in place of a batch of separate environments; "" of anything else."""
    if hasattr(env, "env_method"):
        return (
            "; use ccenv.sb3.BlockSelectionVecEnv(num_envs, ...), which Stable-Baselines3 takes in "
            "place of a DummyVecEnv or SubprocVecEnv"
        )
    if hasattr(env, "single_action_space"):
        return (
            "; use ccenv.BlockSelectionVectorEnv(num_envs, ...), or gym.make_vec with "
            "vectorization_mode='vector_entry_point'"
        )
    return ""
