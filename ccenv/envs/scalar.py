"""Gymnasium's scalar view: one image, one block mask a step; here the MDP is specified."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from ccenv.data.text import letters_of
from ccenv.envs.actions import Actions
from ccenv.envs.infos import View, action_masks, step_info
from ccenv.envs.rendering import Window, as_html, render_episode, render_text
from ccenv.envs.rows import check_open, image_indices, row_of
from ccenv.envs.vector import (
    RENDER_MODES,
    check_render_mode,
    make_reward_space,
    observation_space,
    paid,
)
from ccenv.simulator.settings import make_simulator

MODES = (*RENDER_MODES, "human")
FRAMES = 4
"""A second."""


class BlockSelectionEnv(View, gym.Env[np.ndarray, np.ndarray]):
    """Decide for one image which blocks of each hidden layer are computed.

    ## Description
    A classifier's hidden layers are split in blocks of units. An episode is one image; a step is
    one gated layer, from the input to the output. The action says which blocks of the layer are
    computed; the others are skipped, not executed, and are zero for the next layer. After the last
    gated layer the network answers and the episode ends. (Bengio, Bacon, Pineau, Precup 2015,
    "Conditional Computation in Neural Networks for faster models", arXiv 1511.06297; there each
    layer is a problem of one step with the same final cost.)

    ## Action space
    `MultiBinary(max(num_blocks))`: 1 computes a block, 0 skips it. A layer with fewer blocks
    ignores the bits beyond its own; they are free. With `action="weight"`:
    `Box(0, 1, (max(num_blocks),))`, gate values: 0 skips a block, what others give is multiplied
    with theirs.

    ## Observation space
    `Box(obs_size,)` float32. With `observation="layer_input"`: the layer's input padded with zeros
    to the widest layer, then the one-hot index of the layer. With `"summary"`: the image
    average-pooled to at most 8 x 8 per channel, the root mean square activation of each block of
    the previous layer, then the index. After the last layer the index is all zeros.

    ## Reward
    `reward="accuracy_minus_cost"` (default): minus `cost_weight` times the layer's cost on every
    step, plus 1 for a right answer on the last. Others: `ccenv.rewards.REWARDS`, or a function of
    yours from `StepOutcome` to one number for each image. `reward="vector"` gives several numbers
    a step and declares `reward_space`, as in MO-Gymnasium; elsewhere that is None. What a reward
    remembers (the price of `lagrangian`) changes between episodes only; a seeded reset restores it.

    ## Compute cost
    Executed MACs over the MACs of the dense network, head included: 1 with every block kept.

    ## Start and end
    Images come in shuffled passes over the split. Episodes end by `terminated` after the last
    gated layer, never by `truncated`; use a discount of 1.

    ## Info
    Every step: `layer`, `mask` (as executed), `layer_cost`, `cost` (the same, for libraries of
    constrained RL), `compute_cost` and `macs` (so far), `network_version`, `reward/<term>`. The
    last step also: `correct`, `nll`, `label`, `prediction`. Of rewards that remember something
    also that, such as `price`.

    ## Arguments
    `action` ("mask", "weight"), `render_mode` ("ansi", "rgb_array", "human") and those of
    `ccenv.simulator.simulator.Simulator`: `dataset`, `split`, `transforms`, `network`,
    `num_blocks`, `block_size`, `head_units`, `activation`, `weights`, `weights_kwargs`, `reward`,
    `reward_kwargs`, `observation`, `device`; and `context`, prices or budgets of each episode, see
    `ccenv.simulator.context`.

    ## Version history
    v0: first version.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": list(MODES),
        "render_fps": FRAMES,
    }

    def __init__(
        self, *, action: str = "mask", render_mode: str | None = None, **settings: Any
    ) -> None:
        """Builds the environment; see the class, and `Simulator` for errors."""
        self.render_mode = check_render_mode(render_mode, MODES)
        self._window = Window(1 / FRAMES)
        if settings.get("group_size", 1) != 1:
            raise ValueError(
                f"expected group_size=1 for a single image, got {settings['group_size']}; "
                "groups are the vector environment's: use gym.make_vec"
            )
        self.simulator = make_simulator(1, settings)
        self.actions = Actions(self.simulator, action)
        self.observation_space = observation_space(self.simulator)
        self.action_space = self.actions.space()
        self.reward_space = make_reward_space(self.simulator)
        self._status = "not started"
        self._is_closed = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts the next image's episode.

        Args:
            seed: starts the random streams anew (in co-training also the weights).
            options: `{"indices": [i]}` chooses the image.

        Returns:
            The observation [obs_size] float32 and `{"network_version": int}`.
        """
        check_open(self._is_closed)
        indices = image_indices(options)
        if indices is not None and len(indices) != 1:
            raise ValueError(f"expected one index, got {len(indices)}")
        super().reset(seed=seed)
        self.start(seed, self.np_random)
        observation = self._begin(indices)[0]
        self._status = "started"
        self._show()
        return observation, {"network_version": self.simulator.network_version}

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """Computes one gated layer under a mask.

        Args:
            action: [max(num_blocks)] of 0 and 1, or gate values in [0, 1] with `action="weight"`.

        Returns:
            Observation, reward (a float; of a reward of several numbers float32
            `reward_space.shape`), terminated, truncated (always False) and info.

        Raises:
            RuntimeError: before reset, after the end of the episode, or after close.
            TypeError, ValueError: if the action is neither a mask nor gate values, as set.
        """
        check_open(self._is_closed)
        step = self._step(*self.actions.read(action))
        info = row_of(step_info(step, self.simulator.max_blocks, self.simulator.network_version), 0)
        self._status = f"cost {info['compute_cost']:.3f}"
        if step.outcome.is_last:
            self._status += f", answer {info['prediction']}, label {info['label']}"
        paid_now = paid(self.simulator, step)[0]
        reward = float(paid_now) if self.reward_space is None else paid_now
        self._show()
        return step.observation[0].cpu().numpy(), reward, step.outcome.is_last, False, info

    def action_masks(self) -> np.ndarray:
        """What MaskablePPO may choose: see `ccenv.envs.infos.action_masks`."""
        return action_masks(self.simulator)

    def render(self) -> Any:
        """The episode so far: a map of blocks as str with "ansi"; with "rgb_array" the input too.

        The latter is uint8 [height, width, 3], of one size through the whole episode. With "human"
        every reset and step shows that picture in a window, and this is None.
        """
        if self.render_mode == "ansi":
            return self._text()
        return self._picture() if self.render_mode == "rgb_array" else None

    def _show(self) -> None:
        if self.render_mode == "human":
            self._window.show(self._picture())

    def _text(self) -> str:
        return render_text(
            [mask[0] for mask in self._decided()], self.simulator.num_blocks, self._status
        )

    def _picture(self) -> np.ndarray:
        state, network = self.simulator.state, self.simulator.network
        values = None if state is None else state.images[0].cpu().numpy()
        names, blocks = [gate.name for gate in network.gates], self.simulator.num_blocks
        letters = letters_of(self.simulator.dataset)
        masks = [mask[0] for mask in self._decided()]
        return render_episode(values, masks, names, blocks, self._status, letters)

    def _repr_html_(self) -> str:
        """The picture of `render`, for the cell of a notebook."""
        return as_html(self._picture(), self._text())

    def close(self) -> None:
        """Ends the environment's life; steps are refused afterwards."""
        self._window.close()
        self._is_closed = True
