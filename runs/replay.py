"""A stored run to what it really does: stored masks on stored weights -> error, MACs, densities.

Nothing of the environment takes part but the network's definition and the bill of MACs: masks are
multiplied in by the reference products, not by the kernels that the result was made with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ccenv.costs import dense_macs, layer_macs
from ccenv.data import Split, load_split
from ccenv.networks import forward
from ccenv.rollout import evaluate
from ccenv.vector_env import BlockSelectionVectorEnv
from runs import folder as run_folder
from runs.settings import Plan, make_plan

NEUTRAL = {
    "weights": "cotrain",
    "weights_kwargs": {},
    "reward": "accuracy_minus_cost",
    "reward_kwargs": {},
}
"""Settings that a replay does not need: with these nothing is pre-trained and nothing measured."""


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
    total_cost: float
    """the same with the policy's own."""
    macs: float
    """executed MACs of an image with the policy's own."""


@dataclass(frozen=True)
class Rebuilt:
    """A run's network and agent, made anew from its settings and stored tensors."""

    plan: Plan
    """its settings."""
    network: Any
    """with the stored weights."""
    agent: Any
    """with the stored parameters, where they can be put back."""
    is_restored: bool
    """whether they could: an agent that keeps what it learned elsewhere cannot be replayed."""
    test: Split
    """test images."""


def plan_of(config: Mapping[str, Any]) -> Plan:
    """The plan behind a run's `config.json`.

    Raises:
        ValueError: if a setting is unknown here, or the settings do not belong together.
    """
    flat = {**config["environment"], **config["agent_settings"]}
    flat |= {k: v for k, v in config.items() if k not in ("agent", "environment", "agent_settings")}
    return make_plan(config["agent"], flat)


def rebuild(plan: Plan, folder: Path) -> Rebuilt:
    """Builds network and agent and puts the stored tensors in their places.

    Raises:
        ValueError: if weights are missing, damaged or of another network.
    """
    env = BlockSelectionVectorEnv(plan.num_envs, **(plan.environment | NEUTRAL))
    env.reset(seed=plan.program.seed)
    network = env.simulator.network
    try:
        network.load_state_dict(stored_tensors(folder, run_folder.NETWORK))
    except RuntimeError as error:
        raise ValueError(f"expected the weights of this network, got others: {error}") from error
    agent = plan.agent_class(env, seed=plan.program.seed, **plan.agent_settings)
    restored = restore(agent, stored_tensors(folder, run_folder.AGENT))
    test = load_split(plan.environment["dataset"], "test", plan.environment["transforms"])
    return Rebuilt(plan, network.eval(), agent, restored, test)


def stored_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """Tensors of a checkpoint.

    Raises:
        ValueError: if the file is missing or damaged.
    """
    path = folder / run_folder.CHECKPOINT / name
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"expected tensors in {path}, got none ({error})") from error


def restore(agent: Any, stored: Mapping[str, Tensor]) -> bool:
    """Copies stored parameters into an agent and says whether it then has them all."""
    if agent.learns and not stored:
        return False
    try:
        agent.load_parameters(stored)
    except ValueError:
        return False
    return all(torch.equal(value.cpu(), stored[k]) for k, value in agent.parameters().items())


@torch.no_grad()
def replay(rebuilt: Rebuilt, masks: Sequence[Tensor], batch_size: int = 1000) -> Facts:
    """Classifies all test images under given masks.

    Args:
        rebuilt: network, agent (for the MACs of its policy) and images.
        masks: for each gated layer bool [num_images, num_blocks].
        batch_size: images at a time.

    Raises:
        ValueError: if there is not one mask for each test image.
    """
    network, count = rebuilt.network, len(rebuilt.test)
    if [len(mask) for mask in masks] != [count] * len(masks):
        raise ValueError(f"expected masks of {count} test images, got {[len(m) for m in masks]}")
    wrong, nll, macs = 0, 0.0, 0
    for indices in torch.arange(count).split(batch_size):
        images, labels = rebuilt.test.batch(indices)
        chosen = [mask[indices] for mask in masks]
        logits = forward(network, images, chosen, "reference")
        wrong += int((logits.argmax(dim=1) != labels).sum())
        nll += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        for index, mask in enumerate(chosen):
            before = chosen[index - 1] if index else None
            macs += int(layer_macs(network, index, before, mask).sum())
    dense, policy = dense_macs(network), sum(rebuilt.agent.policy_macs)
    return Facts(
        num_images=count,
        error=wrong / count,
        nll=nll / count,
        density=tuple(mask.double().mean().item() for mask in masks),
        compute_cost=macs / count / dense,
        total_cost=(macs / count + policy) / dense,
        macs=macs / count + policy,
    )


def share_of_other_bits(rebuilt: Rebuilt, mode: str, masks: Sequence[Tensor]) -> float:
    """Share of stored bits that the stored policy would choose otherwise with the run's seed."""
    found = evaluate(
        rebuilt.agent.env, rebuilt.agent, sample=mode == "sampled", seed=rebuilt.plan.program.seed
    )
    others = sum(int((a.cpu() != b).sum()) for a, b in zip(found.masks, masks, strict=True))
    return others / sum(mask.numel() for mask in masks)
