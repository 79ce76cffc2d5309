"""Policies judged on a split: (environment, policy or model) -> error, cost, density, masks."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.base.annotations import checks_types
from ccenv.base.seeding import stream
from ccenv.base.values import lacking, positive_int
from ccenv.simulator.policy import ModelPolicy, Policy, as_policy, is_model
from ccenv.simulator.rollout import simulator_of, walk

PART = 100_000
"""Images that are summed up at a time."""
FEW_GATES = 4
"""Up to this many, `repr` shows the density of each."""


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Result of `evaluate`: error and cost of a policy on a split, each image once.

    >>> import ccenv
    >>> from ccenv.agents.reference_policies import Dense
    >>> env = ccenv.BlockSelectionVectorEnv(4, dataset="synthetic", weights="cotrain")
    >>> _ = env.reset(seed=0)
    >>> verdict = ccenv.evaluate(env, Dense(env), deterministic=True)
    >>> verdict.compute_cost, verdict.policy_cost, verdict.density
    (1.0, 0.0, (1.0, 1.0))
    """

    split: str
    """"train", "validation" or "test"."""
    draw: str
    """"sampled", or "mode" for greedy masks (of independent blocks: thresholded at 1/2)."""
    num_images: int
    """number of images."""
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
    gate_values: tuple[Tensor, ...] = ()
    """for each gated layer: float32 [num_images, num_blocks], as the policy gave them; empty where
    it gives masks."""

    def __repr__(self) -> str:
        """One line: the numbers; of more than `FEW_GATES` gates the mean density."""
        density = " ".join(f"{share:.2f}" for share in self.density)
        if len(self.density) > FEW_GATES:
            density = f"{sum(self.density) / len(self.density):.2f} in {len(self.density)} gates"
        masks = "greedy" if self.draw == "mode" else "sampled"
        return (
            f"Evaluation({self.num_images:,} {self.split} inputs, {masks} masks: error "
            f"{100 * self.error:.2f} %, compute cost {self.compute_cost:.3f}, with the policy "
            f"{self.total_cost:.3f}, density {density})"
        )

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


def policy_of(policy: Any, env: Any) -> Policy:
    """A policy as it is; a model of Stable-Baselines3 as a policy on an environment."""
    if is_model(policy):
        return ModelPolicy(policy, simulator_of(env), env)
    found = as_policy(policy)
    if lacking(found, "policy_macs"):
        raise TypeError(
            f"expected {type(policy).__name__} to have policy_macs, the MACs of choosing one "
            "input's mask at each gate, got none; give [0] * gates where it costs nothing"
        )
    return found


@checks_types
def evaluate(
    env: Any,
    policy: Any,
    *,
    split: str = "test",
    deterministic: bool = False,
    seed: int = 0,
    batch_size: int = 1000,
    sample: bool | None = None,
) -> Evaluation:
    """Evaluates a policy on every input of a split, once.

    Args:
        env: any environment of ccenv, or a `Simulator`; its network is used as it is now.
        policy: an agent, another `Policy`, or a model of Stable-Baselines3, whose actor's MACs are
            counted here. For a model that acts through an action view, pass an environment in that
            view.
        split: "train", "validation" or "test".
        deterministic: use greedy masks instead of sampled ones.
        seed: seed of the sampled masks.
        batch_size: images at a time; another number samples other masks, and changes speed and
            memory.
        sample: the opposite of `deterministic`, its name in earlier versions.

    Raises:
        TypeError: if `env` is no environment of ccenv, or a model's actions are no masks.
        ValueError: if a model learned on observations of another size.

    Example:
        >>> import ccenv
        >>> from ccenv.agents.reference_policies import BlockDropout
        >>> env = ccenv.BlockSelectionVectorEnv(4, dataset="synthetic", weights="cotrain")
        >>> _ = env.reset(seed=0)
        >>> verdict = ccenv.evaluate(env, BlockDropout(env, keep_probability=0.5))
        >>> verdict.num_images, 0 < verdict.compute_cost < 1
        (500, True)
    """
    if sample is not None:
        warnings.warn("sample= is now deterministic=, its opposite", FutureWarning, stacklevel=3)
        deterministic = not sample
    positive_int(batch_size, "batch_size")
    policy = policy_of(policy, env)
    simulator = simulator_of(env).on_split(split, batch_size)
    drawn = None if deterministic else stream(seed, "evaluation masks", simulator.device)
    seen: dict[str, list[Tensor]] = {"correct": [], "nll": [], "return": [], "cost": [], "macs": []}
    labels: list[Tensor] = []
    masks: list[list[Tensor]] = [[] for _ in simulator.num_blocks]
    keep: list[list[Tensor]] = [[] for _ in simulator.num_blocks]
    gates: list[list[Tensor]] = [[] for _ in simulator.num_blocks]
    for indices in torch.arange(len(simulator.data)).split(batch_size):
        observations, _, steps = walk(simulator, policy, drawn, indices)
        last = steps[-1].outcome
        seen["correct"].append(last.correct)
        seen["nll"].append(-last.log_likelihood)
        seen["return"].append(torch.stack([step.reward for step in steps]).sum(dim=0))
        seen["cost"].append(last.compute_cost)
        seen["macs"].append(last.macs.double())
        labels.append(last.labels)
        for layer, values in enumerate(simulator.gate_values):
            gates[layer].append(values)
        for layer, step in enumerate(steps):
            masks[layer].append(step.outcome.mask)
            with torch.no_grad():
                shown = policy.keep_probability(observations[layer], layer)
            keep[layer].append(step.outcome.mask.float() if shown is None else shown)
    means = {name: torch.cat(values).double().mean() for name, values in seen.items()}
    kept = {f"density_{i}": torch.cat(parts).float().mean() for i, parts in enumerate(masks)}
    numbers = simulator.checks.read(means | kept)
    probabilities = tuple(torch.cat(values) for values in keep)
    classes = torch.cat(labels)
    policy_macs = sum(policy.policy_macs)
    return Evaluation(
        split=split,
        draw="mode" if deterministic else "sampled",
        num_images=len(classes),
        error=1 - numbers["correct"],
        nll=numbers["nll"],
        mean_return=numbers["return"],
        density=tuple(numbers[name] for name in kept),
        compute_cost=numbers["cost"],
        policy_cost=policy_macs / simulator.dense_macs,
        macs=numbers["macs"] + policy_macs,
        block_use=tuple(by_class(p, classes, simulator.data.num_classes) for p in probabilities),
        keep_probability=probabilities,
        masks=tuple(torch.cat(values) for values in masks),
        gate_values=tuple(torch.cat(values) for values in gates if values),
    )


def evaluate_context(
    env: Any, policy: Policy, name: str, values: Sequence[float], **settings: Any
) -> list[Evaluation]:
    """Judges one policy at each of several cost weights or budgets.

    Args:
        env: any view of an environment with a context (else TypeError).
        policy: learned under the context.
        name: "cost_weight" or "budget"; ValueError if it is not in the context.
        values: at which it is judged.
        **settings: of `ccenv.evaluate`.
    """
    simulator = simulator_of(env)
    return [evaluate(simulator.at(**{name: value}), policy, **settings) for value in values]


def by_class(values: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Means over the images of each class: [images, n], [images] -> [num_classes, n].

    Zero where a class has no image.

    >>> by_class(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 2]), 3).tolist()
    [[2.0], [0.0], [5.0]]
    """
    labels = labels.long()
    sums = torch.zeros(num_classes, values.shape[1], dtype=torch.float64, device=values.device)
    # In parts: float64 copies of all images at once would take twice their memory.
    for part, rows in zip(values.split(PART), labels.split(PART), strict=True):
        sums.index_add_(0, rows, part.double())
    counts = sums.new_zeros(num_classes).index_add_(0, labels, sums.new_ones(len(labels)))
    return (sums / counts.clamp(min=1).unsqueeze(1)).to(values.dtype)
