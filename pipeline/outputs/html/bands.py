"""Film, waveform and spectrogram of a media file, as the page's script draws them above the timeline."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MediaError
from ...files import is_file
from ...text import escape

if TYPE_CHECKING:
    from PIL.Image import Image

_MINUTE = 60.0  # seconds
_TILES_A_MINUTE, _MAX_TILES, _TILE_COLUMNS = 60, 240, 20
_PEAKS_A_MINUTE, _MAX_PEAKS = 2_400, 12_000
_MEL_COLUMNS_A_MINUTE, _MAX_MEL_COLUMNS = 1_200, 4_000
# Bytes before base64: with the peaks of a minute (4.8 kB), less than 45 kB, which are 60 kB in the page.
_BYTES_OF_TILE, _BYTES_OF_MEL_COLUMN, _BYTES_OF_HEADER = 350, 14, 650
_QUALITIES = (75, 65, 55, 45, 35, 25, 15, 8, 4)  # of JPEG; the first that is small enough
_QUIETEST_PEAK = 1.0  # end of the grey scale where all is quieter, in logarithms of mel energy


def media_bands(media: Path, duration: float) -> tuple[dict[str, Any], list[str]]:
    """Decode what the page shows of a media file.

    Args:
        media: the file.
        duration: of the time axis in seconds.

    Returns:
        The fields `film`, `wave` and `mel` of the page's data, as far as the file has them, and warnings.
    """
    from ..plots.film import film_frames
    from ..plots.sound import read_sound

    bands: dict[str, Any] = {}
    warnings: list[str] = []
    if not is_file(media):
        return bands, warnings  # the player says so
    try:
        count = _count(duration, _TILES_A_MINUTE, _MAX_TILES, slowly=True)
        step = 1.0 if duration <= _MINUTE else duration / count
        frames = film_frames(media, count, step)
        if frames is not None:
            bands["film"] = film_data(frames, count, step)
    except MediaError as error:
        warnings.append(f"the film is left out: {escape(error)}")
    try:
        peaks = _count(duration, _PEAKS_A_MINUTE, _MAX_PEAKS)
        mel_columns = _count(duration, _MEL_COLUMNS_A_MINUTE, _MAX_MEL_COLUMNS)
        sound = read_sound(media, duration, columns=peaks, mel_columns=mel_columns)
        if sound is not None:
            bands["wave"] = wave_data(sound.envelope, duration)
            bands["mel"] = mel_data(sound.log_mel, duration)
    except MediaError as error:
        warnings.append(f"the waveform is left out: {escape(error)}")
    return bands, warnings


def _count(duration: float, a_minute: int, most: int, *, slowly: bool = False) -> int:
    """Return a number of intervals that grows with the duration up to `most`, slowly after the first minute."""
    minutes = duration / _MINUTE
    if slowly and minutes > 1:
        minutes = math.sqrt(minutes)
    return max(1, min(most, math.ceil(a_minute * minutes)))


def film_data(frames: NDArray[np.uint8], count: int, step: float) -> dict[str, Any]:
    """Make one image of all frames.

    Args:
        frames: (n, H, W, 3) RGB.
        count: of tiles; where there are fewer frames, the last one is repeated.
        step: seconds of a tile.

    Returns:
        The field `film` of the page's data.
    """
    from PIL import Image

    height, width = frames.shape[1:3]
    columns = min(count, _TILE_COLUMNS)
    rows = -(-count // columns)
    tiles = np.zeros((rows * columns, height, width, 3), np.uint8)
    tiles[:count] = frames[np.minimum(np.arange(count), len(frames) - 1)]
    sprite = tiles.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)
    url = jpeg_url(Image.fromarray(sprite), _BYTES_OF_HEADER + _BYTES_OF_TILE * count)
    return {"url": url, "count": count, "columns": columns, "step": step, "width": width, "height": height}


def wave_data(envelope: NDArray[np.float32], duration: float) -> dict[str, Any]:
    """Return the field `wave` of the page's data.

    Args:
        envelope: (columns, 2) smallest and largest samples in [-1, 1].
        duration: seconds of all columns.
    """
    peaks = np.round(envelope * 127).astype(np.int8)
    return {"peaks": base64.b64encode(peaks.tobytes()).decode(), "step": duration / len(peaks)}


def mel_data(log_mel: NDArray[np.float32], duration: float) -> dict[str, Any]:
    """Return the field `mel` of the page's data.

    Args:
        log_mel: (columns, bands), low frequencies first.
        duration: seconds of all columns.
    """
    from PIL import Image

    low, high = float(log_mel.min()), max(_QUIETEST_PEAK, float(log_mel.max()))
    grey = np.round((log_mel - low) / (high - low) * 255).astype(np.uint8).T[::-1]
    url = jpeg_url(Image.fromarray(np.ascontiguousarray(grey)), _BYTES_OF_HEADER + _BYTES_OF_MEL_COLUMN * len(log_mel))
    return {"url": url, "step": duration / len(log_mel), "width": grey.shape[1], "height": grey.shape[0]}


def jpeg_url(image: Image, most: int) -> str:
    """Encode an image as a data address, in the best quality that fits into `most` bytes, else in the smallest size."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg_within(image, most)).decode()}"


def jpeg_within(image: Image, most: int, *, comment: bytes = b"") -> bytes:
    """Encode an image as JPEG.

    Args:
        image: RGB or grey.
        most: bytes; the best quality that fits is taken, or the lowest of all where none does.
        comment: in the file.

    Returns:
        The JPEG file.
    """
    content = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True, comment=comment)
        content = file.getvalue()
        if len(content) <= most:
            break
    return content
