"""The environment in tensors: draws a batch of images and walks it through the layers.

The three views (Gymnasium's scalar and vector environments, Stable-Baselines3's `VecEnv`) wrap
this one class; agents that work with tensors use it directly. What the settings `context`,
`concurrent` and `oblivious` add to the walk is in extensions, see `ccenv.simulator.step`.
"""

import copy
import functools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.base.checks import Checks, all_finite, is_on_device
from ccenv.base.masks import check_mask
from ccenv.base.memory import check_fits
from ccenv.base.ranks import ALONE, OneProcess
from ccenv.base.registry import check_keywords, check_names, import_object
from ccenv.base.seeding import stream, stream_seed
from ccenv.base.values import as_settings
from ccenv.data import Split, check_alike, dataset_name, load_split, transform_names
from ccenv.mdp import dynamics
from ccenv.mdp.dynamics import EpisodeState
from ccenv.mdp.observations import OBSERVATIONS, check_pixels, check_shown, make_observer
from ccenv.networks.core.abilities import Caches, Scheduled, ability
from ccenv.networks.core.arguments import (
    MLP_SIZES,
    check_answers,
    check_device,
    check_indices,
    check_reads,
    check_rows,
)
from ccenv.networks.core.inference_copy import pack
from ccenv.networks.core.parameters import FiniteWeights
from ccenv.networks.core.precision import check_dtype, in_dtype
from ccenv.networks.core.protocol import Earlier, num_blocks_of, started
from ccenv.networks.learning.distillation import make_trainer
from ccenv.rewards import Surroundings, make_reward
from ccenv.simulator.context import Context
from ccenv.simulator.network_source import (
    check_weights,
    checked_sizes,
    freeze,
    source_of,
    take_shipped,
)
from ccenv.simulator.settings import EXTENSIONS, EnvironmentSettings, setting_defaults
from ccenv.simulator.sharing import of_all_rows
from ccenv.simulator.step import Extension, Step

MAX_PENDING = 256
"""Finished batches that wait for `update_network` at most; the newest stay."""


class ImageOrder:
    """Passes over a split, shuffled or drifting; every image comes once in each."""

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
            order_of = self.data.drifting if self.data.drifts else self.data.shuffled
            passes.append(order_of(self.stream))
        order = torch.cat(passes) if len(passes) > 1 else self.rest
        drawn, rest = order[:count], order[count:]
        # Copied now and then, so that a long order does not stay in memory behind a short one.
        self.rest = rest.clone() if 2 * rest.nbytes < rest.untyped_storage().nbytes() else rest
        return drawn


class Simulator:
    """The environment in tensors: a batch of inputs, one gate per step.

    >>> simulator = Simulator(2, dataset="synthetic", weights="cotrain", num_blocks=[4, 4])
    >>> simulator.seed(0)
    >>> observation = simulator.begin()
    >>> step = simulator.step(torch.ones(2, 4, dtype=torch.bool))
    >>> step.outcome.layer, simulator.is_over, step.reward.shape
    (0, False, torch.Size([2]))
    """

    ranks: OneProcess = ALONE
    """processes that share the batch, each with rows of its own, see `ccenv.simulator.sharing`."""

    def __init__(
        self,
        num_images: int = 1,
        /,
        **settings: Any,
    ) -> None:
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
        asked = EnvironmentSettings(**settings)
        network_kwargs = as_settings(asked.network_kwargs, "network_kwargs")
        weights_kwargs = as_settings(asked.weights_kwargs, "weights_kwargs")
        weights, observation = asked.weights, asked.observation
        check_weights(weights, weights_kwargs)
        if isinstance(observation, str) and ":" not in observation:
            check_names([observation], OBSERVATIONS, "observation")
        self.extensions = read_extensions({name: getattr(asked, name) for name in EXTENSIONS})
        for extension in self.extensions:
            extension.check_settings(weights, as_settings(asked.reward_kwargs, "reward_kwargs"))
        self.reward = make_reward(asked.reward, asked.reward_kwargs)
        self.num_images, self.group_size = check_rows(num_images, asked.group_size)
        self.device = check_device(asked.device)
        check_dtype(asked.dtype)
        self.checks = Checks()
        self.dataset, self.split = asked.dataset, asked.split
        self.transforms = transform_names(asked.transforms)
        self.data = self._load(asked.split).to(self.device)
        self.image_shape = self.data.image_shape
        # Checked before the network, which may have to be trained first.
        check_pixels(observation, self.image_shape)
        # Images, their activations, and an observation's bounds at least.
        num_floats = 4 * self.num_images * math.prod(self.image_shape)
        check_fits(num_floats, f"a batch of {self.num_images:,} images", "choose fewer num_envs")
        self.weights, self.weights_kwargs = weights, weights_kwargs
        sizes = checked_sizes(**{name: getattr(asked, name) for name in MLP_SIZES})
        defaults = {name: setting_defaults()[name] for name in MLP_SIZES}
        self.source = source_of(asked.network, network_kwargs, sizes, defaults, self.data)
        self.network = self.source.build(0)
        called, first = dataset_name(asked.dataset), torch.zeros(1, dtype=torch.int64)
        inputs = self.data.batch(first.to(self.device))[0]
        check_reads(self.network, inputs.cpu(), called)
        check_shown(observation, self.network, inputs)
        if weights == "frozen":
            freeze(self.network, self.source, self.data, called, self._load)
        elif weights == "shipped":
            take_shipped(self.network, self.source, called, self.transforms)
            self.network.requires_grad_(False)
        self.network.to(self.device).eval()
        if weights != "cotrain":
            pack(self.network)
        self.network = in_dtype(self.network, asked.dtype)
        self._finite_weights = FiniteWeights(self.network)
        self.observe = make_observer(observation, self.network, self.image_shape, inputs.dtype)
        self.num_blocks: tuple[int, ...] = num_blocks_of(self.network)
        self.num_layers = len(self.num_blocks)
        self.max_blocks = max(self.num_blocks)
        self.dense_macs: int = self.network.dense_macs
        if weights != "cotrain":
            self._prepare_reward()
        self.state: EpisodeState | None = None
        self.earlier: Earlier | None = None
        """what earlier positions of sequences decide, see `ccenv.simulator.policy.follow`."""
        self.images_seed: int | None = None
        self.masks: list[Tensor] = []
        """of the gates that are decided, bool [batch, num_blocks] each; as executed."""
        # Indices of a batch, masks of its rows that teach, and gate values if an agent gives some.
        self.pending: deque[tuple[Any, ...]] = deque(maxlen=MAX_PENDING)
        self.network_version = 0
        # Hidden state before the first gate of the batch under way, and the weights' version.
        self._start: tuple[Any, int] | None = None
        self._landed: list[Tensor] = []
        for extension in self.extensions:
            extension.attach(self)

    @property
    def context(self) -> Context | None:
        """Cost weights or budgets of the episodes, if they have any."""
        found: Context | None = self.extension(Context.name)
        return found

    def extension(self, name: str) -> Any:
        """What a setting of `EXTENSIONS` adds to the walk; None where it is not given."""
        return next((one for one in self.extensions if one.name == name), None)

    def _load(self, split: str) -> Split:
        return load_split(self.dataset, split, self.transforms)

    def _prepare_reward(self) -> None:
        train = functools.partial(self._load, "train")
        self.reward.prepare(Surroundings(self.network, self.device, train))

    def seed(self, seed: int) -> None:
        """Restarts all streams and the reward; in co-training also weights and optimiser."""
        self.images_seed = seed
        self.order = ImageOrder(seed, self.data)
        self.masks = []
        self._gate_values: list[Tensor] = []
        self.pending.clear()
        self._landed = []
        self.state = self._start = None
        if self.weights == "cotrain":
            weights_seed = stream_seed(seed, "initial weights")
            fresh = self.source.build(weights_seed)
            self.network.load_state_dict(fresh.state_dict())
            if self.weights_kwargs.get("start") == "shipped":
                called = dataset_name(self.dataset)
                take_shipped(self.network, self.source, called, self.transforms)
                self.network.requires_grad_(True)
            self.trainer = make_trainer(self.network, self.data, self.weights_kwargs)
            self.network_version = 0
            self._prepare_reward()
        self.reward.reset()
        for extension in self.extensions:
            extension.seed(self, seed)

    def begin(self, indices: Tensor | None = None) -> Tensor:
        """Starts an episode for each row and returns the first observation [batch, obs_size].

        Args:
            indices: int64 [n], which images, each for `group_size` rows; None draws the next
                `num_images / group_size` of a shuffled pass over the split.

        Raises:
            RuntimeError: if no seed was given yet.
            ValueError: if an index is outside the split, or there is none.
        """
        if self.images_seed is None:
            raise RuntimeError("expected seed(...) before the first begin(); call it once")
        if indices is None:
            indices = self.order.draw(self.num_images // self.group_size)
        else:
            check_indices(indices, len(self.data))
        for extension in self.extensions:
            extension.begin(self, len(indices))
        indices = indices.to(self.device, non_blocking=True)
        group = self.group_size
        self.indices = indices if group == 1 else indices.repeat_interleave(group)
        self.masks, self._gate_values = [], []
        images, labels = self.data.batch(self.ranks.share(indices))
        with torch.set_grad_enabled(self._shares_start):
            self.state = dynamics.initial(
                self.network, images, labels, self.group_size, earlier=self.earlier
            )
        self._start = (self.state.hidden, self.network_version) if self._shares_start else None
        with torch.no_grad():
            return self.ranks.gathered(self.observe(self.state))[0]

    def on_split(self, split: str, num_images: int) -> "Simulator":
        """A second simulator with the same network, as it is at any moment, on another split.

        Its batches hold `num_images` different images and it never updates the network.
        """
        other = self._for_judging()
        if split != self.split:
            # What is on a device already is not copied there again.
            other.split, other.data = split, self._load(split).to(self.device)
        check_alike(self.data, other.data, dataset_name(self.dataset))
        other.num_images, other.group_size = num_images, 1
        other.seed(0)
        return other

    def at(self, **values: float) -> "Simulator":
        """A copy with fixed cost weights or budgets, shown as they would be in this one's ranges.

        It never updates network or reward.

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
        other = copy.copy(self)
        other.extensions = (*map(copy.copy, self.extensions), extension)
        check_combination(other.extensions)
        extension.attach(other)
        return other

    def _for_judging(self) -> "Simulator":
        """A copy that teaches neither network nor reward."""
        other = copy.copy(self)
        other.weights, other.reward, other.ranks = "frozen", self.reward.held(), ALONE
        other.pending, other._landed, other._start = deque(), [], None
        judging = (extension.for_judging() for extension in self.extensions)
        other.extensions = tuple(extension for extension in judging if extension is not None)
        return other

    @property
    def _shares_start(self) -> bool:
        """Whether an update goes on from what the rollout computed before the first gate.

        Not where updates land between gates of a later batch.
        """
        waits = any(extension.lands_between_gates for extension in self.extensions)
        return self.weights == "cotrain" and Caches in self.network.abilities and not waits

    @property
    def start(self) -> Any:
        """Hidden state of the batch under way before its first gate, with its gradient.

        None where the network has changed since, or nothing is saved by it: it is computed then.
        """
        if self._start is None or self._start[1] != self.network_version:
            return None
        return self._start[0]

    @property
    def layer(self) -> int:
        """Number of the gated layer that is decided next; num_layers when the episode is over."""
        return 0 if self.state is None else self.state.layer

    @property
    def is_over(self) -> bool:
        """Whether no episode is under way: none has begun, or the last gate is decided."""
        return self.state is None or self.state.layer >= self.num_layers

    @property
    def gate_values(self) -> Sequence[Tensor]:
        """Of the gates that are decided, float [batch, num_blocks] each; none under masks alone."""
        return self._gate_values

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
        if state.layer == 0:
            self.check_weights()
        num_blocks = self.num_blocks[state.layer]
        mask = mask if mask.shape[1] == num_blocks else mask[:, :num_blocks]
        mask = mask.to(self.device, non_blocking=True)
        weights = None if weights is None else weights.to(self.device, non_blocking=True)
        told: dict[str, Tensor] = {}
        with torch.no_grad():
            for extension in self.extensions:
                mask, weights = extension.before_gate(self, mask, weights)
            share = self.ranks.share
            self.state, outcome = dynamics.transition(
                self.network,
                state,
                share(mask),
                weights=None if weights is None else share(weights),
            )
            if outcome.logits is not None and outcome.judged and not outcome.judged.are_finite:
                check_answers(outcome.logits, self.checks)
            terms, total = self.reward.paid(outcome, self.checks)
            numbers = self.reward.rule.numbers()
            outcome, terms, total = of_all_rows(outcome, terms, total, self.ranks)
            self.reward.update(outcome)
        self.masks.append(outcome.mask)
        if weights is not None:
            self._gate_values.append(weights)
        if outcome.is_last and self.weights == "cotrain":
            values = [self._gate_values] if self._gate_values else []
            self.pending.append((self.indices, self.masks, *values))
        # Updates that land now change nothing of the step that has been made.
        after = self.state
        for extension in self.extensions:
            told |= extension.after_gate(self, outcome)
        return Step(after, self.observe, total, terms, outcome, numbers, told, self.ranks)

    def check_weights(self) -> None:
        """Refuses a network whose weights are not finite (ValueError, naming the tensor)."""
        if self._finite_weights.network is not self.network:
            self._finite_weights = FiniteWeights(self.network)
        self._finite_weights.check(self.checks)

    def update_network(self) -> dict[str, float]:
        """Co-training: one update for every batch finished since the last call, oldest first.

        Call it between rollouts. With frozen weights it does nothing. At most the newest
        `MAX_PENDING` batches are kept.

        Returns:
            {"network_loss": mean negative log-likelihood in nats}, or {} without any update.
        """
        if not any(extension.lands_between_gates for extension in self.extensions):
            while self.pending:
                self.update_once()
        landed, self._landed = self._landed, []
        losses = [loss.item() for loss in self.checks.on_host(dict(enumerate(landed))).values()]
        return {"network_loss": self.ranks.mean(sum(losses) / len(losses))} if losses else {}

    def teach_by_every(self, every: int) -> None:
        """Co-training: of the newest finished batch every so many-th row teaches the network.

        Args:
            every: 1 for all rows; the group's size for the first row of each group.
        """
        if every > 1 and self.pending:
            indices, *parts = self.pending.pop()
            self.pending.append((indices, *([rows[::every] for rows in part] for part in parts)))

    def update_once(self) -> None:
        """Co-training: one update under the masks of the oldest batch that waits."""
        loss = self.next_loss()
        loss.backward()
        self.finish_update(loss)

    def next_loss(self) -> Tensor:
        """Co-training: the loss of the oldest batch that waits, see `CoTrainer.loss`."""
        indices, *parts = self.pending[0]
        masks, *values = ([self.ranks.share(rows) for rows in part] for part in parts)
        start = None
        if self.state is not None and indices is self.indices:
            # The batch that has just been walked through lies there still.
            images, labels = self.state.images, self.state.labels
            start, self._start = self.start, None
        else:
            own = self.ranks.share(indices)
            images, _ = self.data.batch(own[:: self.group_size])
            labels = self.data.labels.index_select(0, own).long()
        if start is None and self.earlier is not None:
            start = started(self.network, images, earlier=self.earlier)
        # Fewer masks than rows where only some of the rows teach.
        labels = labels[:: len(labels) // len(masks[0])]
        chosen = values[0] if values else None
        return self.trainer.loss(images, labels, masks, "auto", chosen, start)

    def finish_update(self, loss: Tensor) -> None:
        """Co-training: one step down the gradient of the oldest batch, which waits no longer."""
        self.pending.popleft()
        self.trainer.step()
        scheduled = ability(self.network, Scheduled)
        if self.trainer.schedule_updates and scheduled is not None:
            scheduled.after_update(self.trainer.num_updates / self.trainer.schedule_updates)
        self.network_version += 1
        self._landed.append(loss.detach())
        # On a device the weights are looked at there, with the next step.
        if not is_on_device(loss) and all_finite(loss.detach()):
            self._finite_weights.accept()


def read_extensions(settings: Mapping[str, Any]) -> tuple[Extension, ...]:
    """Reads the settings in `EXTENSIONS`; ValueError of impossible ones and combinations."""
    given = {name: settings[name] for name in EXTENSIONS if settings.get(name) is not None}
    found = [import_object(EXTENSIONS[name], "extension")(own) for name, own in given.items()]
    check_combination(found)
    return tuple(found)


def check_combination(extensions: Sequence[Extension]) -> None:
    """Refuses extensions that do not go together (ValueError)."""
    for one in extensions:
        one.check_beside([other for other in extensions if other is not one])
