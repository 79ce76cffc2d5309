"""Policies on the environment: what one is, and (simulator, policy) -> a rollout to learn from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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

    Its steps are the gates of the network, of a sequence those of each position in turn.

    >>> from ccenv.agents.reference_policies import BlockDropout
    >>> simulator = Simulator(8, dataset="synthetic", weights="cotrain", num_blocks=[4, 4])
    >>> simulator.seed(0)
    >>> rollout = collect_rollout(simulator, BlockDropout(simulator), None)
    >>> torch.equal(rollout.returns[0], rollout.rewards.sum(dim=0))
    True
    """

    observations: Tensor
    """[num_steps, batch, obs_size] float32."""
    masks: Tensor
    """[num_steps, batch, max_blocks] bool."""
    actions: tuple[Tensor, ...]
    """as the policy gave them, one for each step: masks, int64 [batch, k] in drawn order,
    or gate values."""
    rewards: Tensor
    """[num_steps, batch] float32."""
    costs: Tensor
    """[num_steps, batch] float32 in [0, 1]; the gates' compute costs."""
    returns: Tensor
    """[num_steps, batch] float32; undiscounted rewards from this step to the end."""
    correct: Tensor
    """[batch] float32; 1 for a right answer, of a sequence the share of right ones."""
    nll: Tensor
    """[batch] float32; negative log-likelihood of the label in nats, of a sequence the mean."""
    compute_cost: Tensor
    """[batch] float32 in [0, 1]; of a sequence the mean over its positions."""
    labels: Tensor
    """[batch] int64; of a sequence the last one."""
    num_images: int
    """different images: batch / group_size."""
    means: dict[str, float]
    """means over the batch; see `episode_means`, and `episode_curves` for their tags."""
    num_layers: int
    """gates of the network; there are as many steps, times the positions of a sequence."""

    def of_rows(self, rows: Tensor) -> "Rollout":
        """Some of its episodes, int64 [rows]; `means` stay those of all."""
        return replace(
            self,
            observations=self.observations[:, rows],
            masks=self.masks[:, rows],
            actions=tuple(action[rows] for action in self.actions),
            rewards=self.rewards[:, rows],
            costs=self.costs[:, rows],
            returns=self.returns[:, rows],
            correct=self.correct[rows],
            nll=self.nll[rows],
            compute_cost=self.compute_cost[rows],
            labels=self.labels[rows],
        )

    def by_gate(self, *values: Tensor) -> Iterator[tuple[Any, ...]]:
        """What a policy of one gate learns from: all positions of a sequence side by side.

        Args:
            *values: [num_steps, batch, ...] each.

        Yields:
            Gate, observations [positions * batch, obs_size], actions [positions * batch, ...], and
            of each of the values [positions * batch, ...].
        """
        for gate in range(self.num_layers):
            steps = slice(gate, None, self.num_layers)
            of_gate = [rows[steps].flatten(0, 1) for rows in (self.observations, *values)]
            yield gate, of_gate[0], torch.cat(self.actions[steps]), *of_gate[1:]


def walk(
    simulator: Simulator,
    policy: Policy,
    generator: torch.Generator | None,
    indices: Tensor | None = None,
) -> tuple[list[Tensor], list[Tensor], list[Step]]:
    """Runs one batch from the inputs to the logits: observations, actions and steps in order."""
    policy = as_policy(policy)
    if not simulator.is_sequence:
        # Over sequences earlier positions are what the episode's own masks made them.
        follow(policy, simulator, generator)
    observation = simulator.begin(indices)
    # Policies that need more than observations (search on the label, norms) look at the episode.
    policy.begin_episode(simulator)
    observations: list[Tensor] = []
    actions: list[Tensor] = []
    steps: list[Step] = []
    while not simulator.is_over:
        layer = simulator.layer
        observation = steps[-1].observation if steps else observation
        with torch.no_grad():
            action = policy.act(observation, layer, generator)
        observations.append(observation)
        actions.append(action)
        mask = as_mask(action, simulator.num_blocks[layer], simulator.checks)
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
    answered = answers_of(steps)
    return Rollout(
        observations=torch.stack(observations),
        masks=torch.stack([pad_mask(s.outcome.mask, simulator.max_blocks) for s in steps]),
        actions=tuple(actions),
        rewards=rewards,
        costs=torch.stack([step.outcome.layer_cost for step in steps]),
        returns=rewards.flip(0).cumsum(0).flip(0),
        correct=answered["correct"],
        nll=answered["nll"],
        compute_cost=answered["compute_cost"],
        labels=steps[-1].outcome.labels,
        num_images=simulator.num_images // simulator.group_size,
        means=episode_means(steps, simulator.checks),
        num_layers=simulator.num_layers,
    )


def answers_of(steps: Sequence[Step]) -> dict[str, Tensor]:
    """What came of episodes, [batch] each: the last outcome, of a sequence means over positions."""
    last = [step.outcome for step in steps if step.outcome.is_last]
    by_name = {
        "correct": [one.correct for one in last],
        "nll": [-one.log_likelihood for one in last],
        "compute_cost": [one.compute_cost for one in last],
    }
    return {
        name: parts[0] if len(parts) == 1 else torch.stack(parts).mean(dim=0)
        for name, parts in by_name.items()
    }


def episode_means(steps: Sequence[Step], checks: Checks) -> dict[str, float]:
    """Means over a batch whose episodes have ended: return, error, nll, cost, density by layer.

    Also the reward's terms, summed over each episode, and what it remembered, as `reward/<name>`.
    What `checks` still have to look at is read along with them.
    """
    answered, num_layers = answers_of(steps), steps[0].outcome.num_layers
    means = {
        "return": torch.stack([step.reward for step in steps]).sum(dim=0).mean(),
        "error": answered["correct"].mean(),
        "nll": answered["nll"].mean(),
        "compute_cost": answered["compute_cost"].mean(),
    }
    masks = [step.outcome.mask for step in steps]
    kept = {
        f"density_{gate}": torch.cat(masks[gate::num_layers]).float().mean()
        for gate in range(num_layers)
    }
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
