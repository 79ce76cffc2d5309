"""Time of block-sparse layers and networks beside dense ones: cases as data, timed in turns.

Every pass takes other masks, from a pool drawn beforehand, so that neither caches nor branch
predictors learn them; building lists from the masks is part of a pass. Policies, where a case has
them, are part of it too.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial

from ccenv.runs.timing.kernel_layers import layer_case
from ccenv.runs.timing.kernel_masks import KINDS
from ccenv.runs.timing.kernel_networks import cifar_case, mnist_case
from ccenv.runs.timing.kernel_timing import Case, Timing, measure

LAYER_BATCHES = (1, 32, 1024)
LAYER_DENSITIES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.9)
SHARED_BATCHES, SHARED_DENSITIES = (32, 1024), (0.05, 0.1, 0.3)
"""of masks that are not independent."""
BLOCK_SIZES, SIZES_DENSITIES = (4, 8, 16, 32, 64, 128), (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Sizes of the author's thesis, Fig. 5.3; its densities are not told."""
Recipe = Callable[[], Case]


def layer_recipes() -> Iterator[Recipe]:
    """A layer of 1,024 units: all densities, then masks as a policy learns them."""
    for batch, density in itertools.product(LAYER_BATCHES, LAYER_DENSITIES):
        yield partial(layer_case, 1024, 32, density, batch)
    shared = [kind for kind in KINDS if kind != "independent"]
    for kind, batch, density in itertools.product(shared, SHARED_BATCHES, SHARED_DENSITIES):
        yield partial(layer_case, 1024, 32, density, batch, masks=kind)


def network_recipes() -> Iterator[Recipe]:
    """The paper's CIFAR-10 network and the MNIST network of `rloo`."""
    for density, batch in itertools.product((1 / 16, 0.18), (128, 4096)):
        yield partial(cifar_case, density, batch)
    for policies in (True, False):
        yield partial(cifar_case, 1 / 16, 1, policies=policies)
    for batch in (1, 128, 4096):
        yield partial(cifar_case, 1 / 16, batch, one_call=False)
    yield partial(cifar_case, 1 / 16, 128, training=True)
    for units, batch in itertools.product((256, 48), (1024, 1)):
        yield partial(mnist_case, batch, units)


def quick_recipes() -> Iterator[Recipe]:
    """A few small cases: seconds."""
    for kind in KINDS:
        yield partial(layer_case, 256, 8, 0.1, 32, masks=kind)
    yield partial(cifar_case, 1 / 16, 4)


def all_timings(*, quick: bool, repeats: int) -> Iterator[Timing]:
    """Every case in turn; a case's operands are made when it is reached.

    Args:
        quick: a few small cases only.
        repeats: rounds of each case.
    """
    if quick:
        yield from (measure(recipe(), repeats) for recipe in quick_recipes())
        return
    for recipe in itertools.chain(layer_recipes(), network_recipes()):
        yield measure(recipe(), repeats)
    # Seconds a pass: fewer rounds.
    yield measure(layer_case(4096, 64, 1 / 8, 8192), min(repeats, 5))


def block_size_timings(*, quick: bool, repeats: int) -> Iterator[Timing]:
    """A layer of 1,024 units and 32 rows, in blocks of several sizes.

    Args:
        quick: a smaller layer in two sizes.
        repeats: rounds of each case.
    """
    width, sizes = (256, (16, 32)) if quick else (1024, BLOCK_SIZES)
    for size, density in itertools.product(sizes, SIZES_DENSITIES):
        yield measure(layer_case(width, width // size, density, 32), repeats)
