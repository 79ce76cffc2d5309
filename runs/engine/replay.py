"""A stored run to what it really does: stored masks on stored weights -> error, MACs, densities.

Nothing of the environment takes part in error, MACs and densities but the network's definition and
the bill of MACs: masks are multiplied in by the reference products, not by the kernels that the
result was made with. Returns are the reward's, on the environment.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccenv.base.registry import resolve
from ccenv.data import Split, load_split
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.networks.build import MLP_SIZES, arguments_of, takes_features
from ccenv.networks.mlp import positive_ints
from ccenv.networks.table import NETWORKS
from ccenv.networks.training import teaching_of
from ccenv.rewards import REWARDS, StatefulReward
from ccenv.runs.plan.settings import Plan, make_plan
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.identity import GROUPS
from ccenv.runs.store.stored import check_alike, distance, stored_tensors
from ccenv.runs.store.trust import check_trusted
from ccenv.simulator.evaluate import Evaluation, evaluate
from ccenv.simulator.simulator import Simulator

BATCH = 1000
"""Images at a time, as in `ccenv.evaluate`: a reward may look at its whole batch."""
MOST_BYTES = 2**31
"""Most bytes of a batch of images; the largest in the project's sweeps has a tenth."""
MOST_NUMBER = 2**16
"""Whole numbers in an agent's settings are sizes and counts, and smaller than this."""


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


@dataclass(frozen=True)
class Rebuilt:
    """A run's network and agent, rebuilt from its settings and stored tensors."""

    plan: Plan
    """its settings."""
    env: BlockSelectionVectorEnv
    """with its reward, where that can pay here, and the stored weights."""
    agent: Any
    """with the stored parameters, where they can be put back."""
    is_restored: bool
    """whether they could: an agent that keeps what it learned elsewhere cannot be replayed."""
    from_recipe: float | None
    """how far the stored weights are from those that the recipe of frozen weights gives here, see
    `ccenv.runs.store.stored.distance`; None for a co-trained network."""
    stored: dict[str, dict[str, Tensor]]
    """tensors of the files `agent.safetensors` and `network.safetensors`."""

    @property
    def network(self) -> Any:
        """With the stored weights."""
        return self.env.simulator.network


def plan_of(config: Mapping[str, Any], trusted: Sequence[str] = ()) -> Plan:
    """The plan behind a run's `config.json`; the only way from a file to what its names stand for.

    Args:
        config: as stored.
        trusted: modules of the reader's own that it may name, see `ccenv.runs.store.trust`.

    Raises:
        ValueError: if it names anything else that is not the project's, a setting is unknown here,
            or the settings do not belong together.
    """
    kinds = {"agent": str, "environment": Mapping, "agent_settings": Mapping}
    for name, kind in kinds.items():
        if not isinstance(config.get(name), kind):
            raise ValueError(f"expected {name} in config.json, got {config.get(name)!r}")
    check_trusted(config, trusted)
    program = {k: v for k, v in config.items() if k not in ("agent", *GROUPS)}
    # None is no limit of the program's; the agent's own, of the same name, is not to be undone.
    if program.get("cost_limit") is None:
        program.pop("cost_limit", None)
    flat = {**config["environment"], **config["agent_settings"], **program}
    return make_plan(config["agent"], flat)


def rebuild(plan: Plan, folder: Path) -> Rebuilt:
    """Builds network and agent and puts the stored tensors in their places.

    Frozen weights are read from this machine's cache, or learned anew, to hold the stored ones
    against them.

    Raises:
        ValueError: if tensors are missing, damaged or of another network or agent.
    """
    names = (run_folder.AGENT, run_folder.NETWORK)
    stored = {name: stored_tensors(folder, name) for name in names}
    weights = stored[run_folder.NETWORK]
    check_sizes(plan, weights)
    # A teacher is not asked again, and seconds are not paid for: neither is needed for a replay.
    trained_by, _ = teaching_of(plan.environment["weights_kwargs"])
    spared: dict[str, Any] = {"weights_kwargs": trained_by}
    if depends_on_machine(plan):
        spared |= {"reward": "accuracy_minus_cost", "reward_kwargs": {}}
    env = BlockSelectionVectorEnv(plan.num_envs, **(plan.environment | spared))
    env.reset(seed=plan.program.seed)
    network = env.simulator.network
    check_alike(weights, network.state_dict(), "network")
    is_frozen = plan.environment["weights"] != "cotrain"
    from_recipe = distance(weights, network.state_dict()) if is_frozen else None
    network.load_state_dict(weights)
    network.eval()
    agent = plan.agent_class(env, seed=plan.program.seed, **plan.agent_settings)
    restored = restore(agent, stored[run_folder.AGENT])
    return Rebuilt(plan, env, agent, restored, from_recipe, stored)


def check_sizes(plan: Plan, weights: Mapping[str, Tensor]) -> None:
    """Refuses settings of another size than the stored weights before anything so large is built.

    Raises:
        ValueError: naming what is too large, or does not fit.
    """
    settings, data = plan.environment, test_images(plan)
    features = math.prod(data.image_shape)
    if plan.num_envs * features * 4 > MOST_BYTES:
        raise ValueError(
            f"expected a batch of at most {MOST_BYTES:,} bytes, got {plan.num_envs:,} rows"
        )
    for name, value in plan.agent_settings.items():
        if isinstance(value, int) and value > MOST_NUMBER:
            raise ValueError(f"expected {name} of at most {MOST_NUMBER:,}, got {value:,}")
    if len(positive_ints(settings["num_blocks"], "num_blocks")) > len(weights):
        raise ValueError(f"expected weights of every gated layer, got {len(weights)} tensors")
    if settings["network"] in NETWORKS:
        builder = resolve(settings["network"], NETWORKS, "network")
        sizes, own = {name: settings[name] for name in MLP_SIZES}, settings["network_kwargs"]
        arguments = arguments_of(builder, data.image_shape, data.num_classes, sizes, own)
        if takes_features(builder):
            # On this device tensors have shapes and neither memory nor values to be checked.
            with torch.device("meta"):
                network = builder(**arguments)
            check_alike(weights, network.state_dict(), "network")


def test_images(plan: Plan) -> Split:
    """Test images as the network sees them."""
    return load_split(plan.environment["dataset"], "test", plan.environment["transforms"])


def depends_on_machine(plan: Plan) -> bool:
    """Whether another machine pays another reward for the same masks."""
    reward = resolve(plan.environment["reward"], REWARDS, "reward")
    description = getattr(reward, "description", None)
    return description is not None and bool(description.depends_on_machine)


def pays_again(plan: Plan) -> bool:
    """Whether the reward gives the same return for the same masks here and now.

    One that remembers what training was like, or was fitted to a teacher's weights, does not.
    """
    reward = resolve(plan.environment["reward"], REWARDS, "reward")
    is_class = isinstance(reward, type) and issubclass(reward, StatefulReward)
    remembers = is_class and reward.update is not StatefulReward.update
    is_fitted = is_class and reward.prepare is not StatefulReward.prepare
    has_teacher = bool(plan.environment["weights_kwargs"].get("warm_start"))
    return not (remembers or depends_on_machine(plan) or (is_fitted and has_teacher))


def restore(agent: Any, stored: Mapping[str, Tensor]) -> bool:
    """Copies stored parameters into an agent and says whether it then has all it learned.

    Raises:
        ValueError: if the stored tensors are another agent's.
    """
    try:
        check_alike(stored, agent.parameters(), "agent")
        agent.load_parameters(stored)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"expected tensors of this agent, got others: {error}") from error
    if any(not torch.equal(value.cpu(), stored[k]) for k, value in agent.parameters().items()):
        raise ValueError("expected an agent that takes its stored tensors back, got other values")
    return bool(stored) or not agent.learns


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
    count = len(test)
    if [len(mask) for mask in masks] != [count] * len(masks):
        raise ValueError(f"expected masks of {count} test images, got {[len(m) for m in masks]}")
    wrong, nll, macs = 0.0, 0.0, 0
    for indices in torch.arange(count).split(batch_size):
        images, labels = test.batch(indices)
        chosen = [mask[indices] for mask in masks]
        values = None if gate_values is None else [value[indices] for value in gate_values]
        logits, right, spent = answers(network, images, labels, chosen, values)
        macs += spent
        wrong += float((logits.argmax(dim=2) != right).double().mean(dim=1).sum())
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
    )


def answers(
    network: Any,
    images: Tensor,
    labels: Tensor,
    masks: Sequence[Tensor],
    gate_values: Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor, int]:
    """Logits [images, n, num_classes] under masks by the reference, what is right, all MACs.

    n is 1 but for networks that answer several times on the way.

    Raises:
        ValueError: if gate values say otherwise than the masks what was computed.
    """
    hidden, macs = network.start(images), 0
    for gate, mask in enumerate(masks):
        values = None if gate_values is None else gate_values[gate]
        if values is not None:
            check_same_blocks(network, gate, hidden, mask, values)
        macs += int(network.macs(gate, hidden, mask).sum())
        hidden = network.step(gate, hidden, mask, values, backend="reference")
    if hasattr(network, "every_answer"):
        return *network.every_answer(hidden, labels), macs
    return network.logits(hidden, "reference")[:, None], labels[:, None], macs


def check_same_blocks(network: Any, gate: int, hidden: Any, mask: Tensor, values: Tensor) -> None:
    """Refuses gate values of other blocks than those that were computed.

    Raises:
        ValueError: if they are.
    """
    asked = values > 0
    asked = network.executed(gate, hidden, asked) if hasattr(network, "executed") else asked
    if not torch.equal(asked, mask):
        share = (asked != mask).double().mean().item()
        raise ValueError(
            f"expected gate values above 0 where a block was computed and 0 elsewhere, got "
            f"{100 * share:.2g} % others at gate {gate}"
        )


def returns(
    rebuilt: Rebuilt, masks: Sequence[Tensor], gate_values: Sequence[Tensor] | None = None
) -> Tensor:
    """What the reward pays for given masks of all test images: [num_images], undiscounted."""
    simulator = rebuilt.env.simulator.on_split("test", BATCH)
    found = []
    for indices in torch.arange(len(simulator.data)).split(BATCH):
        simulator.begin(indices)
        values = [None] * len(masks) if gate_values is None else [v[indices] for v in gate_values]
        pairs = zip(masks, values, strict=True)
        steps = [simulator.step(mask[indices], value).reward for mask, value in pairs]
        found.append(torch.stack(steps).sum(dim=0).cpu())
    return torch.cat(found)


def ask(rebuilt: Rebuilt, draw: str, split: str = "test") -> Evaluation:
    """Asks the policy for its masks again, with the run's seed."""
    sample, seed = draw == "sampled", rebuilt.plan.program.seed
    return evaluate(rebuilt.env, rebuilt.agent, split=split, sample=sample, seed=seed)


@contextmanager
def wrong_labels(rebuilt: Rebuilt) -> Iterator[None]:
    """For a while every test image has the next class as its label, wherever that is looked up.

    The loaded tensors themselves are changed: what a policy finds on the call stack, in the
    environment or by loading the data set once more is the wrong label too.

    Raises:
        RuntimeError: if the environment shows its policy other tensors than these.
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
