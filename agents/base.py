"""Base class of agents: a policy, how it learns, and the training loop."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.distributions import AlwaysOn, IndependentBlocks, OneOrCoins, OrderedBlocks
from ccenv.agents.passes import Passes, change_of_policy, log_probs
from ccenv.agents.stored import StoredPolicy
from ccenv.base.annotations import checks_types, has_mark, marked
from ccenv.base.seeding import stream
from ccenv.base.values import in_a_line
from ccenv.networks.core.count_macs import counted
from ccenv.simulator.rollout import Rollout, collect_rollout, episode_curves, walk
from ccenv.simulator.simulator import Simulator

OnRollout = Callable[[int, dict[str, float]], None]
"""Called after each update: images seen, scalars to plot (`episode/*`, `reward/*`, `agent/*`)."""

NUM_LOOKS = 50
"""In a run, at how far an update moves the policy: each takes a fifth of the update's time."""


def ignore(images_seen: int, scalars: dict[str, float]) -> None:
    """Ignores the update."""


class Agent(StoredPolicy):
    """A policy that may learn from rollouts.

    A subclass defines `distribution` (or `act`), and `update` if it learns. `policy_macs` are
    counted, unless it assigns them.

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
    gives_values: bool = False
    """whether its actions multiply kept blocks, see `ccenv.base.masks.gate_values_of`."""
    resumes: ClassVar[bool] = True
    """whether the `learn` of the same class goes on from `images_done`; say so with your own."""
    sequences: ClassVar[bool] = False
    """whether it learns from episodes over sequences; say so with an `update` of yours that walks
    `rollout.by_gate`, or looks at no layer's number."""
    passes: Passes = Passes()
    """gradient steps of an update on one rollout."""
    images_done: int = 0
    """inputs that an interrupted run has seen: the next `learn` goes on from there."""

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
        if self.simulator.is_sequence:
            self.check_over_sequences()
        self.num_blocks = self.simulator.num_blocks
        self.seed = seed
        self.generator = stream(seed, "agent draws", self.simulator.device)
        self.progress = 0.0

    @classmethod
    def check_over_sequences(cls) -> None:
        """Refuses episodes over sequences where it learns and does not learn from them."""
        if cls.learns and not cls.sequences:
            raise ValueError(
                f"expected an agent that learns over sequences, such as reinforce, got "
                f"{cls.__name__}; one whose update walks `rollout.by_gate` says `sequences = True`"
            )

    @functools.cached_property
    def policy_macs(self) -> Sequence[int]:  # type: ignore[override]
        """MACs of choosing one input's mask at each gate, as counted of `act`; assign them to say.

        Raises:
            ValueError: if they cannot be counted, as of an `act` that needs an episode.
        """
        example = torch.zeros(1, self.simulator.obs_size, device=self.simulator.device)
        try:
            with torch.no_grad():
                gates = range(len(self.num_blocks))
                return [counted(functools.partial(self.act, example, gate))[0] for gate in gates]
        # It runs code of the user's.
        except Exception as error:
            raise ValueError(
                f"expected {type(self).__name__} to assign policy_macs, the MACs of choosing one "
                "input's mask at each gate ([0] * gates where it costs nothing); its act could not "
                f"be counted: {type(error).__name__}: {in_a_line(error)}"
            ) from error

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

    @property
    def draws_masks(self) -> bool:
        """Whether training masks are drawn from `distribution`: then updates have a KL divergence.

        Say so with an `act` of yours that draws them.
        """
        is_missing = has_mark(self.distribution, "is_missing")
        return has_mark(self.act, "asks_distribution") and not is_missing

    @torch.no_grad()
    def log_probabilities(self, rollout: Rollout) -> Tensor | None:
        """Of a rollout's masks, as the policy is now: [num_steps, batch] float32.

        None of masks that are not drawn, or from a distribution of yours.
        """
        kinds = IndependentBlocks | OrderedBlocks | OneOrCoins | AlwaysOn
        if not self.draws_masks or not isinstance(
            self.distribution(rollout.observations[0], 0), kinds
        ):
            return None
        return log_probs(self, rollout)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Learns from one rollout and returns scalars to plot."""
        return {}

    def read(self, **scalars: Tensor) -> dict[str, float]:
        """Turns the scalars of an update into numbers: one wait for a GPU, however many they are.

        `update` returns what this gives: `return self.read(loss=loss)`.
        """
        return self.simulator.checks.read(scalars)

    @checks_types
    def learn(self, num_images: int, on_rollout: OnRollout = ignore) -> int:
        """Collects, updates and, in co-training, lets the network learn, until enough inputs.

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
            looks_before = images_seen * NUM_LOOKS // num_images
            images_seen += rollout.num_images
            looks = images_seen * NUM_LOOKS // num_images > looks_before and on_rollout != ignore
            before = self.log_probabilities(rollout) if looks else None
            scalars = self.update(rollout)
            if before is not None and (after := self.log_probabilities(rollout)) is not None:
                clips = not self.passes.is_one_step
                scalars |= self.read(**change_of_policy(before, after, clips=clips))
            scalars |= self.simulator.update_network()
            curves = episode_curves(rollout.means)
            on_rollout(images_seen, curves | {f"agent/{k}": v for k, v in scalars.items()})
        return images_seen


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, max_norm: float | None = None) -> None:
    """One step on the optimiser's parameters alone: the network learns in `update_network`.

    A gradient longer than `max_norm` is shortened to it.
    """
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    if max_norm is not None:
        torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    optimizer.step()


def greedy_rewards(agent: Agent) -> Tensor:
    """Rewards of the batch's inputs under their greedy masks: [num_layers, batch]."""
    simulator = agent.simulator
    indices = simulator.indices[:: simulator.group_size].cpu()
    _, _, steps = walk(simulator.on_split(simulator.split, 1), agent, None, indices)
    rewards = torch.stack([step.reward for step in steps])
    return rewards.repeat_interleave(simulator.group_size, dim=1)
