"""Which images come next: (a seed, how many there are) -> indices, in shuffled passes."""

import torch
from torch import Tensor

from ccenv.base.seeding import stream


class ImageOrder:
    """Shuffled passes over a split; every image comes once in each."""

    def __init__(self, seed: int, num_images: int) -> None:
        """Starts with nothing drawn.

        Args:
            seed: of the stream "image order".
            num_images: of the split.
        """
        self.num_images = num_images
        self.stream = stream(seed, "image order")
        self.rest = torch.empty(0, dtype=torch.int64)
        """int64 [n]: shuffled already and not yet drawn."""

    def draw(self, count: int) -> Tensor:
        """The next indices, int64 [count]."""
        passes = [self.rest]
        for _ in range(-(-(count - len(self.rest)) // self.num_images)):
            passes.append(torch.randperm(self.num_images, generator=self.stream))
        order = torch.cat(passes) if len(passes) > 1 else self.rest
        drawn, rest = order[:count], order[count:]
        # Copied now and then, so that a long order does not stay in memory behind a short one.
        self.rest = rest.clone() if 2 * rest.nbytes < rest.untyped_storage().nbytes() else rest
        return drawn
