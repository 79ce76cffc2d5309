"""Image transforms: names in the settings -> functions of images, fitted to a data set.

    transforms=["copies=7", "shift=2", "mirror", "halve", "standardise"]

| name | what it does | number |
|---|---|---|
| copies | so many moved copies of each training image | 7 |
| shift | moves a copy by up to so many pixels each way, black behind it | 2 |
| mirror | exchanges left and right of half of the copies | |
| halve | averages 2 x 2 pixels; bytes stay bytes, rounded | |
| standardise | mean 0 and standard deviation 1 of every channel over the training images | |

They are applied in the order in which they are named. Those of chance move copies of training
images alone: every line of their tables is drawn once, so that a row shows the same picture
every reader. An own one is `module:name` or `module:name=number`: a function of images
[batch, channels, height, width] (and the number) that answers with as many, or a class like those
here: `fit` learns from the training images, and `draw` makes it one of chance.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.base.annotations import signature_of
from ccenv.base.registry import resolve
from ccenv.base.seeding import stream
from ccenv.base.values import shown
from ccenv.data.rows import Rows


@dataclass(frozen=True)
class Counted:
    """A transform with a number."""

    number: int

    def __post_init__(self) -> None:
        """Refuses what is no whole number of at least 1 (ValueError)."""
        if not isinstance(self.number, int) or self.number < 1:
            raise ValueError(f"expected a whole number of at least 1, got {self.number}")

    def check_fits(self, size: Sequence[int]) -> None:
        """Refuses a number that images of this height and width are too small for (ValueError)."""
        if self.number >= min(size):
            name = type(self).__name__.lower()
            raise ValueError(
                f"expected {name} of fewer pixels than the images' sides {[*size]}, "
                f"got {self.number}"
            )


@dataclass(frozen=True)
class Copies(Counted):
    """How many moved copies are added to each training image."""

    number: int = 7


@dataclass(frozen=True)
class Shift(Counted):
    """Moves every copy by a number of pixels of its own."""

    number: int = 2
    still: ClassVar[int] = 0

    def draw(self, count: int, size: Sequence[int], generator: torch.Generator) -> Tensor:
        """Pixels up and left: int16 [count, 2]."""
        self.check_fits(size)
        drawn = torch.randint(2 * self.number + 1, (2, count), generator=generator)
        return (drawn - self.number).short().T

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Moves images [batch, channels, height, width] by `drawn` [batch, 2]."""
        _, channels, height, width = images.shape
        padded = torch.nn.functional.pad(images, (self.number,) * 4)
        by_image, by_channel, by_line, _ = padded.stride()
        span = (channels - 1) * by_channel + (height - 1) * by_line + width
        # Windows that begin at any pixel, all of them views: choosing some copies whole lines,
        # many times faster than a gather of pixels.
        windows = padded.as_strided(
            (max(0, padded.numel() - span + 1), channels, height, width),
            (1, by_channel, by_line, 1),
        )
        down, right = (drawn.long() + self.number).unbind(1)
        first = torch.arange(len(images), device=images.device) * by_image
        return windows.index_select(0, first + down * by_line + right)


@dataclass(frozen=True)
class Mirror:
    """Exchanges left and right of half of the copies."""

    still: ClassVar[int] = 0

    def draw(self, count: int, size: Sequence[int], generator: torch.Generator) -> Tensor:
        """Whether: bool [count]."""
        return torch.rand(count, generator=generator) < 0.5

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Mirrors the images whose `drawn` [batch] is true."""
        both = torch.cat([images, images.flip(3)])
        rows = torch.arange(len(images), device=images.device)
        return both.index_select(0, rows + len(images) * drawn)


def as_floats(images: Tensor) -> Tensor:
    """Bytes as shares of 255; floats stay as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


@dataclass(frozen=True)
class Halve:
    """Averages 2 x 2 pixels; of an odd height or width the last line or column is left out."""

    def __call__(self, images: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, channels, height // 2, width // 2]."""
        height, width = (side // 2 * 2 for side in images.shape[2:])
        if not height * width:
            raise ValueError(
                f"expected images of at least 2 x 2 pixels to halve, got {list(images.shape[2:])}"
            )
        if images.dtype != torch.uint8:
            return torch.nn.functional.avg_pool2d(images, 2)
        wide = images[..., :height, :width].short()
        lines = wide[..., ::2, :] + wide[..., 1::2, :]
        four = lines[..., ::2] + lines[..., 1::2]
        # Rounded to the nearest, and a half to an even number, as torch.round does.
        return (four + 1 + (four >> 2 & 1) >> 2).to(torch.uint8)


@dataclass(frozen=True)
class Standardise:
    """Takes a channel's mean off and divides by its standard deviation; bytes become floats."""

    def fit(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation float32 [channels] of images as shares of 255."""
        full = 255 if images.dtype == torch.uint8 else 1
        # Channel by channel: all of a data set as float64 is a gigabyte.
        pixels = (channel.double() / full for channel in images.unbind(1))
        # A channel of one value is divided by next to nothing.
        numbers = [(float(p.mean()), max(float(p.std()), 1e-6)) for p in pixels]
        mean, sd = zip(*numbers, strict=True)
        return torch.tensor(mean), torch.tensor(sd)

    def __call__(self, images: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
        """Standardises images by what `fit` learned."""
        floats = as_floats(images)
        by_channel = floats.reshape(len(images), len(mean), -1)
        # Floats that were just made may be written over, which saves a copy of the batch.
        is_new = images.dtype == torch.uint8
        centred = (by_channel.sub_ if is_new else by_channel.sub)(mean[:, None])
        return centred.div_(sd[:, None]).view(floats.shape)


TRANSFORMS: dict[str, Any] = {
    "copies": Copies,
    "shift": Shift,
    "mirror": Mirror,
    "halve": Halve,
    "standardise": Standardise,
}


def is_of_chance(function: Any) -> bool:
    """Whether a transform is for copies of training images alone."""
    return isinstance(function, Copies) or hasattr(function, "draw")


@dataclass(frozen=True)
class UserTransform:
    """A function of the user's with its number, if it was given one."""

    function: Callable[..., Tensor]
    numbers: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Transforms images."""
        return self.function(images, *self.numbers)


def transform_names(setting: Sequence[str] | str) -> tuple[str, ...]:
    """Reads a setting: names in a list, or in one string with commas between them.

    Raises:
        ValueError: if a name is unknown (the nearest right one is suggested), a number is
            impossible, or copies are named twice or without anything that moves them.

    >>> transform_names("shift=2, halve")
    ('shift=2', 'halve')
    """
    if not isinstance(setting, str | list | tuple):
        raise ValueError(f"expected transforms as a list of names, got {shown(setting)}")
    names = tuple(setting)
    if isinstance(setting, str):
        names = tuple(name.strip() for name in setting.split(",")) if setting else ()
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"expected transforms by name, got {shown(name)}")
    transforms = [make_transform(name) for name in names]
    num_copies = sum(isinstance(one, Copies) for one in transforms)
    if num_copies > 1 or (num_copies and sum(map(is_of_chance, transforms)) == 1):
        raise ValueError(
            f"expected 'copies' once, with transforms that move them (shift, mirror), "
            f"got {', '.join(names)}"
        )
    return names


@functools.lru_cache(maxsize=64)
def make_transform(name: str) -> Any:
    """What a name of the settings stands for, with its number; ValueError if it is impossible."""
    bare, equals, text = name.partition("=")
    kind = resolve(bare, TRANSFORMS, "transform")
    numbers = (number_behind(name, text),) if equals else ()
    signature = signature_of(kind, f"transform {name!r}")
    try:
        signature.bind(*numbers if isinstance(kind, type) else (None, *numbers))
        return kind(*numbers) if isinstance(kind, type) else UserTransform(kind, numbers)
    except (TypeError, ValueError) as error:
        raise ValueError(f"transform {name!r}: {error}") from error


def number_behind(name: str, text: str) -> float:
    """The number behind a transform's name; ValueError if it is none."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if math.isfinite(number):
            return number
    raise ValueError(f"expected a transform as name or name=number, got {name!r}")


PART = 4096
"""Images transformed at a time: as float32 all of a training split are gigabytes."""
LEARNED_FROM = 10_000
"""Images that a transform learns from where they are read when they are drawn: the same ones every
time, none twice."""


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
    """Takes images through transforms; those of chance need `rows`, int64 [batch], of all."""
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


def fit_transforms(
    names: Sequence[str], images: Callable[[], Tensor | Rows], dataset: str
) -> tuple[Fitted, ...]:
    """Learns what transforms need and draws the moves of the copies.

    `images` loads the training images as they are stored, where they are needed; `dataset` names
    the stream of the draws. Images that are too small for a transform are refused (ValueError).
    """
    num_copies, fitted = Copies().number, list[Fitted]()
    for name in names:
        one = make_transform(name)
        if isinstance(one, Copies):
            num_copies = one.number
            continue
        is_random = is_of_chance(one)
        learned: Sequence[Tensor] = ()
        if hasattr(one, "fit"):
            seen = images()
            if not isinstance(seen, Tensor):
                order = torch.randperm(len(seen), generator=stream(0, "images to learn from"))
                seen = seen.index_select(0, order[:LEARNED_FROM].sort().values)
            learned = one.fit(all_through(fixed(fitted), seen))
        fitted.append(Fitted(name, one, tuple(learned), is_random))
    is_moved = any(one.is_random for one in fitted)
    return with_moves(fitted, images(), num_copies, dataset) if is_moved else tuple(fitted)


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
    fitted = list(transforms)
    for n, table in tables.items():
        still = torch.full_like(table[0], fitted[n].function.still)  # type: ignore[attr-defined]
        fitted[n] = replace(fitted[n], tensors=(torch.cat([still, *table]),))
    return tuple(fitted)
