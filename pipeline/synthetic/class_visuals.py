"""Draw each LLP class: a shape, a colour and a motion of its own.

Some classes share a shape and differ in colour and motion: the two babies, dog and cat, speaker and singer, violin and
cello. So a classifier needs appearance and movement, and the order of the colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .drawing import Color, Drawing, hsv_color

WHITE, BLACK, SKIN, GREY = (240, 240, 235), (25, 25, 30), (224, 172, 125), (130, 130, 135)
_RED, _ORANGE, _YELLOW, _GREEN, _CYAN, _BLUE, _PURPLE, _PINK = 0.0, 0.07, 0.14, 0.33, 0.5, 0.62, 0.76, 0.92


@dataclass(frozen=True)
class Appearance:
    """Variation between instances of one class."""

    tint: float  # added to the hue, in turns; a few hundredths
    light: float  # factor of the brightness
    tempo: float  # factor of the speed
    phase: float  # of the motion at time 0, in turns

    def color(self, hue: float, saturation: float = 0.8, value: float = 0.8) -> Color:
        """Return an RGB colour of this instance; arguments as `hsv_color`."""
        return hsv_color(hue + self.tint, saturation, value * self.light)

    def swing(self, time: float, rate: float) -> float:
        """Return a sine wave of a time in seconds, -1 to 1, `rate` times per second."""
        return math.sin(2 * math.pi * (rate * self.tempo * time + self.phase))

    def cycle(self, time: float, rate: float) -> float:
        """Return a sawtooth wave of a time in seconds, 0 to 1, `rate` times per second."""
        return (rate * self.tempo * time + self.phase) % 1


Painter = Callable[[Drawing, Appearance, float], None]


def draw_visual(label: str, draw: Drawing, appearance: Appearance, time: float) -> None:
    """Draw a class at one moment of its motion.

    Args:
        label: an LLP class.
        draw: image and position to draw at.
        appearance: variation of this instance.
        time: seconds.

    Raises:
        KeyError: `label` is not an LLP class.
    """
    VISUAL_PAINTERS[label](draw, appearance, time)


def _head(draw: Drawing, shirt: Color, mouth: float, lean: float = 0.0) -> None:
    draw.polygon([(-0.8, 1), (-0.55, 0.45), (0.55, 0.45), (0.8, 1)], shirt)
    draw.disc(lean, -0.15, 0.5, 0.62, SKIN)
    draw.disc(lean, -0.62, 0.48, 0.24, (70, 45, 30))
    for side in (-0.2, 0.2):
        draw.disc(lean + side, -0.2, 0.07, 0.07, BLACK)
    draw.disc(lean, 0.2, 0.2, 0.03 + 0.16 * mouth, (120, 20, 30))


def _speech(draw: Drawing, appearance: Appearance, time: float) -> None:
    _head(draw, appearance.color(_GREEN, 0.6, 0.6), abs(appearance.swing(time, 2.2)))


def _singing(draw: Drawing, appearance: Appearance, time: float) -> None:
    sway = 0.22 * appearance.swing(time, 0.5)
    _head(draw, appearance.color(_PURPLE, 0.7, 0.7), 0.75 + 0.25 * appearance.swing(time, 0.8), sway)
    draw.line([(sway + 0.55, 0.95), (sway + 0.22, 0.4)], GREY, 0.12)
    draw.disc(sway + 0.18, 0.33, 0.14, 0.14, BLACK)


def _cheering(draw: Drawing, appearance: Appearance, time: float) -> None:
    for number, hue in enumerate((_RED, _YELLOW, _BLUE)):
        x, jump = -0.66 + 0.66 * number, 0.18 * abs(math.sin(math.pi * (1.6 * appearance.tempo * time + 0.33 * number)))
        shirt = appearance.color(hue)
        draw.box(x - 0.2, 0.2 - jump, x + 0.2, 0.95 - jump, shirt)
        draw.disc(x, -0.05 - jump, 0.19, 0.22, SKIN)
        for side in (-1, 1):
            draw.line([(x + side * 0.18, 0.3 - jump), (x + side * 0.28, -0.55 - 2 * jump)], shirt, 0.11)
            draw.disc(x + side * 0.28, -0.62 - 2 * jump, 0.08, 0.08, SKIN)


def _clapping(draw: Drawing, appearance: Appearance, time: float) -> None:
    apart = 0.12 + 0.4 * abs(appearance.swing(time, 1.3))
    for side in (-1, 1):
        arm = [(apart + 0.7, 1), (apart + 0.35, 1), (apart, 0.1), (apart + 0.3, 0.1)]
        draw.polygon([(side * x, y) for x, y in arm], appearance.color(_CYAN, 0.6, 0.6))
        draw.disc(side * (apart + 0.12), -0.15, 0.17, 0.38, SKIN)
        for finger in range(4):
            draw.line(
                [(side * (apart + 0.02 + 0.07 * finger), -0.2), (side * (apart + 0.02 + 0.09 * finger), -0.75)],
                SKIN,
                0.08,
            )


def _baby(draw: Drawing, cap: Color, x: float, y: float) -> None:
    draw.disc(x, y, 0.78, 0.72, (238, 190, 160))
    draw.polygon([(x - 0.75, y - 0.2), (x - 0.4, y - 0.8), (x + 0.4, y - 0.8), (x + 0.75, y - 0.2)], cap)
    draw.disc(x, y - 0.9, 0.15, 0.15, cap)


def _baby_laughter(draw: Drawing, appearance: Appearance, time: float) -> None:
    y = 0.2 * appearance.swing(time, 1.8)
    _baby(draw, appearance.color(_PINK, 0.7, 0.95), 0, y)
    for side in (-0.3, 0.3):
        draw.line([(side - 0.12, y + 0.05), (side, y - 0.06), (side + 0.12, y + 0.05)], BLACK, 0.06)
    draw.polygon([(-0.35, y + 0.28), (0.35, y + 0.28), (0.18, y + 0.55), (-0.18, y + 0.55)], (150, 30, 40))


def _baby_cry(draw: Drawing, appearance: Appearance, time: float) -> None:
    x = 0.16 * appearance.swing(time, 1.5)
    _baby(draw, appearance.color(_BLUE, 0.7, 0.85), x, 0)
    for side in (-0.3, 0.3):
        draw.line([(x + side - 0.12, 0), (x + side + 0.12, 0)], BLACK, 0.07)
        drop = 0.1 + 0.5 * appearance.cycle(time, 1.2)
        draw.disc(x + side * 1.3, drop, 0.07, 0.12, (90, 170, 250))
    draw.disc(x, 0.42, 0.22, 0.2, (150, 30, 40))


def _four_legged(draw: Drawing, coat: Color, legs: float, tail: float, *, pointed: bool) -> None:
    for side, step in ((-0.55, legs), (-0.35, -legs), (0.25, legs), (0.45, -legs)):
        draw.line([(side, 0.3), (side + 0.18 * step, 0.95)], coat, 0.16)
    draw.disc(-0.05, 0.2, 0.68, 0.32, coat)
    draw.line([(-0.65, 0.1), (-0.9, -0.35 + 0.3 * tail)], coat, 0.12)
    draw.disc(0.62, -0.2, 0.3, 0.28, coat)
    if pointed:
        draw.polygon([(0.4, -0.35), (0.42, -0.75), (0.6, -0.45)], coat)
        draw.polygon([(0.64, -0.45), (0.82, -0.75), (0.84, -0.35)], coat)
    else:
        draw.disc(0.42, -0.12, 0.11, 0.3, tuple(value // 2 for value in coat))  # pyright: ignore[reportArgumentType]
        draw.disc(0.9, -0.12, 0.16, 0.12, coat)
    draw.disc(0.7, -0.25, 0.05, 0.05, BLACK)


def _dog(draw: Drawing, appearance: Appearance, time: float) -> None:
    _four_legged(
        draw,
        appearance.color(_ORANGE, 0.75, 0.6),
        appearance.swing(time, 1.6),
        appearance.swing(time, 2.5),
        pointed=False,
    )


def _cat(draw: Drawing, appearance: Appearance, time: float) -> None:
    _four_legged(
        draw,
        appearance.color(_BLUE, 0.3, 0.6),
        0.15 * appearance.swing(time, 0.5),
        appearance.swing(time, 0.6),
        pointed=True,
    )


def _rooster(draw: Drawing, appearance: Appearance, time: float) -> None:
    peck = max(0.0, appearance.swing(time, 1.2))
    draw.polygon([(-0.5, 0.2), (-0.95, -0.5), (-0.6, -0.45), (-0.2, 0)], appearance.color(_GREEN, 0.8, 0.45))
    draw.disc(-0.1, 0.25, 0.5, 0.38, appearance.color(_YELLOW, 0.35, 0.9))
    x, y = 0.35 + 0.15 * peck, -0.45 + 0.6 * peck
    draw.line([(0.2, 0.1), (x, y)], appearance.color(_YELLOW, 0.35, 0.9), 0.26)
    draw.disc(x, y, 0.2, 0.2, appearance.color(_YELLOW, 0.35, 0.9))
    draw.polygon([(x - 0.15, y - 0.15), (x - 0.1, y - 0.42), (x, y - 0.2), (x + 0.08, y - 0.42), (x + 0.16, y - 0.1)],
              appearance.color(_RED, 0.95, 0.9))  # fmt: skip
    draw.polygon(
        [(x + 0.18, y - 0.06), (x + 0.42, y + 0.04), (x + 0.18, y + 0.1)], appearance.color(_ORANGE, 0.95, 0.95)
    )
    for side in (-0.2, 0.05):
        draw.line([(side, 0.55), (side, 0.95)], appearance.color(_ORANGE, 0.95, 0.9), 0.06)


def _wheel(draw: Drawing, x: float, y: float, radius: float, turn: float) -> None:
    draw.disc(x, y, radius, radius, BLACK)
    draw.disc(x, y, radius * 0.55, radius * 0.55, GREY)
    angle = 2 * math.pi * turn
    draw.line([(x, y), (x + radius * math.cos(angle), y + radius * math.sin(angle))], WHITE, 0.06)


def _car(draw: Drawing, appearance: Appearance, time: float) -> None:
    x = 0.25 * appearance.swing(time, 0.4)
    body = appearance.color(_BLUE, 0.85, 0.8)
    draw.box(x - 0.95, 0.0, x + 0.95, 0.5, body)
    draw.polygon([(x - 0.6, 0), (x - 0.4, -0.45), (x + 0.35, -0.45), (x + 0.6, 0)], body)
    draw.polygon([(x - 0.42, -0.04), (x - 0.3, -0.36), (x + 0.27, -0.36), (x + 0.42, -0.04)], (190, 220, 235))
    for side in (-0.55, 0.55):
        _wheel(draw, x + side, 0.52, 0.26, appearance.cycle(time, 1.2))


def _motorcycle(draw: Drawing, appearance: Appearance, time: float) -> None:
    y = 0.07 * appearance.swing(time, 3)
    frame = appearance.color(_RED, 0.9, 0.85)
    for side in (-0.6, 0.6):
        _wheel(draw, side, 0.45 + y, 0.38, appearance.cycle(time, 2))
    draw.line([(-0.6, 0.45 + y), (-0.15, -0.1 + y), (0.35, -0.1 + y), (0.6, 0.45 + y)], frame, 0.14)
    draw.polygon([(-0.3, -0.05 + y), (0.3, -0.35 + y), (0.45, 0.0 + y), (-0.1, 0.2 + y)], frame)
    draw.line([(0.38, -0.1 + y), (0.3, -0.6 + y), (0.1, -0.65 + y)], GREY, 0.09)
    draw.box(-0.6, -0.2 + y, -0.15, -0.05 + y, BLACK)


def _helicopter(draw: Drawing, appearance: Appearance, time: float) -> None:
    y = 0.1 * appearance.swing(time, 0.7)
    body = appearance.color(_GREEN, 0.6, 0.5)
    draw.disc(0.25, 0.15 + y, 0.5, 0.36, body)
    draw.polygon([(-0.1, 0 + y), (-0.95, -0.1 + y), (-0.95, 0.05 + y), (-0.1, 0.3 + y)], body)
    draw.disc(0.48, 0.1 + y, 0.2, 0.18, (190, 220, 235))
    span = 0.95 * math.cos(2 * math.pi * appearance.cycle(time, 2.7))
    draw.line([(0.25 - span, -0.32 + y), (0.25 + span, -0.32 + y)], BLACK, 0.1)
    draw.line([(0.25, -0.3 + y), (0.25, -0.1 + y)], BLACK, 0.07)
    draw.line([(-0.1, 0.62 + y), (0.65, 0.62 + y)], BLACK, 0.07)


def _lawn_mower(draw: Drawing, appearance: Appearance, time: float) -> None:
    x = 0.3 * appearance.swing(time, 0.45)
    for blade in range(9):
        draw.line([(-1 + 0.25 * blade, 1), (-1 + 0.25 * blade, 0.72)], appearance.color(_GREEN, 0.9, 0.7), 0.1)
    draw.box(x - 0.5, 0.2, x + 0.5, 0.55, appearance.color(_RED, 0.85, 0.7))
    draw.box(x - 0.2, -0.05, x + 0.2, 0.2, GREY)
    draw.line([(x - 0.45, 0.25), (x - 0.95, -0.8)], BLACK, 0.09)
    for side in (-0.4, 0.4):
        draw.disc(x + side, 0.62, 0.16, 0.16, BLACK)


def _vacuum(draw: Drawing, appearance: Appearance, time: float) -> None:
    x = 0.3 * appearance.swing(time, 0.9)
    draw.box(-1, 0.78, 1, 1, appearance.color(_PURPLE, 0.35, 0.6))
    draw.disc(-0.5, 0.4, 0.4, 0.36, appearance.color(_CYAN, 0.8, 0.7))
    draw.disc(-0.62, 0.62, 0.14, 0.14, BLACK)
    draw.line([(-0.4, 0.15), (-0.1, -0.6), (0.25 + x / 2, -0.5), (0.5 + x, 0.7)], GREY, 0.13)
    draw.box(0.25 + x, 0.62, 0.75 + x, 0.78, BLACK)


def _chainsaw(draw: Drawing, appearance: Appearance, time: float) -> None:
    y = 0.06 * appearance.swing(time, 3.3)
    draw.box(-0.95, -0.25 + y, -0.2, 0.45 + y, appearance.color(_ORANGE, 0.95, 0.95))
    draw.line([(-0.9, -0.25 + y), (-0.8, -0.6 + y), (-0.3, -0.6 + y), (-0.25, -0.25 + y)], BLACK, 0.1)
    draw.box(-0.2, -0.08 + y, 0.9, 0.24 + y, GREY)
    shift = appearance.cycle(time, 2.3)
    for tooth in range(7):
        x = -0.2 + 0.16 * ((tooth + shift) % 7)
        draw.polygon([(x, -0.08 + y), (x + 0.06, -0.22 + y), (x + 0.12, -0.08 + y)], BLACK)
        draw.polygon([(x, 0.24 + y), (x + 0.06, 0.38 + y), (x + 0.12, 0.24 + y)], BLACK)


def _string_instrument(draw: Drawing, wood: Color, bow: float, *, upright: bool) -> None:
    narrow = 0.9 if upright else 0.7
    draw.disc(0, 0.5, 0.42 * narrow, 0.4, wood)
    draw.disc(0, 0.0, 0.32 * narrow, 0.3, wood)
    draw.box(-0.06, -0.95, 0.06, 0.1, BLACK)
    draw.disc(0, -0.95, 0.1, 0.08, wood)
    for string in (-0.05, 0.05):
        draw.line([(string, -0.8), (string, 0.7)], WHITE, 0.02)
    draw.line(
        [(-0.75 + 0.35 * bow, 0.3 if upright else 0.45), (0.75 + 0.35 * bow, 0.3 if upright else 0.0)], WHITE, 0.07
    )


def _violin(draw: Drawing, appearance: Appearance, time: float) -> None:
    draw.tilt += 0.9
    _string_instrument(draw, appearance.color(_ORANGE, 0.9, 0.75), appearance.swing(time, 1.5), upright=False)


def _cello(draw: Drawing, appearance: Appearance, time: float) -> None:
    _string_instrument(draw, appearance.color(_RED, 0.75, 0.45), appearance.swing(time, 0.6), upright=True)
    draw.line([(0, 0.88), (0, 1)], GREY, 0.06)


def _guitar(draw: Drawing, appearance: Appearance, time: float) -> None:
    draw.tilt += 1.1
    wood = appearance.color(_YELLOW, 0.75, 0.85)
    draw.disc(0, 0.55, 0.5, 0.42, wood)
    draw.disc(0, 0.08, 0.36, 0.3, wood)
    draw.disc(0, 0.3, 0.15, 0.15, BLACK)
    draw.box(-0.08, -0.95, 0.08, 0.1, (90, 55, 30))
    draw.disc(0.05 + 0.3 * appearance.swing(time, 1.1), 0.45, 0.16, 0.12, SKIN)


def _banjo(draw: Drawing, appearance: Appearance, time: float) -> None:
    draw.tilt += 1.1
    draw.disc(0, 0.45, 0.52, 0.52, appearance.color(_PURPLE, 0.6, 0.4))
    draw.disc(0, 0.45, 0.42, 0.42, WHITE)
    draw.box(-0.07, -0.95, 0.07, 0.1, appearance.color(_PURPLE, 0.6, 0.4))
    draw.disc(0.12 * appearance.swing(time, 3.1), 0.5, 0.12, 0.12, SKIN)


def _accordion(draw: Drawing, appearance: Appearance, time: float) -> None:
    wide = 0.3 + 0.25 * (1 + appearance.swing(time, 0.55)) / 2
    case = appearance.color(_RED, 0.9, 0.75)
    for fold in range(6):
        x = -wide + fold * wide / 3
        shade = (70, 70, 75) if fold % 2 else (210, 205, 190)
        draw.box(x, -0.5, x + wide / 3, 0.6, shade)
    draw.box(-wide - 0.4, -0.6, -wide, 0.7, case)
    draw.box(wide, -0.6, wide + 0.4, 0.7, case)
    for key in range(5):
        draw.box(wide + 0.12, -0.5 + 0.23 * key, wide + 0.36, -0.36 + 0.23 * key, WHITE)


def _frying(draw: Drawing, appearance: Appearance, time: float) -> None:
    x = 0.08 * appearance.swing(time, 0.9)
    draw.disc(x - 0.15, 0.4, 0.72, 0.34, BLACK)
    draw.disc(x - 0.15, 0.34, 0.6, 0.25, (60, 60, 65))
    draw.line([(x + 0.5, 0.35), (x + 1, 0.15)], BLACK, 0.13)
    draw.disc(x - 0.3, 0.34, 0.28, 0.13, WHITE)
    draw.disc(x - 0.3, 0.32, 0.11, 0.07, appearance.color(_YELLOW, 0.95, 1))
    draw.disc(x + 0.12, 0.38, 0.2, 0.09, appearance.color(_RED, 0.7, 0.6))
    for plume in range(3):
        rise = (appearance.cycle(time, 0.9) + plume / 3) % 1
        draw.ring(-0.5 + 0.4 * plume, 0.1 - 0.95 * rise, 0.1 + 0.08 * rise, (215, 215, 215), 0.06)


def _basketball(draw: Drawing, appearance: Appearance, time: float) -> None:
    y = 0.6 - 1.15 * abs(appearance.swing(time, 0.8))
    draw.disc(0, 0.95, 0.35, 0.06, (60, 60, 60))
    draw.disc(0, y, 0.38, 0.38, appearance.color(_ORANGE, 0.95, 0.9))
    draw.line([(-0.38, y), (0.38, y)], BLACK, 0.05)
    draw.line([(0, y - 0.38), (0, y + 0.38)], BLACK, 0.05)
    draw.ring(0, y, 0.36, BLACK, 0.05)


def _fire_alarm(draw: Drawing, appearance: Appearance, time: float) -> None:
    lit = appearance.cycle(time, 1.6) < 0.5
    draw.box(-0.7, -0.5, 0.7, 0.9, appearance.color(_RED, 0.95, 0.85))
    draw.box(-0.45, 0.05, 0.45, 0.55, WHITE)
    draw.line([(-0.3, 0.3), (0.3, 0.3)], appearance.color(_RED, 0.95, 0.85), 0.12)
    draw.disc(0, -0.65, 0.32, 0.28, (255, 250, 200) if lit else (110, 30, 30))
    for ray in range(5) if lit else ():
        angle = math.pi * (1 + ray / 4)
        x, y = math.cos(angle), math.sin(angle)
        draw.line([(0.38 * x, -0.65 + 0.34 * y), (0.7 * x, -0.65 + 0.6 * y)], (255, 240, 150), 0.07)


def _telephone(draw: Drawing, appearance: Appearance, time: float) -> None:
    shake = 0.1 * appearance.swing(time, 3.7)
    body = appearance.color(_CYAN, 0.9, 0.55)
    draw.polygon([(-0.75, 0.9), (-0.5, -0.05), (0.5, -0.05), (0.75, 0.9)], body)
    draw.ring(0, 0.45, 0.28, WHITE, 0.14)
    draw.line([(-0.7, -0.35 + shake), (0.7, -0.35 - shake)], body, 0.22)
    for side in (-0.72, 0.72):
        draw.disc(side, -0.25 - shake * side, 0.24, 0.2, body)


def _blender(draw: Drawing, appearance: Appearance, time: float) -> None:
    draw.polygon([(-0.45, 0.95), (-0.35, 0.5), (0.35, 0.5), (0.45, 0.95)], BLACK)
    draw.polygon([(-0.3, 0.5), (-0.5, -0.75), (0.5, -0.75), (0.3, 0.5)], (205, 225, 230))
    slosh = 0.12 * appearance.swing(time, 2.9)
    draw.polygon(
        [(-0.3, 0.46), (-0.42, -0.2 + slosh), (0.42, -0.2 - slosh), (0.3, 0.46)], appearance.color(_PINK, 0.85, 0.85)
    )
    angle = 2 * math.pi * appearance.cycle(time, 2.4)
    draw.line([(-0.2 * math.cos(angle), 0.3), (0.2 * math.cos(angle), 0.3)], BLACK, 0.08)
    draw.box(-0.52, -0.9, 0.52, -0.75, BLACK)


VISUAL_PAINTERS: dict[str, Painter] = {
    "Speech": _speech,
    "Car": _car,
    "Cheering": _cheering,
    "Dog": _dog,
    "Cat": _cat,
    "Frying_(food)": _frying,
    "Basketball_bounce": _basketball,
    "Fire_alarm": _fire_alarm,
    "Chainsaw": _chainsaw,
    "Cello": _cello,
    "Banjo": _banjo,
    "Singing": _singing,
    "Chicken_rooster": _rooster,
    "Violin_fiddle": _violin,
    "Vacuum_cleaner": _vacuum,
    "Baby_laughter": _baby_laughter,
    "Accordion": _accordion,
    "Lawn_mower": _lawn_mower,
    "Motorcycle": _motorcycle,
    "Helicopter": _helicopter,
    "Acoustic_guitar": _guitar,
    "Telephone_bell_ringing": _telephone,
    "Baby_cry_infant_cry": _baby_cry,
    "Blender": _blender,
    "Clapping": _clapping,
}
