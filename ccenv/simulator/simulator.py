"""The environment in tensors: draws a batch of inputs and walks it through the layers.

The three views (Gymnasium's scalar and vector environments, Stable-Baselines3's `VecEnv`) wrap
this one class; agents that work with tensors use it directly. What the settings `context`,
`concurrent` and `oblivious` add to the walk is in extensions, see `ccenv.simulator.step`.
"""

import copy
import functools
import math
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.checks import Checks
from ccenv.base.machine import check_fits
from ccenv.base.masks import check_mask
from ccenv.base.registry import check_keywords, check_names
from ccenv.base.seeding import stream
from ccenv.base.values import as_settings
from ccenv.data import Split, check_alike, dataset_name, load_split, transform_names
from ccenv.mdp import dynamics
from ccenv.mdp.observations import OBSERVATIONS, check_shown, fitting, make_observer
from ccenv.networks.core.arguments import (
    check_answers,
    check_batch,
    check_device,
    check_indices,
    check_reads,
)
from ccenv.networks.core.inference_copy import pack
from ccenv.networks.core.parameters import FiniteWeights
from ccenv.networks.core.precision import check_dtype, in_dtype
from ccenv.networks.core.protocol import num_blocks_of
from ccenv.networks.core.unrolled import continues, played
from ccenv.networks.learning.training import frozen_weights
from ccenv.rewards import Surroundings, make_reward
from ccenv.simulator.cotraining import CoTraining
from ccenv.simulator.network_source import check_weights_setting, source_of, take_shipped
from ccenv.simulator.sequences import (
    begin_position,
    check_combination,
    next_position,
    num_positions,
    read_episode,
    read_extensions,
)
from ccenv.simulator.settings import EXTENSIONS, EnvironmentSettings, setting_defaults
from ccenv.simulator.step import Extension, SimulatorParts, Step


class ImageOrder:
    """Shuffled passes over a split; every input comes once in each."""

    def __init__(self, seed: int, data: Split) -> None:
        """Starts the stream "image order" with nothing drawn."""
        self.data = data
        self.stream = stream(seed, "image order")
        self.rest = torch.empty(0, dtype=torch.int64)
        """int64 [n]: shuffled already and not yet drawn."""

    def draw(self, count: int) -> Tensor:
        """The next indices, int64 [count]."""
        passes = [self.rest]
        for _ in range(-(-(count - len(self.rest)) // len(self.data))):
            passes.append(self.data.shuffled(self.stream))
        order = torch.cat(passes) if len(passes) > 1 else self.rest
        drawn, rest = order[:count], order[count:]
        # Copied now and then, so that a long order does not stay in memory behind a short one.
        self.rest = rest.clone() if 2 * rest.nbytes < rest.untyped_storage().nbytes() else rest
        return drawn


class Simulator(SimulatorParts):
    """The environment in tensors: a batch of inputs, one gate per step.

    >>> simulator = Simulator(2, dataset="synthetic", weights="cotrain", num_blocks=[4, 4])
    >>> simulator.seed(0)
    >>> observation = simulator.begin()
    >>> step = simulator.step(torch.ones(2, 4, dtype=torch.bool))
    >>> step.outcome.layer, simulator.is_over, step.reward.shape
    (0, False, torch.Size([2]))
    """

    def __init__(self, num_images: int = 1, /, **settings: Any) -> None:
        """Loads the data, builds the network and, for frozen weights, learns or reads them.

        Args:
            num_images: rows of the batch; a multiple of `group_size`.
            **settings: see `ccenv.simulator.settings.EnvironmentSettings`.

        Raises:
            UnexpectedKeywordError: if there is no such setting.
            TypeError: if the network lacks a part of `ccenv.GatedNetwork`.
            ValueError: if a setting is unknown or impossible; no weights are learned then.
            FileNotFoundError: if the data set is not there.
        """
        check_keywords(settings, [*setting_defaults(), *EXTENSIONS], "environment setting")
        self.asked = asked = EnvironmentSettings(**settings)
        weights_kwargs = as_settings(asked.weights_kwargs, "weights_kwargs")
        weights, observation = asked.weights, asked.observation
        check_weights_setting(weights, weights_kwargs)
        if isinstance(observation, str) and ":" not in observation:
            check_names([observation], OBSERVATIONS, "observation")
        self.is_sequence = read_episode(asked)
        self.extensions = read_extensions(asked)
        self.reward = make_reward(asked.reward, asked.reward_kwargs)
        self.num_images, self.group_size = check_batch(num_images, asked.group_size)
        self.device = check_device(asked.device)
        check_dtype(asked.dtype)
        self.checks = Checks()
        self.dataset, self.split = asked.dataset, asked.split
        self.transforms = transform_names(asked.transforms)
        self.data = self.load(asked.split).to(self.device)
        self.image_shape = self.data.image_shape
        called = dataset_name(asked.dataset)
        self.positions = num_positions(self.data, called, self.is_sequence)
        # Checked before the network, which may have to be trained first.
        observation = fitting(observation, self.image_shape)
        # Inputs, their activations, and an observation's bounds at least.
        num_floats = 4 * self.num_images * math.prod(self.image_shape)
        check_fits(num_floats, f"a batch of {self.num_images:,} inputs", "choose fewer num_envs")
        self.weights, self.weights_kwargs = weights, weights_kwargs
        self.source = source_of(asked, self.data)
        self.network = self.source.build(0)
        inputs = self.data.batch(self.data.most_telling)[0]
        check_reads(self.network, inputs.cpu(), called)
        if self.is_sequence:
            continues(self.network)
        check_shown(observation, self.network, inputs)
        self.network = self._with_weights()
        self.finite_weights = FiniteWeights(self.network)
        self.observe = make_observer(observation, self.network, self.image_shape, inputs.dtype)
        self.num_blocks = num_blocks_of(self.network)
        self.num_layers = len(self.num_blocks)
        self.max_blocks, self.num_steps = max(self.num_blocks), self.positions * self.num_layers
        self.dense_macs = self.network.dense_macs
        if weights != "cotrain":
            self._prepare_reward()
        self.ahead, self.masks, self.gate_values = [], [], []
        self.learning = CoTraining()
        for extension in self.extensions:
            extension.attach(self)

    def load(self, split: str) -> Split:
        """A split of its data set, with its transforms."""
        return load_split(self.dataset, split, self.transforms)

    def _with_weights(self) -> Any:
        """Its network with its weights, on its device and in what it computes in.

        Frozen weights are learned or read from the cache, if it has none; those of sequences by
        whole sequences, whose state their own masks made. They stay, as shipped ones do.
        """
        network, source, called = self.network, self.source, dataset_name(self.dataset)
        if self.weights == "shipped":
            take_shipped(network, source, called, self.transforms)
        has_own = isinstance(source.builder, nn.Module) or network.has_own_weights
        if self.weights == "frozen" and not has_own:
            train = self.load("train")
            check_alike(self.data, train, called)
            frozen_weights(network, train, positions=self.positions)
        network.to(self.device).eval()
        if self.weights != "cotrain":
            network.requires_grad_(False)
            pack(network)
        return in_dtype(network, self.asked.dtype)

    def _prepare_reward(self) -> None:
        train = functools.partial(self.load, "train")
        self.reward.prepare(Surroundings(self.network, self.device, train))

    def seed(self, seed: int) -> None:
        """Restarts all streams and the reward; in co-training also weights and optimiser.

        A task of the suite takes a seed before its first step only.
        """
        if not all(extension.takes_seed(self) for extension in self.extensions):
            return
        self.images_seed = seed
        self.order = ImageOrder(seed, self.data)
        self.state, self.masks, self.gate_values = None, [], []
        self.learning = CoTraining(self.network_version)
        if self.weights == "cotrain":
            self.learning.seed(self, seed)
            self._prepare_reward()
        self.reward.reset()
        for extension in self.extensions:
            extension.seed(self, seed)

    def begin(self, indices: Tensor | None = None) -> Tensor:
        """Starts an episode for each row and returns the first observation [batch, obs_size].

        Args:
            indices: int64 [n], which inputs (or sequences), each for `group_size` rows; None draws
                the next `num_images / group_size` of a shuffled pass over the split.

        Raises:
            RuntimeError: if no seed was given yet.
            ValueError: if an index is outside the split, or there is none.
        """
        if self.images_seed is None:
            raise RuntimeError("expected seed(...) before the first begin(); call it once")
        for extension in self.extensions:
            indices = extension.inputs(self, indices)
        if indices is None:
            drawn = self.order.draw(self.positions * self.num_images // self.group_size)
            indices = drawn[:: self.positions] // self.positions if self.is_sequence else drawn
        else:
            check_indices(indices, self.num_episodes)
        for extension in self.extensions:
            extension.begin(self, len(indices))
        indices = indices.to(self.device, non_blocking=True)
        group = self.group_size
        self.indices = indices if group == 1 else indices.repeat_interleave(group)
        self.masks, self.gate_values, self.position = [], [], 0
        shares_start = self.learning.shares_start(self)
        if self.is_sequence:
            self.state = begin_position(self)
        else:
            batch = self.data.batch(indices)
            with torch.set_grad_enabled(shares_start):
                state = played(self.network, batch[0], self.rule)
                self.state = dynamics.initial(self.network, *batch, group, state)
        self.learning.begin(self.state.hidden if shares_start else None)
        with torch.no_grad():
            return self.observe(self.state)

    @property
    def obs_size(self) -> int:
        """Width of an observation: numbers that a policy sees at a gate, as many at each."""
        return self.observe.obs_size

    @property
    def num_episodes(self) -> int:
        """Different episodes of the split: its inputs, or its sequences."""
        return len(self.data) // self.positions

    def on_split(self, split: str, num_images: int) -> "Simulator":
        """The same network, as it is at any moment, on `num_images` inputs at a time of a split."""
        other = self._for_judging()
        if split != self.split:
            # What is on a device already is not copied there again.
            other.split, other.data = split, self.load(split).to(self.device)
        check_alike(self.data, other.data, dataset_name(self.dataset))
        other.num_images, other.group_size = num_images, 1
        other.seed(0)
        return other

    def at(self, **values: float) -> "Simulator":
        """A copy that never learns, with fixed cost weights or budgets, in this one's ranges.

        Args:
            **values: `cost_weight=0.5`, `budget=0.2`.

        Raises:
            TypeError, ValueError: if there is no context, or it has not such a name or value.
        """
        other = self._for_judging()
        if other.context is None:
            raise TypeError("expected an environment with a context, got none; give context={...}")
        other.context.fix(other, values)
        other.seed(0)
        return other

    def extended(self, extension: Extension) -> "Simulator":
        """The same network, data and streams with one extension more; use either, not both.

        Raises:
            ValueError: if the extension does not fit the network, or those that are there.
        """
        check_combination((*self.extensions, extension), self.is_sequence)
        other = copy.copy(self)
        other.extensions = (*map(copy.copy, self.extensions), extension)
        extension.attach(other)
        return other

    def _for_judging(self) -> "Simulator":
        """A copy that teaches neither network nor reward."""
        other = copy.copy(self)
        other.weights, other.reward = "frozen", self.reward.held()
        other.learning = CoTraining(self.network_version)
        judging = (extension.for_judging() for extension in self.extensions)
        other.extensions = tuple(extension for extension in judging if extension is not None)
        return other

    @property
    def network_version(self) -> int:
        """Co-training: updates that the network has had."""
        return self.learning.version

    def step(self, mask: Tensor, weights: Tensor | None = None) -> Step:
        """Computes one layer under a mask.

        Args:
            mask: bool [batch, n], n at least the layer's number of blocks; bits beyond are ignored.
            weights: float [batch, num_blocks], gate values: outputs of kept blocks are multiplied
                with them, in co-training too. Give them at every layer of an episode or at none.

        Raises:
            RuntimeError: if no episode has begun or it is over.
            TypeError: if the mask is not a bool tensor.
            ValueError: if it has the wrong shape, or the network's weights (found at the first
                step of an episode), its answer or the reward are not finite.
        """
        state = self.state
        if state is None or state.layer >= self.num_layers:
            raise RuntimeError("expected an episode under way, got none; call begin() or reset()")
        check_mask(mask, self.indices.shape[0], "mask")
        if state.layer == self.position == 0:
            self.check_weights()
        num_blocks = self.num_blocks[state.layer]
        mask = mask if mask.shape[1] == num_blocks else mask[:, :num_blocks]
        mask = mask.to(self.device, non_blocking=True)
        weights = None if weights is None else weights.to(self.device, non_blocking=True)
        told: dict[str, Tensor] = {}
        with torch.no_grad():
            for extension in self.extensions:
                mask, weights = extension.before_gate(self, mask, weights)
            self.state, outcome = dynamics.transition(self.network, state, mask, weights=weights)
            for extension in self.extensions:
                outcome = extension.before_pay(self, outcome)
            if outcome.logits is not None and outcome.compared and not outcome.compared.are_finite:
                check_answers(outcome.logits, self.checks)
            terms, total = self.reward.paid(outcome, self.checks)
            numbers = self.reward.rule.numbers()
            self.reward.update(outcome)
        self.masks.append(outcome.mask)
        if weights is not None:
            self.gate_values.append(weights)
        ends = outcome.is_last and self.position + 1 == self.positions
        if ends and self.weights == "cotrain":
            self.learning.finish(self)
        # Updates that land now change nothing of the step that has been made.
        after = self.state
        for extension in self.extensions:
            told |= extension.after_gate(self, outcome)
        if self.is_sequence:
            told["position"] = torch.full_like(outcome.macs, self.position)
            if outcome.is_last and not ends:
                self.state = after = next_position(self, after)
        return Step(after, self.observe, total, terms, outcome, numbers, ends, told)

    def check_weights(self) -> None:
        """Refuses a network whose weights are not finite (ValueError, naming the tensor)."""
        if self.finite_weights.network is not self.network:
            self.finite_weights = FiniteWeights(self.network)
        self.finite_weights.check(self.checks)

    def update_network(self) -> dict[str, float]:
        """Co-training: one update for every batch finished since the last call, oldest first.

        Call it between rollouts. With frozen weights it does nothing. At most the newest
        `ccenv.simulator.cotraining.MAX_PENDING` batches are kept.

        Returns:
            {"network_loss": mean negative log-likelihood in nats}, or {} without any update.
        """
        return self.learning.update(self)
