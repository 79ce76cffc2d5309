"""Pictures of an episode: the input and the masks so far -> text, an RGB image, or a window.

`render_image` is a map of blocks alone, small enough for a tile of many; `render_episode` shows the
input next to the gates, with what was spent and answered, at a size that a person reads.
"""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from ccenv.base.registry import check_names

RENDER_MODES = ("ansi", "rgb_array")
KEPT, SKIPPED, WAITING = "■", "□", "·"
COLORS = {KEPT: (46, 125, 50), SKIPPED: (224, 224, 224), WAITING: (250, 250, 250)}
CELL = 16
SIDE, GAP, ROW, LETTERS = 168, 14, 42, 13
"""Pixels: the input's longer side, between things, a gate with its name, a letter's height."""
WIDEST, SMALLEST = 420, 3
"""Pixels of a row of blocks at most, and of a block at least."""
INK, PAPER, EDGE = (29, 29, 31), (255, 255, 255), (190, 190, 196)
FIRST_PRINTED, LAST_PRINTED = 32, 126


def check_render_mode(render_mode: str | None, modes: tuple[str, ...] = RENDER_MODES) -> str | None:
    """Refuses a render mode that does not exist."""
    if render_mode is not None:
        check_names([render_mode], modes, "render_mode")
    return render_mode


def block_rows(masks: Sequence[np.ndarray], num_blocks: Sequence[int]) -> list[str]:
    """One string a gated layer, one character a block; layers not decided yet are dots."""
    rows = []
    for layer, count in enumerate(num_blocks):
        decided = masks[layer][:count] if layer < len(masks) else ()
        bits = "".join(KEPT if bit else SKIPPED for bit in decided)
        rows.append(bits + WAITING * (count - len(bits)))
    return rows


def render_text(masks: Sequence[np.ndarray], num_blocks: Sequence[int], status: str) -> str:
    """Block map as text, with a line for the state of the episode."""
    rows = block_rows(masks, num_blocks)
    return "\n".join([*(f"layer {i}  {row}" for i, row in enumerate(rows)), status])


def render_image(masks: Sequence[np.ndarray], num_blocks: Sequence[int]) -> np.ndarray:
    """Block map as uint8 [num_layers * 16, max(num_blocks) * 16, 3]."""
    image = np.full((len(num_blocks) * CELL, max(num_blocks) * CELL, 3), 255, dtype=np.uint8)
    for i, row in enumerate(block_rows(masks, num_blocks)):
        for j, block in enumerate(row):
            top, left = i * CELL, j * CELL
            image[top + 1 : top + CELL - 1, left + 1 : left + CELL - 1] = COLORS[block]
    return image


def render_rows(
    masks: Sequence[np.ndarray], num_blocks: Sequence[int], rows: int, mode: str | None
) -> list[Any]:
    """Block map of each of `rows` images: text with mode "ansi", else uint8 [height, width, 3]."""
    by_row = [[mask[row] for mask in masks] for row in range(rows)]
    if mode == "ansi":
        return [render_text(one, num_blocks, f"image {i}") for i, one in enumerate(by_row)]
    return [render_image(one, num_blocks) for one in by_row]


def as_picture(values: np.ndarray) -> np.ndarray:
    """An input, [channels, height, width] or [features], as uint8 [height, width, 3].

    Numbers beyond 0..1 (standardised ones) are stretched from the least to the largest; features
    without places are a square where they fill one, else a line.
    """
    x = values.astype(np.float32) / (255 if values.dtype == np.uint8 else 1)
    if x.ndim == 1:
        side = round(len(x) ** 0.5)
        x = x.reshape((1, side, side) if side * side == len(x) else (1, 1, -1))
    if x.min() < 0 or x.max() > 1:
        x = (x - x.min()) / max(float(x.max() - x.min()), 1e-9)
    x = x if len(x) == 3 else np.repeat(x.mean(axis=0, keepdims=True), 3, axis=0)
    return np.rint(255 * x).astype(np.uint8).transpose(1, 2, 0)


def is_symbols(values: np.ndarray) -> bool:
    """Whether an input is a window of symbols, which is read and not seen."""
    return values.ndim == 1 and values.dtype.kind == "i"


def as_words(symbols: np.ndarray, letters: np.ndarray | None = None) -> str:
    """A window of symbols as text; what is no printed letter of ASCII is a dot.

    Letters are the byte of each symbol, see `ccenv.data.Split`; numbers are shown without them.
    Symbols behind their end are missing ones, and left out.

    >>> as_words(np.array([1, 0, 2]), np.array([105, 72, 10], dtype=np.uint8))
    'Hi·'
    >>> as_words(np.array([1, 0, 2]))
    '1 0 2'
    """
    if letters is None:
        return " ".join(map(str, symbols.tolist()))
    bytes_shown = letters[symbols[symbols < len(letters)]].tolist()
    return "".join(chr(b) if FIRST_PRINTED <= b <= LAST_PRINTED else "·" for b in bytes_shown)


def render_episode(
    values: np.ndarray | None,
    masks: Sequence[np.ndarray],
    names: Sequence[str],
    num_blocks: Sequence[int],
    status: str,
    letters: np.ndarray | None = None,
) -> np.ndarray:
    """The input, and a row of blocks for each gate: uint8, of one size through an episode.

    Values are None before the first reset; masks those of the gates that are decided, names and
    numbers of blocks those of all gates; the status is a line below, letters as of `as_words`.
    """
    from PIL import Image, ImageDraw, ImageFont

    cell = max(SMALLEST, min(22, WIDEST // max(num_blocks)))
    right = max(cell * max(num_blocks), 240)
    size = (SIDE + right + 3 * GAP, max(SIDE, ROW * len(num_blocks)) + 2 * GAP + ROW)
    image = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(LETTERS)
    if values is not None:
        draw_input(image, pen, values, font, letters)
    for i, row in enumerate(block_rows(masks, num_blocks)):
        left, top = SIDE + 2 * GAP, GAP + i * ROW
        pen.text((left, top), names[i], INK, font)
        for j, block in enumerate(row):
            corner = left + j * cell, top + LETTERS + 5
            far = corner[0] + cell - 2, corner[1] + min(cell, 18) - 1
            pen.rectangle((*corner, *far), COLORS[block], EDGE if cell > 6 else None)
    pen.text((GAP, size[1] - ROW // 2 - GAP // 2), status, INK, font)
    return np.asarray(image).copy()


def draw_input(
    image: Any, pen: Any, values: np.ndarray, font: Any, letters: np.ndarray | None
) -> None:
    """Draws an input into the square at the left: every pixel as large as it can be, or words."""
    from PIL import Image

    if is_symbols(values):
        words = as_words(values, letters)
        lines = [words[i : i + 20] for i in range(0, len(words), 20)][-10:]
        pen.multiline_text((GAP, GAP), "\n".join(lines), INK, font)
        return
    pixels = as_picture(values)
    scale = SIDE / max(pixels.shape[:2])
    width, height = (max(1, round(scale * n)) for n in (pixels.shape[1], pixels.shape[0]))
    image.paste(
        Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST), (GAP,) * 2
    )
    pen.rectangle((GAP - 1, GAP - 1, GAP + width, GAP + height), None, EDGE)


def png(image: np.ndarray) -> bytes:
    """uint8 [height, width, 3] as the bytes of a PNG."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def png_uri(image: np.ndarray) -> str:
    """The same as an address that holds its content."""
    return f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"


def small_png_uri(values: np.ndarray, side: int) -> str:
    """An input as such an address; of one longer than `side`, every second, third, ... pixel."""
    pixels = as_picture(values)
    step = -(-max(pixels.shape[:2]) // side)
    return png_uri(np.ascontiguousarray(pixels[::step, ::step]))


def as_html(image: np.ndarray, words: str) -> str:
    """A picture for a notebook's cell; its words are shown as text whatever they hold."""
    return f'<img src="{png_uri(image)}" alt="{html.escape(words)}">'


DOTS = 100
"""Pixels an inch; matplotlib's default."""
SCALE = 2
"""Pixels of the screen for one of the picture: letters can be read from where a person sits."""


class Window:
    """Shows one picture after another, each for some seconds at least.

    Without a display, matplotlib draws into a figure that is not shown, so the same program runs on
    a server.
    """

    def __init__(self, seconds: float) -> None:
        """Opens nothing yet; a picture stays some seconds at least."""
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
        if self._figure is not None:
            from matplotlib import pyplot  # which Python cannot import while it shuts down

            pyplot.close(self._figure)
        self._figure = None
