"""What `render_mode="human"` opens: pictures of an episode -> a window on the screen."""

from typing import Any

import numpy as np

DOTS = 100
"""Pixels an inch; matplotlib's default."""
SCALE = 2
"""Pixels of the screen for one of the picture: letters can be read from where a person sits."""


class Window:
    """Shows one picture after another.

    Where there is no display matplotlib opens none: pictures go into a figure that nobody sees, as
    those of other environments do, so that the same program runs on a server.
    """

    def __init__(self, seconds: float) -> None:
        """Opens nothing yet.

        Args:
            seconds: that a picture stays at least.
        """
        self.seconds = seconds
        self.picture: np.ndarray | None = None
        self._figure: Any = None

    def show(self, picture: np.ndarray) -> None:
        """Shows a picture, uint8 [height, width, 3], in the place of the one before."""
        from matplotlib import pyplot

        if self._figure is None or not pyplot.fignum_exists(self._figure.number):
            size = SCALE * picture.shape[1] / DOTS, SCALE * picture.shape[0] / DOTS
            self._figure = pyplot.figure("ccenv", figsize=size, dpi=DOTS, clear=True)
        self._figure.clear()
        axes = self._figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        axes.imshow(picture, interpolation="nearest")
        self.picture = picture
        if self._figure.canvas.required_interactive_framework is None:
            self._figure.canvas.draw()
        else:
            pyplot.pause(self.seconds)

    def close(self) -> None:
        """Closes the window, if one is open."""
        from matplotlib import pyplot

        if self._figure is not None:
            pyplot.close(self._figure)
        self._figure = None
