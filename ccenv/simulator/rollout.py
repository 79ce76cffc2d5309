"""Policies on the environment: (simulator, policy) -> a rollout to learn from, or a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ccenv.base.masks import as_mask, pad_mask
from ccenv.base.seeding import stream
from ccenv.rewards import correct, log_likelihood
from ccenv.simulator.sb3_policy import ModelPolicy, is_model
from ccenv.simulator.simulator import Simulator, Step


class Policy(Protocol):
    """What can be rolled out and evaluated; an agent is one, and any object with these two.

    Optional, used where a policy has them:

    - `begin_episode(simulator)`: called when an episode's images are there, before the first `act`.
    - `keep_probability(observation, layer)`: [batch, num_blocks[layer]] in [0, 1], or None; shown
      in place of the masks.
    - `choosers(drawn=...)`: how masks are chosen in one compiled call, drawn or most probable, one
      `ccenv.deploy.fused.choosers.Chooser` a layer; None where that cannot be said. Must agree with
      `act`.
    - `uses_labels`: True of ceilings that look at the true label, which tables mark and nobody
      exports.
    - `learns`: False of rules that training would not change.

    `act` is given nothing of the labels, but the simulator's state, which `begin_episode` is given,
    holds them: a policy that reads them declares `uses_labels`. Python hides nothing from one that
    means to look; that masks stay the same under other labels shows that it did not.
    """

    policy_macs: Sequence[int]
    """MACs of choosing one image's mask, for each gated layer."""

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Chooses masks for the images at a layer.

        Args:
            observation: [batch, obs_size] float32.
            layer: number of the gated layer.
            generator: source of randomness; None asks for the most probable mask.

        Returns:
            bool [batch, num_blocks[layer]], or int64 [batch, k]: the kept blocks as drawn.
        """


@dataclass(frozen=True)
class Rollout:
    """One episode of every row of a batch, masks padded to the widest layer."""

    observations: Tensor
    """[num_layers, batch, obs_size] float32."""
    masks: Tensor
    """[num_layers, batch, max_blocks] bool."""
    actions: tuple[Tensor, ...]
    """as the policy gave them, one for each layer: masks, or int64 [batch, k] in drawn order."""
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


@dataclass(frozen=True)
class Evaluation:
    """Verdict on a policy over a whole split, each image once."""

    split: str
    """which images."""
    draw: str
    """"sampled" or "mode" (the most probable masks; for independent blocks: thresholded at 1/2)."""
    num_images: int
    """how many."""
    error: float
    """share of wrong answers."""
    nll: float
    """mean negative log-likelihood in nats."""
    mean_return: float
    """mean undiscounted return; depends on the reward, so never a ranking."""
    density: tuple[float, ...]
    """share of blocks kept in each gated layer."""
    compute_cost: float
    """executed MACs over the dense network's, mean over images."""
    policy_cost: float
    """the policy's own MACs over the dense network's."""
    macs: float
    """executed MACs of an image with the policy's own, mean over images."""
    block_use: tuple[Tensor, ...]
    """for each gated layer: [num_classes, num_blocks], mean keep probability by true class."""
    keep_probability: tuple[Tensor, ...]
    """for each gated layer: [num_images, num_blocks]; of policies without one, the masks."""
    masks: tuple[Tensor, ...]
    """for each gated layer: [num_images, num_blocks] bool, as executed."""

    @property
    def total_cost(self) -> float:
        """Compute cost with the policy's own cost."""
        return self.compute_cost + self.policy_cost

    def numbers(self) -> dict[str, Any]:
        """All but the tensors, ready for JSON; `draw` is called "mode" there."""
        whole = ("num_images", "error", "nll", "mean_return")
        costs = ("compute_cost", "policy_cost", "total_cost", "macs")
        numbers = {name: getattr(self, name) for name in (*whole, *costs)}
        judged = {"split": self.split, "mode": self.draw}
        return judged | numbers | {"density": list(self.density)}


def walk(
    simulator: Simulator,
    policy: Policy,
    generator: torch.Generator | None,
    indices: Tensor | None = None,
) -> tuple[list[Tensor], list[Tensor], list[Step]]:
    """Runs one batch from the images to the logits: observations, actions and steps by layer."""
    observation = simulator.begin(indices)
    # Policies that need more than observations (search on the label, norms) look at the episode.
    if hasattr(policy, "begin_episode"):
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
        steps.append(simulator.step(as_mask(action, num_blocks)))
    return observations, actions, steps


def collect_rollout(
    simulator: Simulator, policy: Policy, generator: torch.Generator | None
) -> Rollout:
    """Rolls a policy out on the next batch of images."""
    observations, actions, steps = walk(simulator, policy, generator)
    rewards = torch.stack([step.reward for step in steps])
    last = steps[-1].outcome
    return Rollout(
        observations=torch.stack(observations),
        masks=torch.stack([pad_mask(s.outcome.mask, simulator.max_blocks) for s in steps]),
        actions=tuple(actions),
        rewards=rewards,
        costs=torch.stack([step.outcome.layer_cost for step in steps]),
        returns=rewards.flip(0).cumsum(0).flip(0),
        correct=correct(last),
        nll=-log_likelihood(last),
        compute_cost=last.compute_cost,
        labels=last.labels,
        num_images=simulator.num_images // simulator.group_size,
        means=episode_means(steps),
    )


def episode_means(steps: Sequence[Step]) -> dict[str, float]:
    """Means over a batch whose episodes have ended: return, error, nll, cost, density by layer.

    Also the reward's terms, summed over each episode, as `reward/<term>`, and what the reward
    remembered while it paid, such as its price, as `reward/<name>`.
    """
    last = steps[-1].outcome
    means = {
        "return": torch.stack([step.reward for step in steps]).sum(dim=0).mean().item(),
        "error": 1 - correct(last).mean().item(),
        "nll": -log_likelihood(last).mean().item(),
        "compute_cost": last.compute_cost.mean().item(),
    }
    kept = {f"density_{i}": s.outcome.mask.float().mean().item() for i, s in enumerate(steps)}
    terms = {
        f"reward/{name}": torch.stack([s.terms[name] for s in steps]).sum(dim=0).mean().item()
        for name in steps[-1].terms
    }
    return means | kept | terms | {f"reward/{k}": v for k, v in steps[-1].numbers.items()}


def episode_curves(means: Mapping[str, float]) -> dict[str, float]:
    """Names of `episode_means` as tags of curves.

    >>> episode_curves({"error": 0.1, "reward/price": 2.0})
    {'episode/error': 0.1, 'reward/price': 2.0}
    """
    return {name if "/" in name else f"episode/{name}": v for name, v in means.items()}


def simulator_of(env: Any) -> Simulator:
    """The simulator behind any view of the environment, wrapped or not.

    Raises:
        TypeError: if there is none.
    """
    base = getattr(env, "unwrapped", env)
    simulator = getattr(base, "simulator", base)
    if not isinstance(simulator, Simulator):
        raise TypeError(
            f"expected a block-selection environment or a Simulator, got {type(env).__name__}"
        )
    return simulator


def policy_of(policy: Any, env: Any) -> Policy:
    """A policy as it is; a model of Stable-Baselines3 as a policy on an environment."""
    if is_model(policy):
        return ModelPolicy(policy, simulator_of(env), env)
    found: Policy = policy
    return found


def evaluate(
    env: Any,
    policy: Any,
    *,
    split: str = "test",
    sample: bool = True,
    seed: int = 0,
    batch_size: int = 1000,
) -> Evaluation:
    """Classifies every image of a split once under a policy's masks.

    Args:
        env: any view of the environment, or a `Simulator`; its network is used as it is now.
        policy: chooses the masks: a `Policy`, or a model of Stable-Baselines3 as it is, whose
            actor's MACs are counted here. One that acts through an action view is judged in an
            environment in that view.
        split: "train", "validation" or "test".
        sample: draw the masks (True), or take the most probable ones.
        seed: of the draws.
        batch_size: images at a time; another number draws other masks when sampling, and changes
            nothing else but speed and memory.

    Returns:
        Error, cost and density, see `Evaluation`.

    Raises:
        TypeError: if `env` is no view of the environment, or a model's actions are no masks.
        ValueError: if a model learned on observations of another size.
    """
    policy = policy_of(policy, env)
    simulator = simulator_of(env).on_split(split, batch_size)
    generator = stream(seed, "evaluation masks") if sample else None
    seen: dict[str, list[Tensor]] = {"correct": [], "nll": [], "return": [], "cost": [], "macs": []}
    labels: list[Tensor] = []
    masks: list[list[Tensor]] = [[] for _ in simulator.num_blocks]
    keep: list[list[Tensor]] = [[] for _ in simulator.num_blocks]
    for indices in torch.arange(len(simulator.data)).split(batch_size):
        observations, _, steps = walk(simulator, policy, generator, indices)
        last = steps[-1].outcome
        seen["correct"].append(correct(last))
        seen["nll"].append(-log_likelihood(last))
        seen["return"].append(torch.stack([step.reward for step in steps]).sum(dim=0))
        seen["cost"].append(last.compute_cost)
        seen["macs"].append(last.macs.double())
        labels.append(last.labels)
        for layer, step in enumerate(steps):
            masks[layer].append(step.outcome.mask)
            keep[layer].append(keep_probability_of(policy, observations[layer], layer, step))
    means = {name: torch.cat(values).double().mean().item() for name, values in seen.items()}
    probabilities = tuple(torch.cat(values) for values in keep)
    classes = torch.cat(labels)
    policy_macs = sum(policy.policy_macs)
    return Evaluation(
        split=split,
        draw="sampled" if sample else "mode",
        num_images=len(classes),
        error=1 - means["correct"],
        nll=means["nll"],
        mean_return=means["return"],
        density=tuple(torch.cat(values).float().mean().item() for values in masks),
        compute_cost=means["cost"],
        policy_cost=policy_macs / simulator.dense_macs,
        macs=means["macs"] + policy_macs,
        block_use=tuple(by_class(p, classes, simulator.data.num_classes) for p in probabilities),
        keep_probability=probabilities,
        masks=tuple(torch.cat(values) for values in masks),
    )


def keep_probability_of(policy: Policy, observation: Tensor, layer: int, step: Step) -> Tensor:
    """The policy's keep probabilities [batch, num_blocks], or its masks where it has none."""
    if hasattr(policy, "keep_probability"):
        with torch.no_grad():
            found: Tensor | None = policy.keep_probability(observation, layer)
        if found is not None:
            return found
    return step.outcome.mask.float()


def by_class(values: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Means over the images of each class: [images, n], [images] -> [num_classes, n]."""
    one_hot = torch.nn.functional.one_hot(labels, num_classes).to(values.dtype)
    return one_hot.t() @ values / one_hot.sum(dim=0).clamp(min=1).unsqueeze(1)
