"""Transforms that have learned and drawn: (names, training images) -> what images go through.

Learned are the mean and standard deviation of `standardise`; drawn are the moves of the copies.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ccenv.base.seeding import stream
from ccenv.data.rows import Rows
from ccenv.data.transforms import Copies, is_of_chance, make_transform

PART = 4096
"""Images transformed at a time: as float32 all of a training split are gigabytes."""
LEARNED_FROM = 10_000
"""Images that a transform learns from where they are read when they are drawn."""


@dataclass(frozen=True)
class Fitted:
    """One transform with what it learned or drew, all on one device."""

    name: str
    """as the settings have it."""
    function: Callable[..., Tensor]
    """of images, and of `tensors`."""
    tensors: tuple[Tensor, ...] = ()
    """what was learned; of a transform of chance the table of its moves, a line for each row:
    first of the images as they are, then of copy after copy of all of them."""
    is_random: bool = False
    """whether it moves copies of training images."""

    def __call__(self, images: Tensor, rows: Tensor) -> Tensor:
        """Transforms images [batch, channels, height, width], which are `rows` [batch] of all."""
        parts = self.tensors
        if self.is_random:
            parts = tuple(table.index_select(0, rows) for table in parts)
        return self.function(images, *parts)

    def to(self, device: str | torch.device) -> "Fitted":
        """Copies the tensors to a device; on their own device nothing is copied."""
        return replace(self, tensors=tuple(tensor.to(device) for tensor in self.tensors))


def through(transforms: Iterable[Fitted], images: Tensor, rows: Tensor | None = None) -> Tensor:
    """Takes images [batch, channels, height, width] through transforms, one after the other.

    `rows` int64 [batch] say which of all they are; transforms of chance need them.
    """
    rows = torch.arange(0) if rows is None else rows
    for transform in transforms:
        images = transform(images, rows)
    return images


def all_through(transforms: Sequence[Fitted], images: Tensor) -> Tensor:
    """Takes many images through transforms without chance, some at a time."""
    if not transforms:
        return images
    return torch.cat([through(transforms, part) for part in images.split(PART)])


def fixed(transforms: Iterable[Fitted]) -> tuple[Fitted, ...]:
    """Those without chance: what images go through that are not moved."""
    return tuple(transform for transform in transforms if not transform.is_random)


def learned_from(images: Tensor | Rows) -> Tensor:
    """All images of a tensor; of `Rows` a part, the same every time, drawn without repetition."""
    if isinstance(images, Tensor):
        return images
    order = torch.randperm(len(images), generator=stream(0, "images to learn from"))
    return images.index_select(0, order[:LEARNED_FROM].sort().values)


def fit(
    names: Sequence[str], images: Callable[[], Tensor | Rows], dataset: str
) -> tuple[Fitted, ...]:
    """Learns what transforms need and draws the moves of the copies.

    Args:
        names: see `ccenv.data.transforms.transform_names`.
        images: loads the training images as they are stored, where they are needed.
        dataset: names the stream of the draws.

    Raises:
        ValueError: if the images are too small for a transform.
    """
    num_copies, found = Copies().number, list[Fitted]()
    for name in names:
        one = make_transform(name)
        if isinstance(one, Copies):
            num_copies = one.number
            continue
        is_random = is_of_chance(one)
        learned: Sequence[Tensor] = ()
        if hasattr(one, "fit"):
            learned = one.fit(all_through(fixed(found), learned_from(images())))
        found.append(Fitted(name, one, tuple(learned), is_random))
    is_moved = any(one.is_random for one in found)
    return with_moves(found, images(), num_copies, dataset) if is_moved else tuple(found)


def with_moves(
    transforms: Sequence[Fitted], images: Tensor | Rows, num_copies: int, dataset: str
) -> tuple[Fitted, ...]:
    """Gives those of chance their tables; arguments as those of `fit`."""
    # The name of the stream, and its order, are those of the results recorded so far.
    generator = stream(0, f"shifted {dataset}")
    seen = [through(fixed(transforms[:n]), images[:1]) for n in range(len(transforms))]
    tables: dict[int, list[Tensor]] = {n: [] for n, t in enumerate(transforms) if t.is_random}
    for _ in range(num_copies):
        for n, table in tables.items():
            draw = transforms[n].function.draw  # type: ignore[attr-defined]
            table.append(draw(len(images), seen[n].shape[2:], generator))
    found = list(transforms)
    for n, table in tables.items():
        still = torch.full_like(table[0], found[n].function.still)  # type: ignore[attr-defined]
        found[n] = replace(found[n], tensors=(torch.cat([still, *table]),))
    return tuple(found)
