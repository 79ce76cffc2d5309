"""Calculated time of a layer on a GPU: (shape, dtype, card) -> seconds of kernels and of a product.

Nothing here is measured. Rates of cards are those of NVIDIA's data sheets (H100 SXM5, A100 80 GB
SXM), shares of them that are reached and the time to start a kernel are assumptions. Only the order
of two times is used, and only to choose a route: results do not depend on it beyond rounding.
"""

import functools
from dataclasses import dataclass

import torch

from ccenv.sparse.gpu.plan import VECTOR_ROWS


@dataclass(frozen=True)
class Card:
    """What a card does at most."""

    name: str
    """as its data sheet calls it."""
    half: float
    """floating-point operations a second in float16 and bfloat16 by tensor cores."""
    tf32: float
    """the same in tf32."""
    single: float
    """the same in float32, without tensor cores."""
    memory: float
    """bytes a second from memory."""


H100 = Card("H100 SXM5", 989e12, 495e12, 67e12, 3.35e12)
A100 = Card("A100 SXM 80 GB", 312e12, 156e12, 19.5e12, 2.04e12)

# Assumed shares of the highest rate: of a dense product, of tiles, and without tensor cores.
DENSE_SHARE, TILE_SHARE, SINGLE_SHARE = 0.8, 0.5, 0.6
# Assumed seconds that the host takes to start a kernel of Triton and one of torch, and that the
# shortest kernel takes on the card.
START, TORCH_START, SHORTEST = 9e-6, 4e-6, 2e-6
# The density at which kernels have to be expected to win: sparse layers begin to pay there, and
# tiles are cut for it (`choose_tile`).
LOW_DENSITY = 1 / 8
# The kernels' time is the less certain one: they are taken where that much is left.
MARGIN = 0.85


@dataclass(frozen=True)
class GpuShape:
    """What the calculated time of a layer depends on."""

    batch: int
    """rows."""
    in_features: int
    """input units."""
    out_features: int
    """output units."""
    in_blocks: int | None
    """input blocks, None without a mask."""
    out_blocks: int | None
    """output blocks, None without a mask."""
    itemsize: int
    """bytes of a number, 2 or 4."""
    is_tf32: bool
    """whether float32 is multiplied in tf32."""

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.in_features * self.out_features

    @property
    def num_masks(self) -> int:
        """Sides that have a mask."""
        return (self.in_blocks is not None) + (self.out_blocks is not None)

    def densities(self, density: float) -> tuple[float, float]:
        """Share of blocks kept of both sides: the given one where there is a mask."""
        return (
            1.0 if self.in_blocks is None else density,
            1.0 if self.out_blocks is None else density,
        )


@functools.cache
def card_of(device: torch.device) -> Card:
    """The card that a device is taken for; the interpreter plans as for an H100."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] < 9:
        return A100
    return H100


def operations(card: Card, itemsize: int, *, is_tf32: bool, share: float) -> float:
    """Operations a second that are reached with numbers of that size."""
    if itemsize == 2:
        return share * card.half
    return share * card.tf32 if is_tf32 else SINGLE_SHARE * card.single


def dense_seconds(shape: GpuShape, card: Card, *, is_training: bool) -> float:
    """Time of a dense product between masks: forward alone or with all gradients."""
    rate = operations(card, shape.itemsize, is_tf32=shape.is_tf32, share=DENSE_SHARE)
    ins, outs = shape.batch * shape.in_features, shape.batch * shape.out_features
    product = max(
        2 * shape.batch * shape.weights / rate,
        shape.itemsize * (shape.weights + ins + outs) / card.memory,
    )
    masking = max(SHORTEST, 2 * shape.itemsize * ins / card.memory)
    finish = max(SHORTEST, 2 * shape.itemsize * outs / card.memory)
    on_card = max(SHORTEST, product) + finish
    host = TORCH_START + START
    if shape.in_blocks is not None:
        on_card, host = on_card + masking, host + TORCH_START
    if is_training:
        # Two more products; the gradients of pre-activations, of the bias and of inputs.
        on_card += 2 * max(SHORTEST, product) + 2 * finish + masking
        host += 5 * TORCH_START + START
    return max(host_seconds(shape, host), on_card)


def host_seconds(shape: GpuShape, seconds: float) -> float:
    """What counts of the host's time: nothing for few rows, which wait for it either way."""
    return 0.0 if shape.batch <= VECTOR_ROWS else seconds


def kernel_seconds(shape: GpuShape, card: Card, density: float, *, is_training: bool) -> float:
    """Time of the kernels where so many blocks are kept, independently, on each masked side."""
    in_density, out_density = shape.densities(density)
    ins, outs = shape.batch * shape.in_features, shape.batch * shape.out_features
    # A block is read if any row keeps it: beyond some tens of rows that is nearly all of them.
    used = 1 - (1 - in_density * out_density) ** shape.batch
    forward = max(
        SHORTEST,
        tile_seconds(shape, card, shape.weights, out_density),
        shape.itemsize * (used * shape.weights + in_density * ins + outs) / card.memory,
    )
    lists = 0 if shape.batch <= VECTOR_ROWS else shape.num_masks
    starts = 1 + lists + (shape.in_blocks is not None)
    on_card = forward + (starts - 1) * SHORTEST
    if is_training:
        back = max(
            SHORTEST,
            tile_seconds(shape, card, shape.weights, in_density),
            shape.itemsize * (used * shape.weights + out_density * outs + ins) / card.memory,
        )
        # Weights get a gradient whether somebody keeps them or not.
        exact = in_density * out_density
        weight = max(
            SHORTEST,
            tile_seconds(shape, card, shape.weights, exact),
            shape.itemsize * (shape.weights + in_density * ins + out_density * outs) / card.memory,
        )
        more = 2 + shape.num_masks + (shape.out_blocks is not None)
        on_card, starts = on_card + back + weight + more * SHORTEST, starts + 2 + more
    return max(host_seconds(shape, starts * START), on_card)


def tile_seconds(shape: GpuShape, card: Card, weights: int, density: float) -> float:
    """Time to multiply the rows that keep a block, a share of all, with so many weights."""
    share = DENSE_SHARE if shape.batch <= VECTOR_ROWS else TILE_SHARE
    rate = operations(card, shape.itemsize, is_tf32=shape.is_tf32, share=share)
    return 2 * density * shape.batch * weights / rate


@functools.lru_cache(maxsize=1024)
def expected_seconds(shape: GpuShape, card: Card, *, is_training: bool) -> tuple[float, float]:
    """Calculated seconds of the kernels at `LOW_DENSITY`, and of a dense product between masks."""
    return (
        kernel_seconds(shape, card, LOW_DENSITY, is_training=is_training),
        dense_seconds(shape, card, is_training=is_training),
    )


def dense_is_expected(shape: GpuShape, card: Card, *, is_training: bool) -> bool:
    """Whether the kernels, even at a low density, are not expected to beat a dense product."""
    kernels, dense = expected_seconds(shape, card, is_training=is_training)
    return kernels > MARGIN * dense
