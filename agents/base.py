"""Base class of agents: a policy, how it learns, and the training loop."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import gymnasium as gym
import torch
from torch import Tensor, nn

from ccenv.agents.symbol_embeddings import (
    JOINT,
    LOOK_UP_SIZES,
    EmbeddingSize,
    SymbolEmbeddings,
    SymbolRows,
)
from ccenv.base.annotations import checks_types, has_mark, marked
from ccenv.base.seeding import stream, stream_seed
from ccenv.base.snapshot import CannotStoreError, restore, state_of
from ccenv.base.values import shown
from ccenv.mdp.choosers import Chooser
from ccenv.simulator.policy import Policy
from ccenv.simulator.rollout import Rollout, collect_rollout, episode_curves
from ccenv.simulator.simulator import Simulator

OnRollout = Callable[[int, dict[str, float]], None]
"""Called after each update: images seen, scalars to plot (`episode/*`, `reward/*`, `agent/*`)."""


def ignore(images_seen: int, scalars: dict[str, float]) -> None:
    """Ignores the update."""


class Agent(Policy):
    """A policy that may learn from rollouts.

    A subclass defines `distribution` (or `act`), `update` if it learns, and `policy_macs` if
    choosing costs MACs.

    >>> class FirstBlock(Agent):
    ...     def act(self, observation, layer, generator=None):
    ...         mask = torch.zeros(len(observation), self.num_blocks[layer], dtype=torch.bool)
    ...         mask[:, 0] = True
    ...         return mask
    >>> simulator = Simulator(4, dataset="synthetic", weights="cotrain", num_blocks=[4, 2])
    >>> simulator.seed(0)
    >>> FirstBlock(simulator).act(simulator.begin(), layer=1).int().tolist()[0]
    [1, 0]
    """

    env_defaults: ClassVar[dict[str, Any]] = {}
    """the agent's defaults for settings of the environment."""
    earlier_names: ClassVar[dict[str, str]] = {}
    """names that settings had in an earlier version -> those of today; both are taken."""
    gives_values: bool = False
    """whether its actions multiply kept blocks, see `ccenv.base.masks.gate_values_of`."""
    resumes: ClassVar[bool] = True
    """whether the `learn` of the same class goes on from `images_done`; say so with your own."""
    code_version: ClassVar[int] = 1
    """of an agent of ccenv: raise it where a change of its code changes what it learns, so that
    `ccenv compare` says which recorded results are older."""
    by_ranks: ClassVar[bool] = False
    """whether ranks may share its batches; say so with an `update` of yours that looks at nothing
    but the rollout and steps by optimisers of torch that are attributes, as its modules are."""
    images_done: int = 0
    """images that an interrupted run has seen: the next `learn` goes on from there."""

    def __init__(self, env: Any, *, seed: int = 0) -> None:
        """Prepares the agent for an environment.

        Args:
            env: a `BlockSelectionVectorEnv` that was reset with a seed, or a `Simulator`.
            seed: seed of the agent's random streams: initial weights and sampled masks.
        """
        base = getattr(env, "unwrapped", env)
        self.env = env
        self.simulator: Simulator = getattr(base, "simulator", base)
        self.simulator.reward.check_is_one_number("agents")
        self.num_blocks = self.simulator.num_blocks
        self.seed = seed
        self.generator = stream(seed, "agent draws", self.simulator.device)
        self.policy_macs: Sequence[int] = [0] * len(self.num_blocks)
        gates = enumerate(self.simulator.network.gates)
        self.exits = [gate for gate, one in gates if one.skipped == "stop"]
        self.progress = 0.0

    def check_exits(self, agent: str) -> None:
        """Refuses a network without exits for an agent that decides nothing else (ValueError)."""
        if not self.exits:
            raise ValueError(
                f"expected a network with exits for {agent}, such as pondering, pondering_bytes, "
                "early_exit, or lm with network_kwargs.gates=exits and network_kwargs.repeats=3, "
                f"got {type(self.simulator.network).__name__}, which has none"
            )

    @marked("is_missing")
    def distribution(self, observation: Tensor, layer: int) -> Any:
        """Distribution of masks: [batch, obs_size] -> see `ccenv.agents.distributions`."""
        raise TypeError(f"{type(self).__name__} must define distribution(...) or act(...)")

    @marked("asks_distribution")
    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Samples masks, or takes the greedy ones; see `Policy.act`."""
        blocks = self.distribution(observation, layer)
        mask: Tensor = blocks.mode() if generator is None else blocks.sample(generator)
        return mask

    def keep_probability(self, observation: Tensor, layer: int) -> Tensor | None:
        """Keep probabilities [batch, num_blocks[layer]]; None if the policy has none."""
        if has_mark(self.distribution, "is_missing"):
            return None
        return getattr(self.distribution(observation, layer), "probability", None)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Learns from one rollout and returns scalars to plot."""
        return {}

    def read(self, **scalars: Tensor) -> dict[str, float]:
        """Turns the scalars of an update into numbers: one wait for a GPU, however many they are.

        Args:
            **scalars: name -> tensor of one element, such as `loss=loss`.

        Returns:
            The same names with floats, for `update` to return.
        """
        return self.simulator.checks.read(scalars)

    @checks_types
    def learn(self, num_images: int, on_rollout: OnRollout = ignore) -> int:
        """Collects, updates and, in co-training, lets the network learn, until enough images.

        Args:
            num_images: number of training images; a batch is always finished.
            on_rollout: called after each update.

        Returns:
            The number of images seen; 0 if neither the agent nor the network learns.
        """
        images_seen, self.images_done = self.images_done, 0
        if not self.learns and self.simulator.weights != "cotrain":
            return images_seen
        while images_seen < num_images:
            self.progress = images_seen / num_images
            rollout = collect_rollout(self.simulator, self, self.generator)
            images_seen += rollout.num_images
            own = self.update(rollout) | self.simulator.update_network()
            curves = episode_curves(rollout.means)
            on_rollout(images_seen, curves | {f"agent/{k}": v for k, v in own.items()})
        return images_seen

    def parameters(self) -> dict[str, Tensor]:
        """Learned tensors by name, for checkpoints: of modules, and tensors that have a gradient.

        Those may be attributes, or in a list that is one.
        """
        found: dict[str, Tensor] = {}
        for name, value in vars(self).items():
            if isinstance(value, nn.Module):
                found |= {f"{name}.{key}": tensor for key, tensor in value.state_dict().items()}
            for key, tensor in enumerate(value if isinstance(value, list | tuple) else [value]):
                if isinstance(tensor, Tensor) and tensor.requires_grad:
                    found[name if tensor is value else f"{name}.{key}"] = tensor
        return found

    def load_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies what `parameters` gave into an agent built with the same settings.

        Raises:
            ValueError: if there is another tensor, or one of another shape.
        """
        own = self.parameters()
        expected, given = ({n: list(t.shape) for n, t in found.items()} for found in (own, tensors))
        if expected != given:
            raise ValueError(f"expected tensors {expected} of {type(self).__name__}, got {given}")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])

    def torch_optimizers(self) -> list[torch.optim.Optimizer]:
        """Optimisers of torch that are attributes: curves show their rate and gradients."""
        return [one for one in vars(self).values() if isinstance(one, torch.optim.Optimizer)]

    def state(self) -> dict[str, Any]:
        """All that learning changes, for `load_state`: attributes, and torch's global stream.

        Raises:
            CannotStoreError: if an attribute's state is not known, or `learn` cannot go on.
        """
        owner = next(c for c in type(self).__mro__ if "learn" in vars(c))
        if not vars(owner).get("resumes", False):
            raise CannotStoreError(
                f"expected {owner.__name__}.learn to go on from images_done, and `resumes = True` "
                "as well to say so"
            )
        own = {name: value for name, value in vars(self).items() if not is_surrounding(value)}
        own = {name: state_of(value, name) for name, value in own.items()}
        return {"attributes": own, "global_stream": torch.get_rng_state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Puts back what `state` gave into an agent built with the same settings.

        Raises:
            ValueError: if it is the state of another agent.
        """
        for name, tree in state["attributes"].items():
            setattr(self, name, restore(getattr(self, name, None), tree, name))
        torch.set_rng_state(state["global_stream"])


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step on the optimiser's parameters alone: the network learns in `update_network`."""
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()


def is_surrounding(value: Any) -> bool:
    """Whether an attribute is no state of the agent: the environment, a function or a class."""
    kinds = (Simulator, gym.Env, gym.vector.VectorEnv, type)
    return isinstance(value, kinds) or inspect.isroutine(value)


LOOK_UPS = (SymbolEmbeddings, SymbolRows)


class LayerScores(nn.Module):
    """One small network for each gated layer: observation -> a score for each block.

    Without hidden units this is the paper's policy: one affine map a layer. It reads only the
    columns of the observation that are informative at its layer, and its MACs are billed so.
    """

    def __init__(
        self,
        simulator: Simulator,
        seed: int,
        hidden_units: int = 0,
        embedding_size: EmbeddingSize = 0,
        outputs: Sequence[int] | None = None,
    ) -> None:
        """Draws Glorot uniform weights and zero biases.

        Args:
            simulator: gives the sizes.
            seed: of the initial weights.
            hidden_units: of one tanh layer in between; 0 for none.
            embedding_size: numbers that stand for a symbol of the observation, learned here, see
                `SymbolEmbeddings`; 0 reads the observation as it is; "one_hot" or "joint": see
                `SymbolRows`.
            outputs: scores of each layer; None for one a block.

        Raises:
            ValueError: if a size is no number of 0 or more, or symbols are to be looked up of an
                observation that shows none.
        """
        super().__init__()
        for name, size in {"hidden_units": hidden_units, "embedding_size": embedding_size}.items():
            if size in LOOK_UP_SIZES and name == "embedding_size":
                continue
            if not isinstance(size, int) or size < 0:
                others = ", or " + " or ".join(map(repr, LOOK_UP_SIZES))
                other = others if name == "embedding_size" else ""
                raise ValueError(f"expected {name} of 0 or more{other}, got {shown(size)}")
        self.lengths = simulator.observe.lengths[: simulator.num_layers]
        generator = torch.Generator().manual_seed(stream_seed(seed, "policy weights"))
        self.layers = nn.ModuleList()
        for length, blocks in zip(self.lengths, outputs or simulator.num_blocks, strict=True):
            looked_up, width = [], length
            if isinstance(embedding_size, int) and embedding_size:
                table = SymbolEmbeddings(simulator, embedding_size, length, generator)
                looked_up, width = [table], table.out_features
            sizes = [width, hidden_units, blocks] if hidden_units else [width, blocks]
            maps = [nn.Linear(a, b) for a, b in pairwise(sizes)]
            if embedding_size in LOOK_UP_SIZES:
                is_joint = embedding_size == JOINT
                maps[0] = SymbolRows(simulator, length, sizes[1], joint=is_joint)
            for linear in maps:
                nn.init.xavier_uniform_(linear.weight, generator=generator)
                nn.init.zeros_(linear.bias)
            stack = [maps[0]] if len(maps) == 1 else [maps[0], nn.Tanh(), maps[1]]
            self.layers.append(nn.Sequential(*looked_up, *stack))
        self.to(simulator.device)

    @property
    def macs(self) -> list[int]:
        """MACs of one image, for each layer."""
        return [sum(map(macs_of, stack.modules())) for stack in self.layers]

    @property
    def num_plain(self) -> list[int]:
        """Columns of each layer that are numbers; those behind them are looked up as symbols."""
        firsts = [next(iter(stack.children())) for stack in self.layers]
        looks = [m.num_seen if isinstance(m, LOOK_UPS) else 0 for m in firsts]
        return [length - seen for length, seen in zip(self.lengths, looks, strict=True)]

    def maps(self, layer: int) -> list[tuple[Tensor, Tensor | None]]:
        """Weights [out, in] and biases of a layer's affine maps, with tanh in between."""
        linears = [m for m in self.layers[layer].modules() if isinstance(m, nn.Linear)]
        return [(linear.weight, linear.bias) for linear in linears]

    def last(self, layer: int) -> nn.Linear:
        """The map that gives a layer's scores."""
        stack = self.layers[layer]
        assert isinstance(stack, nn.Sequential)
        linear = stack[-1]
        assert isinstance(linear, nn.Linear)
        return linear

    def choosers(
        self, deterministic: bool, num_kept: Sequence[int] | None = None, low: float = 0.0
    ) -> list[Chooser] | None:
        """One chooser a layer, of k blocks each or of coins; see `Chooser` and `Agent.choosers`."""
        if any(isinstance(one, SymbolRows) and one.joint for one in self.modules()):
            return None
        rules = ("sampled", "greedy") if num_kept is None else ("sampled_k", "top_k")
        rule, kept = rules[deterministic], enumerate(num_kept or [1] * len(self.layers))
        return [
            Chooser(self.maps(layer), rule, k, low, embeddings=self.embeddings(layer))
            for layer, k in kept
        ]

    def embeddings(self, layer: int) -> Tensor | None:
        """A layer's own table of symbols: [num_symbols, embedding_size], None for none."""
        stack = self.layers[layer]
        assert isinstance(stack, nn.Sequential)
        first = stack[0]
        if isinstance(first, SymbolRows):
            return torch.eye(first.num_symbols)
        return first.table if isinstance(first, SymbolEmbeddings) else None

    def forward(self, observation: Tensor, layer: int) -> Tensor:
        """Scores [batch, num_blocks[layer]], or `outputs`, from observations [batch, obs_size]."""
        scores: Tensor = self.layers[layer](observation[:, : self.lengths[layer]])
        return scores


class ScoredAgent(Agent):
    """An agent whose masks follow from `scores` of blocks; how they are learned, subclasses say."""

    def __init__(
        self, env: Any, *, seed: int = 0, hidden_units: int = 0, embedding_size: EmbeddingSize = 0
    ) -> None:
        """Prepares the scores.

        Args:
            env: see `Agent`.
            seed: see `Agent`.
            hidden_units: of the policy's hidden layer; 0 for the paper's affine policy.
            embedding_size: of embeddings of symbols, see `ccenv.agents.symbol_embeddings`.
        """
        super().__init__(env, seed=seed)
        self.scores = LayerScores(self.simulator, seed, hidden_units, embedding_size)
        self.policy_macs = self.scores.macs


def macs_of(module: nn.Module) -> int:
    """Products of one observation in a module itself, without those that it holds."""
    if isinstance(module, SymbolRows):
        return module.macs
    return module.weight.numel() if isinstance(module, nn.Linear) else 0
