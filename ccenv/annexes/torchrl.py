"""TorchRL's view: TensorDicts of masks -> TensorDicts of observations and rewards, no numpy."""

from typing import Any

import torch
from gymnasium.utils import seeding
from torch import Tensor

from ccenv.base.masks import bits_of, pad_mask
from ccenv.simulator.simulator import Simulator
from ccenv.simulator.step import Step

try:
    from tensordict import TensorDict, TensorDictBase
    from torchrl.data import Binary, Bounded, Composite, Unbounded
    from torchrl.envs import EnvBase
except ImportError as error:
    raise ImportError(
        f'expected torchrl and tensordict, got {error}; run pip install "ccenv[torchrl]"'
    ) from error


class BlockSelectionEnv(EnvBase):
    """A batch of `ccenv.BlockSelectionEnv` for TorchRL's collectors.

    The batch size is [num_envs]; all values are tensors on the simulator's device:

    - `action`: bool [num_envs, max(num_blocks)], True = computed; bits behind a gate's own blocks
      are ignored. Floats and integers of 0 and 1 pass too, for distributions that sample these.
    - `observation`: float32 [num_envs, obs_size].
    - `action_mask`: bool [num_envs, max(num_blocks)]; which bits the next gate reads.
    - `reward`: float32 [num_envs, 1]; of a reward of several numbers, [num_envs, numbers].
    - `cost`, `compute_cost`: float32 [num_envs, 1], MACs of the last gate and of the episode so
      far over the dense network's; `mask`: bool [num_envs, max(num_blocks)], the computed blocks.
    - `correct`: bool [num_envs, 1], whether the answer is correct; False before the last gate.
    - `done`, `terminated`: bool [num_envs, 1], for all rows at once, since all end together.

    In co-training call `update_network()` between rollouts.
    """

    def __init__(self, num_envs: int = 1, *, seed: int | None = None, **settings: Any) -> None:
        """Builds the environment.

        Args:
            num_envs: rows; a multiple of `group_size`.
            seed: see `set_seed`; None: the operating system's randomness.
            **settings: see `ccenv.simulator.simulator.Simulator`, for errors too.
        """
        simulator = Simulator(num_envs, **settings)
        super().__init__(device=simulator.device, batch_size=torch.Size([num_envs]))
        # TorchRL's base is a module: its registry of parameters is none of the network's business.
        self.__dict__["simulator"] = simulator
        self._make_specs()
        self._set_seed(seed)

    def _make_specs(self) -> None:
        rows, blocks = self.simulator.num_images, self.simulator.max_blocks
        place = {"device": self.simulator.device}
        bits = {"n": blocks, "shape": (rows, blocks), "dtype": torch.bool} | place
        flag = {"n": 1, "shape": (rows, 1), "dtype": torch.bool} | place
        share = {"low": 0.0, "high": 1.0, "shape": (rows, 1), "dtype": torch.float32} | place
        columns = self.simulator.obs_size
        self.action_spec = Binary(**bits)
        self.observation_spec = Composite(
            observation=Unbounded((rows, columns), dtype=torch.float32, **place),
            action_mask=Binary(**bits),
            mask=Binary(**bits),
            cost=Bounded(**share),
            compute_cost=Bounded(**share),
            correct=Binary(**flag),
            shape=(rows,),
            **place,
        )
        description = self.simulator.reward.description
        numbers = len(description.components) if description is not None else 0
        self.reward_spec = Unbounded((rows, numbers or 1), dtype=torch.float32, **place)
        self.done_spec = Composite(
            done=Binary(**flag), terminated=Binary(**flag), shape=(rows,), **place
        )

    def _set_seed(self, seed: int | None) -> None:
        # As the Gymnasium views do, so that the same seed shows the same images everywhere.
        self.simulator.seed(int(seeding.np_random(seed)[0].integers(2**31)))

    def _reset(self, tensordict: TensorDictBase | None = None, **options: Any) -> TensorDictBase:
        wanted = None if tensordict is None else tensordict.get("_reset", None)
        if wanted is not None and not bool(wanted.all()):
            raise ValueError(
                "expected a reset of all rows, which go through the gates together, got one of "
                "some; leave _reset out"
            )
        rows, blocks = self.simulator.num_images, self.simulator.max_blocks
        observation = self.simulator.begin(options.get("indices"))
        nothing = torch.zeros(rows, 1, device=self.device)
        return self._seen(
            observation,
            mask=torch.zeros(rows, blocks, dtype=torch.bool, device=self.device),
            cost=nothing,
            compute_cost=nothing.clone(),
            correct=torch.zeros_like(nothing, dtype=torch.bool),
        )

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        # Distributions of bits sample floats. Only these are looked at, which waits for a GPU.
        step: Step = self.simulator.step(bits_of(tensordict.get("action")))
        outcome, prediction = step.outcome, step.outcome.prediction
        if outcome.is_last:
            self.simulator.checks.settle()
        right = torch.zeros_like(outcome.labels, dtype=torch.bool)
        tensors = self._seen(
            step.observation,
            mask=pad_mask(outcome.mask, self.simulator.max_blocks),
            cost=outcome.layer_cost[:, None],
            compute_cost=outcome.compute_cost[:, None],
            correct=(right if prediction is None else prediction == outcome.labels)[:, None],
        )
        is_vector = self.simulator.reward.is_vector
        numbers = list(step.terms.values()) if is_vector else [step.reward]
        tensors["reward"] = torch.stack(numbers, dim=1)
        ends = torch.full((self.simulator.num_images, 1), step.is_over, device=self.device)
        tensors["done"], tensors["terminated"] = ends, ends.clone()
        return tensors

    def _seen(self, observation: Tensor, **others: Tensor) -> TensorDict:
        simulator = self.simulator
        layer, blocks = simulator.layer, simulator.max_blocks
        num_blocks = simulator.num_blocks[layer] if layer < simulator.num_layers else 0
        allowed = torch.zeros(simulator.num_images, blocks, dtype=torch.bool, device=self.device)
        allowed[:, :num_blocks] = True
        seen = {"observation": observation, "action_mask": allowed} | others
        return TensorDict(seen, batch_size=self.batch_size, device=self.device)

    def update_network(self) -> dict[str, float]:
        """Co-training: see `Simulator.update_network`; call it between rollouts."""
        return self.simulator.update_network()
