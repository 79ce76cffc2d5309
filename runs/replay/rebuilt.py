"""A finished run, opened again: its folder -> network and agent as they were when it ended."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccenv.agents import AGENTS
from ccenv.base.earlier_settings import earlier_of, in_todays_names
from ccenv.base.registry import resolve
from ccenv.base.seeding import stream
from ccenv.base.values import positive_ints
from ccenv.data import Split, load_split
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.networks import NETWORKS
from ccenv.networks.core.arguments import MLP_SIZES, arguments_of, takes_features
from ccenv.networks.learning.training import teaching_of
from ccenv.rewards import REWARDS
from ccenv.rewards.bind import does
from ccenv.runs.config.agent_settings import agent_parameters, find_agent
from ccenv.runs.config.plan import Plan
from ccenv.runs.config.settings import make_plan
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.identity import GROUPS
from ccenv.runs.store.untrusted_files import (
    check_trusted,
    stored_config,
    stored_tensors,
)
from ccenv.simulator.evaluate import in_order
from ccenv.simulator.policy import follow
from ccenv.simulator.rollout import walk

MOST_BYTES = 2**31
"""Most bytes of a batch of inputs; the largest in the project's sweeps has a tenth."""
MOST_NUMBER = 2**16
"""Whole numbers in an agent's settings are sizes and counts, and smaller than this."""


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
    `distance`; None for a co-trained network."""
    stored: dict[str, dict[str, Tensor]]
    """tensors of the files `agent.safetensors` and `network.safetensors`."""
    begun: dict[str, dict[str, Tensor]]
    """the same before training, as settings and seed give them here."""

    @property
    def network(self) -> Any:
        """With the stored weights."""
        return self.env.simulator.network


def as_it_ran(config: Mapping[str, Any], agent_class: Any) -> dict[str, Any]:
    """A folder's settings as a run has them today, doing what was done then.

    Names are today's. A setting that is gone is left out at the value of what is done today, and
    one that was not there yet has the value of what was done before.
    """
    earlier = earlier_of(agent_class)
    settings = in_todays_names(config["agent_settings"], earlier.names, warns=False)
    gone = earlier.gone
    settings = {n: v for n, v in settings.items() if n not in gone or gone[n] != v}
    if config["agent"] in AGENTS:
        taken, _ = agent_parameters(agent_class)
        settings = {n: v for n, v in earlier.values.items() if n in taken} | settings
    # It was handed on to the reward or the agent, which say it too.
    others = {name: value for name, value in config.items() if name != "cost_limit"}
    return others | {"agent_settings": settings}


def plan_of(config: Mapping[str, Any], trusted: Sequence[str] = ()) -> Plan:
    """The plan behind a run's `config.json`: the one way from a file to what its names mean."""
    kinds = {"agent": str, "environment": Mapping, "agent_settings": Mapping}
    for name, kind in kinds.items():
        if not isinstance(config.get(name), kind):
            raise ValueError(f"expected {name} in config.json, got {config.get(name)!r}")
    check_trusted(config, trusted)
    whole = as_it_ran(config, find_agent(config["agent"]))
    program = {k: v for k, v in whole.items() if k not in ("agent", *GROUPS)}
    settings = {**whole["environment"], **whole["agent_settings"], **program}
    return make_plan(config["agent"], settings)


def rebuild(plan: Plan, folder: Path) -> Rebuilt:
    """Builds network and agent and puts the stored tensors in their places.

    Frozen weights are read from this machine's cache, or learned again, to hold the stored ones
    against them.
    """
    names = (run_folder.AGENT, run_folder.NETWORK)
    stored = {name: stored_tensors(folder, name) for name in names}
    weights = stored[run_folder.NETWORK]
    check_fits(plan, weights)
    # A teacher is not asked again, and seconds are not paid for: neither is needed for a replay.
    trained_by, _ = teaching_of(plan.environment["weights_kwargs"])
    spared: dict[str, Any] = {"weights_kwargs": trained_by}
    if depends_on_machine(plan):
        spared |= {"reward": "accuracy_minus_cost", "reward_kwargs": {}}
    env = BlockSelectionVectorEnv(plan.num_envs, **(plan.environment | spared))
    env.reset(seed=plan.program.seed)
    network = env.simulator.network
    check_same_tensors(weights, network.state_dict(), "network")
    is_frozen = plan.environment["weights"] != "cotrain"
    from_recipe = distance(weights, network.state_dict()) if is_frozen else None
    begun = {run_folder.NETWORK: copied(network.state_dict())}
    network.load_state_dict(weights)
    network.eval()
    agent = plan.agent_class(env, seed=plan.program.seed, **plan.agent_settings)
    begun[run_folder.AGENT] = copied(agent.parameters())
    follow(agent, env.simulator)
    restored = put_back(agent, stored[run_folder.AGENT])
    return Rebuilt(plan, env, agent, restored, from_recipe, stored, begun)


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as they are now, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}


def check_fits(plan: Plan, weights: Mapping[str, Tensor]) -> None:
    """Refuses settings of another size than the stored weights before anything is built."""
    settings, data = plan.environment, test_images(plan)
    features = math.prod(data.image_shape)
    if plan.num_envs * features * 4 > MOST_BYTES:
        raise ValueError(
            f"expected a batch of at most {MOST_BYTES:,} bytes, got {plan.num_envs:,} rows"
        )
    for name, value in plan.agent_settings.items():
        if isinstance(value, int) and value > MOST_NUMBER:
            raise ValueError(f"expected {name} of at most {MOST_NUMBER:,}, got {value:,}")
    # Networks of other kinds have the default's two layers in their settings, and no such weights.
    if len(positive_ints(settings["num_blocks"], "num_blocks")) > max(2, len(weights)):
        raise ValueError(f"expected weights of every gated layer, got {len(weights)} tensors")
    if settings["network"] in NETWORKS:
        builder = resolve(settings["network"], NETWORKS, "network")
        sizes = {name: settings[name] for name in MLP_SIZES}
        network_kwargs = settings["network_kwargs"]
        arguments = arguments_of(builder, data.image_shape, data.num_classes, sizes, network_kwargs)
        if takes_features(builder):
            # On this device tensors have shapes and neither memory nor values to be checked.
            with torch.device("meta"):
                network = builder(**arguments)
            check_same_tensors(weights, network.state_dict(), "network")


def test_images(plan: Plan) -> Split:
    """Test inputs as the network sees them."""
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
    has_teacher = bool(plan.environment["weights_kwargs"].get("warm_start"))
    is_fitted = has_teacher and does(reward, "prepare")
    return not (does(reward, "update") or is_fitted or depends_on_machine(plan))


def put_back(agent: Any, stored: Mapping[str, Tensor]) -> bool:
    """Copies stored parameters into an agent and says whether it then has all it learned."""
    try:
        check_same_tensors(stored, agent.parameters(), "agent")
        agent.load_parameters(stored)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"expected tensors of this agent, got others: {error}") from error
    if any(not torch.equal(value.cpu(), stored[k]) for k, value in agent.parameters().items()):
        raise ValueError("expected an agent that takes its stored tensors back, got other values")
    return bool(stored) or not agent.learns


def open_run(folder: Path, trusted: Sequence[str] = ()) -> Rebuilt:
    """Reads a run's settings and puts its stored weights in their places."""
    check_finished(folder)
    config = stored_config(folder)
    rebuilt = rebuild(plan_of(config, trusted), folder)
    if not rebuilt.is_restored:
        raise ValueError(
            f"expected a policy that {folder / run_folder.CHECKPOINT} gives back, got "
            f"{rebuilt.plan.agent}, which keeps what it learned elsewhere; train another agent"
        )
    return rebuilt


def check_finished(folder: Path) -> None:
    """Refuses a folder without a finished run and its weights, saying which of them is missing."""
    needed = [run_folder.CONFIG, run_folder.RESULT]
    needed += [f"{run_folder.CHECKPOINT}/{n}" for n in (run_folder.AGENT, run_folder.NETWORK)]
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing == needed:
        below = sorted({str(path.parent) for path in folder.rglob(run_folder.RESULT)})
        hint = f"; for example {below[0]}" if below else "; ccenv train makes one and says where"
        raise ValueError(f"expected the folder of a run, got {folder}{hint}")
    if missing:
        raise ValueError(
            f"expected a finished run with its weights in {folder}, got none of "
            f"{', '.join(missing)}; copy them there, or train it again: see {run_folder.COMMAND}"
        )


MOST = 1000
"""Test inputs that are looked at: the first ones, which an evaluation walks together too."""


@dataclass(frozen=True)
class WalkedInputs:
    """The first test inputs of a run, each once; of sequences all positions, one behind the other.

    Then n counts positions.
    """

    inputs: Tensor
    """[n, ...] as the network sees them."""
    labels: Tensor
    """[n] int64."""
    masks: tuple[Tensor, ...]
    """for each gate bool [n, num_blocks]."""
    macs: Tensor
    """[n, gates] int64; what each step executed, the policy's own aside."""
    logits: Tensor
    """[n, classes] float32."""
    nll: Tensor
    """[n] in nats."""
    positions: int = 1
    """so many neighbouring rows are one sequence."""


def walk_inputs(
    rebuilt: Rebuilt, deterministic: bool, context: Mapping[str, float] | None = None
) -> WalkedInputs:
    """Asks the policy for its masks of the first test inputs, as the run's evaluation did.

    Args:
        rebuilt: the run.
        deterministic: True for greedy masks, False for sampled ones, with the run's seed.
        context: cost weights or budgets of all inputs, see `Simulator.at`; None: as the
            environment has them.
    """
    whole = rebuilt.env.simulator.on_split("test", 1)
    count, gates = min(MOST, whole.num_episodes), whole.num_layers
    simulator = whole.on_split("test", count)
    if context:
        simulator = simulator.at(**context)
    seed = rebuilt.plan.program.seed
    generator = None if deterministic else stream(seed, "evaluation masks")
    _, _, steps = walk(simulator, rebuilt.agent, generator, torch.arange(count))
    by_gate = [[step.outcome for step in steps[gate::gates]] for gate in range(gates)]
    last: list[Any] = by_gate[-1]
    spent = torch.stack([in_order([one.macs for one in outcomes]) for outcomes in by_gate], dim=1)
    return WalkedInputs(
        inputs=simulator.data.batch(torch.arange(count * simulator.positions))[0],
        labels=in_order([one.labels for one in last]),
        masks=tuple(in_order([one.mask for one in outcomes]) for outcomes in by_gate),
        macs=spent.diff(dim=1, prepend=torch.zeros_like(spent[:, :1])),
        logits=in_order([one.logits for one in last]),
        nll=-in_order([one.log_likelihood for one in last]),
        positions=simulator.positions,
    )


def check_same_tensors(
    stored: Mapping[str, Tensor], expected_tensors: Mapping[str, Tensor], what: str
) -> None:
    """Refuses tensors of other names, shapes or types than those of what was built."""
    kinds = [
        {n: (list(t.shape), t.dtype) for n, t in tensors.items()}
        for tensors in (expected_tensors, stored)
    ]
    names = sorted(kinds[0].keys() | kinds[1].keys())
    other = [name for name in names if kinds[0].get(name) != kinds[1].get(name)]
    if other:
        expected, got = ({n: kind.get(n) for n in other[:3]} for kind in kinds)
        raise ValueError(f"expected tensors of this {what}, {expected}, got {got}")


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Largest relative difference of two networks' tensors, by their norms; 0 if they are equal."""
    pairs = [(one[name].double().cpu(), tensor.double().cpu()) for name, tensor in other.items()]
    distances = [
        (a - b).norm() / torch.maximum(a.norm(), b.norm()).clamp(min=1e-30) for a, b in pairs
    ]
    return max((float(value) for value in distances), default=0.0)
