"""Policies and models on a split: error, nll, cost, density, masks."""

import collections
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.base.annotations import checks_types
from ccenv.base.mask_words import in_files, kind_in_words
from ccenv.base.seeding import stream
from ccenv.base.values import lacking, positive_int
from ccenv.simulator.policy import Actor, ModelPolicy, Policy, as_policy
from ccenv.simulator.rollout import simulator_of, walk

PART = 100_000
"""Inputs that are summed up at a time."""
FEW_GATES = 4
"""Up to this many, `repr` shows the density of each."""


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Result of `evaluate`: error and cost of a policy on a split, each input once.

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
    deterministic: bool | None
    """True for greedy masks (of independent blocks: thresholded at 1/2), False for sampled ones;
    None of a module or a function, whose actions are taken as they are."""
    num_images: int
    """number of inputs, or of positions of all sequences."""
    error: float
    """share of wrong answers."""
    nll: float
    """mean negative log-likelihood in nats."""
    mean_return: float
    """mean undiscounted return; depends on the reward, so never a ranking."""
    density: tuple[float, ...]
    """share of blocks kept in each gated layer."""
    compute_cost: float
    """executed MACs over the dense network's, mean over inputs."""
    policy_cost: float
    """the policy's own MACs over the dense network's; NaN where they are unknown."""
    macs: float
    """executed MACs of an input with the policy's own, mean over inputs."""
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
        kind = "given" if self.deterministic is None else kind_in_words(self.deterministic)
        total = "-" if math.isnan(self.total_cost) else f"{self.total_cost:.3f}"
        return (
            f"Evaluation({self.num_images:,} {self.split} inputs, {kind} masks: error "
            f"{100 * self.error:.2f} %, compute cost {self.compute_cost:.3f}, with the policy "
            f"{total}, density {density})"
        )

    @property
    def total_cost(self) -> float:
        """Compute cost with the policy's own cost."""
        return self.compute_cost + self.policy_cost

    @property
    def draw(self) -> str:
        """`deterministic` as result files say it."""
        return in_files(self.deterministic)

    def numbers(self) -> dict[str, Any]:
        """All but the tensors, ready for JSON; masks as "mode", what is unknown None."""
        whole = ("num_images", "error", "nll", "mean_return")
        costs = ("compute_cost", "policy_cost", "total_cost", "macs")
        numbers = {n: None if math.isnan(v := getattr(self, n)) else v for n in (*whole, *costs)}
        judged = {"split": self.split, "mode": self.draw}
        return judged | numbers | {"density": list(self.density)}


def policy_of(policy: Any, env: Any) -> Policy:
    """A policy as it is; a model of Stable-Baselines3, a module or a function as a policy."""
    if not hasattr(policy, "act") and hasattr(policy, "get_vec_normalize_env"):
        return ModelPolicy(policy, simulator_of(env), env)
    # TorchRL's modules, which have in_keys, take no tensors.
    is_other = callable(policy) and not isinstance(policy, type) and not hasattr(policy, "in_keys")
    if is_other and not hasattr(policy, "act"):
        return Actor(policy, simulator_of(env))
    converted = as_policy(policy)
    if lacking(converted, "policy_macs"):
        raise TypeError(
            f"expected {type(policy).__name__} to have policy_macs, the MACs of choosing one "
            "input's mask at each gate, got none; give [0] * gates where it costs nothing"
        )
    return converted


@checks_types
def evaluate(
    env: Any,
    policy: Any,
    *,
    split: str = "test",
    deterministic: bool | None = None,
    seed: int = 0,
    batch_size: int = 1000,
) -> Evaluation:
    """Evaluates a policy on every input of a split, once.

    Args:
        env: any environment of ccenv, or a `Simulator`; its network is used as it is now.
        policy: an agent, another `Policy`, or a model of Stable-Baselines3 or sb3-contrib, whose
            actor's MACs are counted here. For a model that acts through an action view, pass an
            environment in that view. Also a torch module or a function from observations [batch,
            obs_size] to bits [batch, max(num_blocks)], taken as they are; MACs of a function are
            unknown (NaN) unless it has `policy_macs`.
        split: "train", "validation" or "test".
        deterministic: True for greedy masks, False for sampled ones; by default what the policy is
            for by its own `deterministic`: sampled ones, of a model of Stable-Baselines3 greedy
            ones. The result says which.
        seed: seed of the sampled masks.
        batch_size: inputs at a time; another number samples other masks, and changes speed and
            memory.

    Raises:
        TypeError: if `env` is no environment of ccenv, or a model's actions are no masks.
        ValueError: if a model learned on observations of another size, or bits are not 0 or 1.

    Example:
        >>> import ccenv
        >>> from ccenv.agents.reference_policies import BlockDropout
        >>> env = ccenv.BlockSelectionVectorEnv(4, dataset="synthetic", weights="cotrain")
        >>> _ = env.reset(seed=0)
        >>> verdict = ccenv.evaluate(env, BlockDropout(env, keep_probability=0.5))
        >>> verdict.num_images, 0 < verdict.compute_cost < 1
        (500, True)
    """
    positive_int(batch_size, "batch_size")
    policy = policy_of(policy, env)
    if deterministic is None:
        deterministic = policy.deterministic
    simulator = simulator_of(env).on_split(split, batch_size)
    drawn = None if deterministic else stream(seed, "evaluation masks", simulator.device)
    parts: dict[Any, list[Tensor]] = collections.defaultdict(list)
    for indices in torch.arange(simulator.num_episodes).split(batch_size):
        observations, _, steps = walk(simulator, policy, drawn, indices)
        parts["return"].append(torch.stack([step.reward for step in steps]).sum(dim=0))
        with torch.no_grad():
            # In the order of an episode: a policy may remember what it saw before.
            shown = [
                policy.keep_probability(seen, step % simulator.num_layers)
                for step, seen in enumerate(observations)
            ]
        for layer in range(simulator.num_layers):
            # Of a sequence all positions, as they lie in the split.
            of_gate = slice(layer, None, simulator.num_layers)
            outcomes = [step.outcome for step in steps[of_gate]]
            parts["mask", layer].append(in_order([one.mask for one in outcomes]))
            if simulator.gate_values:
                parts["value", layer].append(in_order(simulator.gate_values[of_gate]))
            pairs = zip(shown[of_gate], outcomes, strict=True)
            kept = [one.mask.float() if keep is None else keep for keep, one in pairs]
            parts["keep", layer].append(in_order(kept))
        parts["correct"].append(in_order([one.correct for one in outcomes]))
        parts["nll"].append(in_order([-one.log_likelihood for one in outcomes]))
        parts["cost"].append(in_order([one.compute_cost for one in outcomes]))
        parts["macs"].append(in_order([one.macs for one in outcomes]))
        parts["labels"].append(in_order([one.labels for one in outcomes]))
    whole = {name: torch.cat(values) for name, values in parts.items()}
    masks, keep, gate_values = (
        tuple(whole[kind, i] for i in range(simulator.num_layers) if (kind, i) in whole)
        for kind in ("mask", "keep", "value")
    )
    means = {n: whole[n].double().mean() for n in ("correct", "nll", "return", "cost", "macs")}
    densities = {f"density_{i}": mask.float().mean() for i, mask in enumerate(masks)}
    numbers = simulator.checks.read(means | densities)
    policy_macs, labels = sum(policy.policy_macs), whole["labels"]
    return Evaluation(
        split=split,
        deterministic=None if policy.as_given else deterministic,
        num_images=len(labels),
        error=1 - numbers["correct"],
        nll=numbers["nll"],
        mean_return=numbers["return"],
        density=tuple(numbers[name] for name in densities),
        compute_cost=numbers["cost"],
        policy_cost=policy_macs / simulator.dense_macs,
        macs=numbers["macs"] + policy_macs,
        block_use=tuple(by_class(p, labels, simulator.data.num_classes) for p in keep),
        keep_probability=keep,
        masks=masks,
        gate_values=gate_values,
    )


def evaluate_context(
    env: Any, policy: Policy, name: str, values: Sequence[float], **settings: Any
) -> list[Evaluation]:
    """Evaluates one policy at each of several cost weights or budgets.

    Args:
        env: any view of an environment with a context (else TypeError).
        policy: learned under the context.
        name: "cost_weight" or "budget"; ValueError if it is not in the context.
        values: at which it is evaluated.
        **settings: of `ccenv.evaluate`.
    """
    simulator = simulator_of(env)
    return [evaluate(simulator.at(**{name: value}), policy, **settings) for value in values]


def in_order(positions: Sequence[Tensor]) -> Tensor:
    """Values of each position of sequences, [batch, ...] each -> [batch * positions, ...]."""
    return positions[0] if len(positions) == 1 else torch.stack([*positions], dim=1).flatten(0, 1)


def by_class(values: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Means over the inputs of each class: [inputs, n], [inputs] -> [num_classes, n].

    Zero where a class has no input.

    >>> by_class(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 2]), 3).tolist()
    [[2.0], [0.0], [5.0]]
    """
    labels = labels.long()
    sums = torch.zeros(num_classes, values.shape[1], dtype=torch.float64, device=values.device)
    # In parts: float64 copies of all inputs at once would take twice their memory.
    for part, rows in zip(values.split(PART), labels.split(PART), strict=True):
        sums.index_add_(0, rows, part.double())
    counts = sums.new_zeros(num_classes).index_add_(0, labels, sums.new_ones(len(labels)))
    return (sums / counts.clamp(min=1).unsqueeze(1)).to(values.dtype)
