"""Draw shapes in object coordinates, -1 to 1."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw

Color = tuple[int, int, int]  # RGB, 0 to 255
Point = tuple[float, float]


@dataclass
class Drawing:
    """An image to draw one object on, at any position, size and angle.

    Object coordinates: x to the right, y downwards, both from -1 to 1 over the size of the object.
    """

    image: Image.Image
    x: float  # of the object's centre, in pixels
    y: float
    size: float  # of the object from -1 to 1, in pixels
    tilt: float = 0.0  # radians, clockwise
    mirrored: bool = False
    _draw: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        self._draw = ImageDraw.Draw(self.image)

    def to_pixels(self, x: float, y: float) -> Point:
        """Convert object coordinates to pixels."""
        x = -x if self.mirrored else x
        turned = x * math.cos(self.tilt) - y * math.sin(self.tilt), x * math.sin(self.tilt) + y * math.cos(self.tilt)
        return self.x + turned[0] * self.size / 2, self.y + turned[1] * self.size / 2

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """Fill a polygon."""
        self._draw.polygon([self.to_pixels(*point) for point in points], fill=color)

    def box(self, left: float, top: float, right: float, bottom: float, color: Color) -> None:
        """Fill a rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], color)

    def disc(self, x: float, y: float, width: float, height: float, color: Color) -> None:
        """Fill an ellipse around a point; `width` and `height` are its semi-axes."""
        points = [
            (x + width * math.cos(angle), y + height * math.sin(angle))
            for angle in (2 * math.pi * step / 20 for step in range(20))
        ]
        self.polygon(points, color)

    def line(self, points: Sequence[Point], color: Color, width: float = 0.08) -> None:
        """Draw a line through points, at least one pixel wide."""
        pixels = max(1, round(width * self.size / 2))
        self._draw.line([self.to_pixels(*point) for point in points], fill=color, width=pixels, joint="curve")

    def ring(self, x: float, y: float, radius: float, color: Color, width: float = 0.1) -> None:
        """Draw the outline of a circle."""
        angles = [2 * math.pi * step / 16 for step in range(17)]
        self.line([(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles], color, width)


def hsv_color(hue: float, saturation: float = 0.8, value: float = 0.8) -> Color:
    """Return an RGB colour.

    Args:
        hue: in turns, of any size: 0 red, 1/3 green, 2/3 blue.
        saturation: at least 0; more than 1 counts as 1.
        value: brightness, at least 0; more than 1 counts as 1.

    Returns:
        Red, green and blue, 0 to 255.
    """
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(1, saturation), min(1, value))
    return round(255 * red), round(255 * green), round(255 * blue)
