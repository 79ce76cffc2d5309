"""Paper to draw on in milliseconds: lines, marks, tiles and words -> a small PNG.

Drawn by Pillow alone: a run draws at each validation, and matplotlib would need longer for it than
a small network for a tenth of its training.
"""

import functools
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tensorboard.compat.proto.summary_pb2 import Summary

Point = tuple[float, float]
Color = str | tuple[int, ...]
FINE = 2
"""Pixels are drawn so much finer and averaged, so that edges are smooth."""
COLORS = 128
"""Of a picture's palette."""
LETTER = 12
"""Height of letters in pixels."""
INK, GREY, PALE, PAPER = "#1d1d1f", "#7a7a80", "#e4e4e8", "#ffffff"
SHAPES = ("disc", "square", "triangle", "diamond")


@dataclass(frozen=True)
class Picture:
    """A finished drawing."""

    width: int
    """pixels across."""
    height: int
    """pixels down."""
    png: bytes
    """a third of the size and time that RGB would need: it has a palette."""

    def summary(self, tag: str) -> Summary:
        """What an event file holds of it."""
        image = Summary.Image(
            height=self.height, width=self.width, colorspace=3, encoded_image_string=self.png
        )
        return Summary(value=[Summary.Value(tag=tag, image=image)])


@functools.lru_cache(maxsize=4)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own letters."""
    return ImageFont.load_default(size)


class Sheet:
    """White paper to draw on; places are in pixels from the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        """Takes a sheet of that many pixels."""
        self.image = Image.new("RGB", (width * FINE, height * FINE), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def line(self, places: Sequence[Point], color: Color, width: float = 1.0) -> None:
        """Connects places."""
        if len(places) > 1:
            scaled = [(x * FINE, y * FINE) for x, y in places]
            self.draw.line(scaled, fill=color, width=round(width * FINE), joint="curve")

    def tiles(self, left: int, top: int, width: int, height: int, tiles: NDArray[np.uint8]) -> None:
        """Fills a box with tiles: RGB [rows, columns, 3]."""
        size = (width * FINE, height * FINE)
        map_of_tiles = Image.fromarray(tiles).resize(size, Image.Resampling.NEAREST)
        self.image.paste(map_of_tiles, (left * FINE, top * FINE))

    def text(self, x: float, y: float, words: str, color: Color = INK, anchor: str = "lm") -> None:
        """Writes a line; the anchor says which part of it lies at the place, as in Pillow."""
        self.draw.text((x * FINE, y * FINE), words, color, font(LETTER * FINE), anchor)

    def text_upwards(self, x: float, y: float, words: str) -> None:
        """Writes a line that is read from below, its middle at the place."""
        left, top, right, bottom = font(LETTER * FINE).getbbox(words)
        size = (math.ceil(right - left), math.ceil(bottom - top))
        strip = Image.new("RGB", size, PAPER)
        ImageDraw.Draw(strip).text((-left, -top), words, INK, font(LETTER * FINE))
        turned = strip.transpose(Image.Transpose.ROTATE_90)
        corner = (round(x * FINE - turned.width / 2), round(y * FINE - turned.height / 2))
        self.image.paste(turned, corner)

    def mark(
        self,
        x: float,
        y: float,
        color: Color,
        shape: str = "disc",
        size: float = 4,
        hollow: bool = False,
    ) -> None:
        """Draws a mark, one of SHAPES, `size` pixels to each side."""
        corners = {
            "square": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
            "triangle": ((0, -1.1), (1, 0.8), (-1, 0.8)),
            "diamond": ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
        }
        fill, width = (PAPER if hollow else color), round(1.5 * FINE)
        if shape == "disc":
            box = [(x - size) * FINE, (y - size) * FINE, (x + size) * FINE, (y + size) * FINE]
            self.draw.ellipse(box, fill, color, width)
            return
        places = [((x + a * size) * FINE, (y + b * size) * FINE) for a, b in corners[shape]]
        self.draw.polygon(places, fill, color, width)

    def picture(self) -> Picture:
        """What is on the sheet, its edges smoothed."""
        small, file = self.image.reduce(FINE), io.BytesIO()
        small.quantize(COLORS, method=Image.Quantize.FASTOCTREE).save(file, "PNG")
        return Picture(small.width, small.height, file.getvalue())
