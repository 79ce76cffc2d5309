"""Agent: a policy and how it learns; the loop that all agents of this package share."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ccenv.rollout import Rollout, collect_rollout
from ccenv.seeding import stream, stream_seed
from ccenv.simulator import Simulator

OnRollout = Callable[[int, dict[str, float]], None]
"""Told after each update: images seen, scalars to plot (`episode/*` and `agent/*`)."""


def ignore(images_seen: int, scalars: dict[str, float]) -> None:
    """Listens to nothing."""


class Agent:
    """Acts on observations; learns from rollouts where it overrides `update`.

    A new agent needs `distribution` (or `act`), `update` if it learns, and `policy_macs` if
    choosing costs anything.
    """

    env_defaults: ClassVar[dict[str, Any]] = {}
    """settings of the environment that the agent wants unless the user says otherwise."""
    learns: ClassVar[bool] = True
    """False for rules that training would not change."""
    uses_labels: ClassVar[bool] = False
    """True for ceilings that look at the true label; tables mark them."""

    def __init__(self, env: Any, *, seed: int = 0) -> None:
        """Prepares the agent for an environment.

        Args:
            env: a `BlockSelectionVectorEnv` that was reset with a seed, or a `Simulator`.
            seed: of the agent's own streams: initial weights and draws.
        """
        base = getattr(env, "unwrapped", env)
        self.env = env
        self.simulator: Simulator = getattr(base, "simulator", base)
        self.num_blocks = self.simulator.num_blocks
        self.seed = seed
        self.generator = stream(seed, "agent draws")
        self.policy_macs: Sequence[int] = [0] * len(self.num_blocks)
        self.progress = 0.0

    def distribution(self, observation: Tensor, layer: int) -> Any:
        """What masks are drawn from: [batch, obs_size] -> an object of `agents.masks`."""
        raise TypeError(f"{type(self).__name__} must define distribution(...) or act(...)")

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws masks, or takes the most probable ones; see `ccenv.rollout.Policy.act`."""
        blocks = self.distribution(observation, layer)
        mask: Tensor = blocks.mode() if generator is None else blocks.sample(generator)
        return mask

    def keep_probability(self, observation: Tensor, layer: int) -> Tensor | None:
        """Keep probabilities [batch, num_blocks[layer]], None where masks are not drawn so."""
        if type(self).distribution is Agent.distribution:
            return None
        return getattr(self.distribution(observation, layer), "probability", None)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Learns from one rollout and returns scalars to plot."""
        return {}

    def learn(self, num_images: int, on_rollout: OnRollout = ignore) -> int:
        """Collects, updates and, in co-training, lets the network learn, until enough images.

        Args:
            num_images: how many images to see; a whole batch is always finished.
            on_rollout: told after each update.

        Returns:
            The number of images seen; 0 where nothing in agent or network would change.
        """
        images_seen = 0
        if not self.learns and self.simulator.weights == "frozen":
            return images_seen
        while images_seen < num_images:
            self.progress = images_seen / num_images
            rollout = collect_rollout(self.simulator, self, self.generator)
            images_seen += rollout.num_images
            own = self.update(rollout) | self.simulator.update_network()
            curves = {f"episode/{k}": v for k, v in rollout.means.items()}
            on_rollout(images_seen, curves | {f"agent/{k}": v for k, v in own.items()})
        return images_seen

    def parameters(self) -> dict[str, Tensor]:
        """Learned tensors by name, for checkpoints."""
        return {
            f"{name}.{key}": value
            for name, module in vars(self).items()
            if isinstance(module, nn.Module)
            for key, value in module.state_dict().items()
        }


class LayerScores(nn.Module):
    """One small network for each gated layer: observation -> a score for each block.

    Without hidden units this is the paper's policy: one affine map a layer. It reads only the
    columns of the observation that are informative at its layer, and its MACs are billed so.
    """

    def __init__(self, simulator: Simulator, seed: int, hidden_units: int = 0) -> None:
        """Draws Glorot uniform weights and zero biases.

        Args:
            simulator: gives the sizes.
            seed: of the initial weights.
            hidden_units: of one tanh layer in between; 0 for none.
        """
        super().__init__()
        self.lengths = simulator.observe.lengths[: simulator.num_layers]
        generator = torch.Generator().manual_seed(stream_seed(seed, "policy weights"))
        self.layers = nn.ModuleList()
        for length, blocks in zip(self.lengths, simulator.num_blocks, strict=True):
            sizes = [length, hidden_units, blocks] if hidden_units else [length, blocks]
            maps = [nn.Linear(a, b) for a, b in pairwise(sizes)]
            for linear in maps:
                nn.init.xavier_uniform_(linear.weight, generator=generator)
                nn.init.zeros_(linear.bias)
            stack = [maps[0]] if len(maps) == 1 else [maps[0], nn.Tanh(), maps[1]]
            self.layers.append(nn.Sequential(*stack))
        self.to(simulator.device)

    @property
    def macs(self) -> list[int]:
        """MACs of one image, for each layer."""
        return [
            sum(m.weight.numel() for m in stack.modules() if isinstance(m, nn.Linear))
            for stack in self.layers
        ]

    def forward(self, observation: Tensor, layer: int) -> Tensor:
        """Scores [batch, num_blocks[layer]] from observations [batch, obs_size]."""
        scores: Tensor = self.layers[layer](observation[:, : self.lengths[layer]])
        return scores
