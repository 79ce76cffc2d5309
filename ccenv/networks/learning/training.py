"""Learning a network's weights: once under random masks (frozen), or along with an agent."""

import contextlib
import functools
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ccenv.base.masks import random_mask
from ccenv.base.registry import check_names
from ccenv.base.seeding import stream
from ccenv.base.values import Sizes, check_at_least_zero, positive_ints, shown
from ccenv.data import Split
from ccenv.networks.core.abilities import Beforehand, ability
from ccenv.networks.core.exit_state import exit_losses, has_exits
from ccenv.networks.core.inference_copy import learning_norms
from ccenv.networks.core.protocol import GatedNetwork, forward, num_blocks_of
from ccenv.networks.core.unrolled import sequence_logits
from ccenv.networks.learning.bundled_weights import learned_once

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adamw_fused": functools.partial(torch.optim.AdamW, fused=True),
    "sgd": torch.optim.SGD,
}
"""By name; the fused one equals the first to rounding, and is faster where weights are many."""


@dataclass(frozen=True)
class Pretraining:
    """Recipe of frozen weights: every input of every batch has a density of its own."""

    batch_size: int = 128
    """inputs of an update."""
    num_epochs: int = 20
    """passes over the training split, unless that is too few updates."""
    min_updates: int = 2000
    """lower limit of the number of updates, for small data sets."""
    max_updates: int = 100_000
    """upper limit, for texts of millions of windows."""
    learning_rate: float = 2e-3
    """AdamW's at the start; it falls to zero along a cosine."""
    weight_decay: float = 1e-4
    """AdamW's."""
    seed: int = 0
    """of the initial weights, the order of the inputs and the random masks."""


SEQUENCES = Pretraining(batch_size=32, num_epochs=5, min_updates=1000, max_updates=2000)
"""The same of whole sequences; a batch is so many of them."""


def frozen_weights(
    network: GatedNetwork, split: Split, recipe: Pretraining | None = None, positions: int = 1
) -> None:
    """Gives a network the weights that random masks teach it; learned once, then read from a cache.

    Of two processes that ask at once the second waits for the first. A network with the ability
    `Beforehand` learns by it instead, as a head on weights of others does. With several positions
    it learns whole sequences, see `ccenv.networks.core.unrolled`.
    """
    recipe = recipe or (Pretraining() if positions == 1 else SEQUENCES)
    name = fingerprint(network, split, recipe) + ("" if positions == 1 else "-sequences")
    learn: Callable[[], None] = functools.partial(pretrain, network, split, recipe, positions)
    if (learner := ability(network, Beforehand)) is not None:
        learn = functools.partial(learner.learn_beforehand, split)
    learned_once(network, name, learn)


LEARNED_BY = 1
"""Version of what ccenv's own code learns: raise it where a change of a network or of its training
changes its weights. All cached weights are then learned again, and those of the package too."""


def fingerprint(network: nn.Module, split: Split, recipe: Pretraining) -> str:
    """Hash of all that the learned weights depend on.

    That is the recipe, the inputs and labels, and of every part of the network its class, settings
    and initial weights. A class of ccenv counts by its name and `LEARNED_BY`, so that old weights
    stay where its code is rewritten; a class of the user's counts by its source.
    """
    digest = hashlib.sha256(json.dumps([LEARNED_BY, asdict(recipe)], sort_keys=True).encode())
    kinds = {base: None for module in network.modules() for base in type(module).__mro__}
    settings = {name: plain_attributes(module) for name, module in network.named_modules()}
    for text in (*map(source, kinds), json.dumps(settings, sort_keys=True), repr(network)):
        digest.update(text.encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    for tensor in split.tensors():
        digest.update(f"{tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:24]


def source(code: Any) -> str:
    """Source text of a user's class or function; the name of one of ccenv, torch or Python."""
    package = (code.__module__ or "").split(".")[0]
    if package in ("ccenv", "torch") or package in sys.stdlib_module_names:
        return str(code.__qualname__)
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        return str(code.__qualname__)


NO_SETTINGS = ("training", "abilities", "symbols_read", "modelled_macs", "has_own_weights")
"""Attributes that say what a network can do, and change nothing that it learns."""


def plain_attributes(module: nn.Module) -> dict[str, str]:
    """A module's own settings as text: what is neither a tensor nor a module nor torch's.

    Two networks of the same weights may differ in their blocks or their activation alone.
    """
    settings = {}
    for name, value in vars(module).items():
        if not name.startswith("_") and name not in NO_SETTINGS:
            spelled = source(value) if inspect.isroutine(value) else repr(value)
            settings[name] = re.sub(r" at 0x[0-9a-fA-F]+", "", spelled)
    return settings


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keeps torch to one thread.

    Weights are then the same however many threads the caller has set, and small layers do not wait
    for a second thread, which next to other work took a hundred times as long.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def pretrain(network: Any, split: Split, recipe: Pretraining, positions: int = 1) -> None:
    """Trains a network under masks whose density is uniform in 0..1, drawn for every input."""
    blocks = num_blocks_of(network)

    def masks_of(rows: int, generator: torch.Generator) -> list[Tensor]:
        densities = torch.rand(rows, 1, generator=generator)
        return [random_mask(rows, n, densities, generator) for n in blocks]

    with learning_norms(network):
        title = "pre-training a network"
        learn_split(network, split, recipe, "pretraining", title, masks_of, positions)


def learn_split(
    network: Any,
    split: Split,
    recipe: Pretraining,
    name: str,
    title: str,
    masks_of: Callable[[int, torch.Generator], list[Tensor]],
    positions: int = 1,
) -> None:
    """Trains a network by a recipe, with a bar that says the title.

    `name` is that of the stream of random numbers; `masks_of` makes a batch's masks of its rows and
    the stream.
    """
    generator, device = stream(recipe.seed, name), split.images.device
    batch_size = recipe.batch_size * positions
    per_epoch = -(-len(split) // batch_size)
    num_updates = max(recipe.min_updates, recipe.num_epochs * per_epoch)
    num_updates = min(num_updates, recipe.max_updates)
    trainer = CoTrainer(
        network,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        schedule_updates=num_updates,
    )
    trainer.positions = positions
    title = f"ccenv: {title} on {len(split):,} inputs (once, then cached)"
    updates = tqdm(range(num_updates), title, unit="update", mininterval=0.5, disable=None)
    for update in updates:
        if update % per_epoch == 0:
            order = split.shuffled(generator).to(device)
        start = update % per_epoch * batch_size
        inputs, labels = split.batch(order[start : start + batch_size])
        masks = masks_of(len(labels), generator)
        # At densities around one half, gathering each block's inputs costs more than it saves.
        trainer.update(inputs, labels, masks, backend="reference")


class CoTrainer:
    """Updates a network under given masks, as the paper does between two draws of its policy."""

    positions: int = 1
    """of the sequences that a batch consists of, see `ccenv.networks.core.unrolled`."""

    def __init__(
        self,
        network: Any,
        *,
        optimizer: str = "adamw",
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
        momentum: float = 0.0,
        schedule_updates: int | None = None,
    ) -> None:
        """Prepares the optimiser.

        The loss is the mean negative log-likelihood of the batch. The paper's authors sum over the
        batch instead: their rate 1e-3 and L2 weight w are, for batches of 128, `optimizer="sgd"`,
        `learning_rate=0.128`, `weight_decay=2 * w / 128`.

        Args:
            network: a `GatedNetwork` that is a `torch.nn.Module`.
            optimizer: "adamw" or "sgd".
            learning_rate: step size, positive.
            weight_decay: the optimiser's, not negative.
            momentum: of "sgd".
            schedule_updates: after so many updates the rate has fallen to zero along a cosine;
                None keeps it constant.
        """
        check_names([optimizer], OPTIMIZERS, "optimizer")
        check_at_least_zero(
            learning_rate=learning_rate, weight_decay=weight_decay, momentum=momentum
        )
        if not learning_rate:
            raise ValueError("expected learning_rate above 0, got 0")
        if momentum and optimizer != "sgd":
            raise ValueError(f"expected optimizer='sgd' with momentum, got {shown(optimizer)}")
        if schedule_updates is not None:
            positive_ints([schedule_updates], "schedule_updates")
        self.network = network
        extra = {"momentum": momentum} if optimizer == "sgd" else {}
        self.optimizer = OPTIMIZERS[optimizer](
            network.parameters(), lr=learning_rate, weight_decay=weight_decay, **extra
        )
        self.schedule = (
            torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, schedule_updates)
            if schedule_updates
            else None
        )
        self.schedule_updates = schedule_updates
        self.num_updates = 0
        self.taken: Sequence[Tensor | None] = ()

    def take(self, gradients: Sequence[Tensor | None]) -> None:
        """Adds gradients of a policy's loss, for each parameter, to those of the next update."""
        self.taken = gradients

    def update(
        self,
        inputs: Tensor,
        labels: Tensor,
        masks: Sequence[Tensor],
        backend: str = "auto",
        values: Sequence[Tensor] | None = None,
        start: Any = None,
    ) -> Tensor:
        """Takes one step down the loss of a batch and returns it, in nats; see `loss`.

        It stays where the network is: to read it, the host would wait for a device.
        """
        loss = self.loss(inputs, labels, masks, backend, values, start)
        loss.backward()
        self.step()
        return loss.detach()

    def loss(
        self,
        inputs: Tensor,
        labels: Tensor,
        masks: Sequence[Tensor],
        backend: str = "auto",
        values: Sequence[Tensor] | None = None,
        start: Any = None,
    ) -> Tensor:
        """Mean negative log-likelihood of a batch, in nats, with its gradient; old ones are gone.

        Of networks with exits it is that of all answers, see `ccenv.networks.core.exit_state`.

        Args:
            inputs: [batch, ...].
            labels: int64 [rows], or probabilities [rows, num_classes].
            masks: bool [rows, num_blocks] for each gate.
            backend: see `ccenv.block_sparse_linear`.
            values: float [rows, num_blocks] for each gate, chosen in the episode, with which blocks
                are multiplied: a mixture of experts would learn for another sum under bare masks.
                What chose them learns from its own gradient.
            start: hidden state of the inputs before the first gate, with its gradient; else it is
                computed.
        """
        self.network.train()
        if self.positions > 1:
            logits = sequence_logits(self.network, inputs, masks, self.positions, backend, values)
            loss = nn.functional.cross_entropy(logits, labels)
        elif has_exits(self.network):
            loss = exit_losses(self.network, inputs, labels, masks, weights=values, start=start)
        else:
            logits = forward(self.network, inputs, masks, backend, values, start)
            loss = nn.functional.cross_entropy(logits, labels)
        self.network.eval()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    def step(self) -> None:
        """Takes one step of the optimiser down the gradients that are there."""
        for parameter, more in zip(self.network.parameters(), self.taken, strict=False):
            if more is not None:
                parameter.grad = more if parameter.grad is None else parameter.grad + more
        self.taken = ()
        self.optimizer.step()
        self.num_updates += 1
        # Past its end a cosine would climb again; the rate stays at zero instead.
        if self.schedule is not None and self.num_updates <= (self.schedule_updates or 0):
            self.schedule.step()


@dataclass(frozen=True)
class Teaching:
    """How a dense network that was trained before helps one that is co-trained.

    Settings beyond those of `CoTrainer`; `ccenv.networks.learning.distillation` carries them out.
    """

    teacher_units: Sizes = ()
    """units of the teacher's hidden layers; none: there is no teacher."""
    distill_weight: float = 0.0
    """share of the teacher's answers in the targets, in [0, 1]; the labels have the rest."""
    teacher_temperature: float = 1.0
    """the teacher's logits are divided by it: above 1 its answers are softer."""
    warm_start: bool = False
    """start from the teacher's weights, whose layers must then be as wide as the network's."""
    start: str = "fresh"
    """"shipped": from the weights that come with the package; "fresh": from random ones."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range, and a lesson without a teacher."""
        units = positive_ints(self.teacher_units, "teacher_units", allow_none=True)
        check_at_least_zero(
            distill_weight=self.distill_weight, teacher_temperature=self.teacher_temperature
        )
        if self.distill_weight > 1 or not self.teacher_temperature:
            raise ValueError(
                "expected distill_weight in [0, 1] and teacher_temperature above 0, "
                f"got {self.distill_weight} and {self.teacher_temperature}"
            )
        check_names([self.start], ("fresh", "shipped"), "start of the weights")
        if not units and (self.distill_weight or self.warm_start):
            raise ValueError("expected teacher_units with distill_weight or warm_start, got none")


def teaching_of(settings: Mapping[str, Any]) -> tuple[dict[str, Any], Teaching]:
    """Parts settings of co-trained weights: those of `CoTrainer`, and what a teacher does."""
    names = [field.name for field in fields(Teaching)]
    training = {name: value for name, value in settings.items() if name not in names}
    return training, Teaching(**{name: settings[name] for name in names if name in settings})


def check_cotraining_settings(settings: dict[str, Any]) -> None:
    """Refuses unknown or impossible settings before anything is built."""
    trained = [name for name in inspect.signature(CoTrainer).parameters if name != "network"]
    taught = [field.name for field in fields(Teaching)]
    check_names(settings, [*trained, *taught], "setting in weights_kwargs")
    training, _ = teaching_of(settings)
    CoTrainer(nn.ParameterList([nn.Parameter(torch.zeros(1))]), **training)
