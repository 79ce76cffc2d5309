"""One step of a simulator: its record, and what extensions add to it."""

import copy
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.base.checks import Checks
from ccenv.data import Split
from ccenv.mdp.dynamics import EpisodeState, StepOutcome
from ccenv.mdp.observations import Observer
from ccenv.networks.core.parameters import FiniteWeights
from ccenv.networks.core.protocol import GatedNetwork, Rule
from ccenv.rewards.bind import Reward
from ccenv.simulator.network_source import NetworkSource
from ccenv.simulator.settings import EnvironmentSettings

BY_ROW = ("mask", "layer_cost", "compute_cost", "macs", "labels", "logits", "answers", "targets")
"""Fields of an outcome that have a row for each row of the batch, or are None."""

InputsAhead = list[tuple[Tensor, Tensor]]
"""Inputs and labels of the next positions, as far as they are drawn."""


@dataclass(frozen=True)
class Step:
    """What one step gives back."""

    state: EpisodeState
    """where the inputs are after the step."""
    observe: Observer
    """how to look at them."""
    reward: Tensor
    """[batch] float32; the sum of the terms."""
    terms: dict[str, Tensor]
    """name -> [batch] float32."""
    outcome: StepOutcome
    """what the mask did."""
    numbers: dict[str, float]
    """what the reward remembered when it paid, such as its multiplier."""
    is_over: bool
    """whether the episodes have ended with it."""
    told: dict[str, Tensor] = field(default_factory=dict)
    """what else `info` says: name -> [batch, ...]; of extensions, such as `concurrent`."""

    @functools.cached_property
    def observation(self) -> Tensor:
        """[batch, obs_size] float32 of the state after the step, without a gradient; on first use.

        After the last layer it is usually not needed, and the copy costs as much as a small layer.
        """
        # The state of a network that learns along has one.
        with torch.no_grad():
            return self.observe(self.state)

    def on_host(self, checks: Checks) -> "Step":
        """The same with its results on the CPU, and errors that were still to come, in one wait.

        The states before and after stay where they are.
        """
        if not self.reward.is_cuda:
            return self
        results: dict[str, Any] = rows_of(self.outcome)
        seen = {"reward": self.reward, "observation": self.observation}
        groups = (results, self.terms, self.told, seen)
        brought: dict[Any, Any] = checks.on_host(
            {(i, name): tensor for i, group in enumerate(groups) for name, tensor in group.items()}
        )
        results, terms, told, arrays = (
            {name: brought[i, name] for name in group} for i, group in enumerate(groups)
        )
        outcome = dataclasses.replace(self.outcome, **results)
        step = dataclasses.replace(
            self, reward=arrays["reward"], terms=terms, told=told, outcome=outcome
        )
        # In the place of a look that would be taken on first use.
        vars(step)["observation"] = arrays["observation"]
        return step


class SimulatorParts:
    """What a `Simulator` has: its extensions, co-training and sequences read it.

    They set nothing of it but `observe`, `reward`, `order` (extensions), `position` and `ahead`
    (sequences).
    """

    asked: EnvironmentSettings
    """its settings as given."""
    dataset: Any
    """name, or the data themselves."""
    transforms: tuple[str, ...]
    """names of what inputs go through."""
    data: Split
    """its split, on its device."""
    order: Any
    """which inputs come next, see `ImageOrder`."""
    observe: Observer
    """how observations are made; an extension may show more at each gate."""
    reward: Reward
    """what a gate pays."""
    extensions: tuple["Extension", ...]
    """in the order of `EXTENSIONS`."""
    learning: Any
    """how its network learns along, see `CoTraining`."""
    checks: Checks
    """of numbers that are looked at together."""
    device: torch.device
    """of all tensors."""
    source: NetworkSource
    """how its network is built."""
    network: GatedNetwork
    """whose blocks are chosen."""
    finite_weights: FiniteWeights
    """of the network."""
    weights: str
    """"frozen", "shipped" or "cotrain"."""
    weights_kwargs: Mapping[str, Any]
    """settings of co-training."""
    num_images: int
    """rows of the batch."""
    group_size: int
    """neighbouring rows of one input."""
    image_shape: tuple[int, ...]
    """of an input."""
    num_layers: int
    """gates of an input."""
    num_blocks: tuple[int, ...]
    """of each gate."""
    max_blocks: int
    """of the gate with most."""
    dense_macs: int
    """of one input under all blocks."""
    is_sequence: bool
    """whether an episode is a sequence."""
    positions: int
    """of a sequence; 1 in episodes of one input."""
    position: int = 0
    """of the sequence, which is decided now; always 0 in episodes of one input."""
    ahead: InputsAhead
    """inputs of the next positions, as far as they are drawn."""
    indices: Tensor
    """int64 [batch]; which input each row has."""
    state: EpisodeState | None = None
    """where the inputs are; None before the first episode."""
    masks: list[Tensor]
    """of the gates that are decided, bool [batch, num_blocks] each; as executed."""
    gate_values: list[Tensor]
    """likewise, float [batch, num_blocks] each; none under masks alone."""
    rule: Rule | None = None
    """masks of windows before their last positions, see `ccenv.simulator.policy.follow`."""
    images_seed: int | None = None
    """None before the first `seed`."""

    @property
    def context(self) -> Any:
        """Cost weights or budgets of the episodes, an extension; None if they have none."""
        return self.extension("context")

    def extension(self, name: str) -> Any:
        """What a setting of `EXTENSIONS` adds to the walk; None where it is not given."""
        return next((one for one in self.extensions if one.name == name), None)

    @property
    def layer(self) -> int:
        """Number of the gated layer that is decided next; num_layers when the episode is over."""
        return 0 if self.state is None else self.state.layer

    @property
    def is_over(self) -> bool:
        """Whether no episode is under way: none has begun, or the last gate is decided."""
        return self.state is None or self.state.layer >= self.num_layers

    @property
    def trainer(self) -> Any:
        """Co-training: what updates the network, see `CoTraining`."""
        return self.learning.trainer


class Extension:
    """What one setting adds to a simulator's walk; each method does nothing unless overridden.

    A simulator calls the methods of all its extensions in the order of `EXTENSIONS`. An extension
    belongs to one simulator, which is passed to its methods; copies of the simulator have copies of
    it.
    """

    name: ClassVar[str]
    """of the setting."""
    over_sequences: ClassVar[bool] = False
    """whether it goes with episodes over sequences."""
    loads: ClassVar[bool] = False
    """whether it says what loading blocks costs, as `StepOutcome.loads`."""
    lands_between_gates: ClassVar[bool] = False
    """whether updates of the network land during episodes, and not in `update_network`."""

    @property
    def tells(self) -> str | None:
        """What of single inputs can be seen from outside because of it; None: nothing."""
        return None

    def check_settings(self, weights: str, reward_kwargs: Mapping[str, Any]) -> None:
        """Refuses settings of the simulator, before anything is loaded or built."""

    def check_beside(self, others: Sequence["Extension"]) -> None:
        """Refuses other extensions of the same simulator."""

    def attach(self, simulator: SimulatorParts) -> None:
        """Takes a simulator whose network is built; refuses a network that does not fit."""

    def seed(self, simulator: SimulatorParts, seed: int) -> None:
        """Restarts its own streams and counts; called after the simulator's."""

    def takes_seed(self, simulator: SimulatorParts) -> bool:
        """Whether a seed that is given now restarts the simulator; else it changes nothing."""
        return True

    def inputs(self, simulator: SimulatorParts, indices: Tensor | None) -> Tensor | None:
        """Which inputs begin, int64 [n]: those asked for, or others; None for the next in order."""
        return indices

    def begin(self, simulator: SimulatorParts, num_inputs: int) -> None:
        """Prepares for an episode of so many inputs, each for `group_size` rows."""

    def before_gate(
        self, simulator: SimulatorParts, mask: Tensor, values: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """What is executed of a chosen mask and gate values, [batch, num_blocks] each."""
        return mask, values

    def before_pay(self, simulator: SimulatorParts, outcome: StepOutcome) -> StepOutcome:
        """The outcome that the reward reads."""
        return outcome

    def after_gate(self, simulator: SimulatorParts, outcome: StepOutcome) -> dict[str, Tensor]:
        """Called when a gate is paid; what `info` says of it: name -> [batch, ...]."""
        return {}

    def state(self, *, begun: bool) -> Any:
        """What it needs to go on, see `ccenv.simulator.resume`; `begun`: in an episode's start."""
        return None

    def load_state(self, state: Any) -> None:
        """Puts that back."""

    def for_judging(self) -> "Extension | None":
        """What a copy of the simulator has that only judges; None where it has nothing of it."""
        return copy.copy(self)


def rows_of(outcome: StepOutcome) -> dict[str, Tensor]:
    """Fields of `BY_ROW` that an outcome has."""
    return {name: value for name in BY_ROW if (value := getattr(outcome, name)) is not None}
