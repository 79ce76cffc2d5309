"""Gymnasium's scalar view: one input, one block mask a step; here the MDP is specified."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from ccenv.base.values import positive_int
from ccenv.envs.actions import Actions
from ccenv.envs.infos import SimulatorView, action_masks, step_info
from ccenv.envs.rendering import (
    RENDER_MODES,
    Window,
    as_html,
    check_render_mode,
    render_episode,
    render_text,
)
from ccenv.envs.rows import check_open, image_indices, row_of
from ccenv.envs.vector import (
    make_reward_space,
    observation_space,
    paid,
)
from ccenv.simulator.simulator import Simulator

MODES = (*RENDER_MODES, "human")
FRAMES = 4
"""A second."""


class BlockSelectionEnv(SimulatorView, gym.Env[np.ndarray, np.ndarray]):
    """Chooses, gate by gate, which blocks of a network are computed for one input.

    ## Description
    The layers of a classifier are split into blocks. An episode is one input. A step is one gate:
    the action says which blocks are computed there. Skipped blocks are not executed. After the
    last gate the network answers, and the episode ends. The environment follows Bengio, Bacon,
    Pineau, Precup 2015, "Conditional Computation in Neural Networks for faster models"
    (arXiv 1511.06297).

    ## Action space
    `MultiBinary(max(num_blocks))`: 1 computes a block, 0 skips it. At a gate with fewer blocks the
    bits beyond its own are ignored, and cost nothing. With `action="weight"` the action space is
    `Box(0, 1, (max(num_blocks),))`: 0 skips a block, other values scale its output.

    ## Observation space
    `Box(obs_size,)` float32: the features offered at the gate, zeros, then the one-hot index of the
    gate. After the last gate the index is all zeros. With `observation="layer_input"` the features
    of a fully connected network are the layer's input. With `"summary"` they are the image,
    average-pooled to at most 8 x 8 per channel, and the root mean square activation of each block
    of the previous gate; of inputs that are no images it is `"layer_input"`.
    `ccenv.mdp.observations` has all kinds.

    ## Reward
    `accuracy_minus_cost`, the default, charges `cost_weight` times the cost of each gate, and pays
    1 for a correct answer at the last step. Set `reward` to another name in
    `ccenv.rewards.REWARDS`, or to a function from `StepOutcome` to one number per input.
    `reward="vector"` gives several numbers per step and declares `reward_space`, as in
    MO-Gymnasium. State of a reward, such as the multiplier of `lagrangian`, changes only between
    episodes; a seeded reset restores it.

    Cost is executed MACs divided by the MACs of the dense network, head included. Keeping every
    block costs 1.

    ## Start and end
    Inputs come in shuffled passes over the split. Episodes end with `terminated` after the last
    gate, never with `truncated`. Use a discount of 1.

    ## Info
    Every step: `layer` (index of the gate), `mask`, `layer_cost`, `cost`, `compute_cost`, `macs`,
    `network_version`, `reward/<term>`, and state of the reward, such as `price`. The last step
    also: `correct`, `nll`, `label`, `prediction`.

    ## Arguments
    `action` ("mask" or "weight"), `render_mode` ("ansi", "rgb_array" or "human"), and the settings
    of `ccenv.simulator.settings.EnvironmentSettings`. All settings survive JSON.

    ## Example

    >>> import gymnasium as gym
    >>> env = gym.make("ccenv:BlockSelection-v0", dataset="synthetic", weights="cotrain")
    >>> observation, info = env.reset(seed=0)
    >>> observation, reward, terminated, truncated, info = env.step([1] * 5 + [0] * 5)
    >>> int(info["mask"].sum()), terminated
    (5, False)

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
        if positive_int(settings.get("group_size", 1), "group_size") != 1:
            raise ValueError(
                f"expected group_size=1 for a single input, got {settings['group_size']}; "
                "groups are the vector environment's: use gym.make_vec"
            )
        self.simulator = Simulator(1, **settings)
        self.actions = Actions(self.simulator, action)
        self.observation_space = observation_space(self.simulator)
        self.action_space = self.actions.space()
        self.reward_space = make_reward_space(self.simulator)
        self._status = "not started"
        self._is_closed = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts the next input's episode.

        Args:
            seed: restarts the random streams (in co-training also the weights).
            options: `{"indices": [i]}` chooses the input.

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
        return step.observation[0].cpu().numpy(), reward, step.is_over, False, info

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
        return render_text([mask[0] for mask in self._decided()], self._blocks(), self._status)

    def _picture(self) -> np.ndarray:
        state, network = self.simulator.state, self.simulator.network
        values = None if state is None else state.images[0].cpu().numpy()
        names, blocks = [gate.name for gate in network.gates], self._blocks()
        letters = self.simulator.data.letters
        masks = [mask[0] for mask in self._decided()]
        return render_episode(values, masks, names, blocks, self._status, letters)

    def _repr_html_(self) -> str:
        """The picture of `render`, for the cell of a notebook."""
        return as_html(self._picture(), self._text())

    def close(self) -> None:
        """Ends the environment's life; steps are refused afterwards."""
        self._window.close()
        self._is_closed = True
