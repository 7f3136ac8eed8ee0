"""Generate audio of each LLP class. Every call draws pitch, tempo and timbre anew, so no two results are equal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .waveforms import (
    RATE,
    Waveform,
    beats,
    decay,
    glide,
    harmonics,
    noise,
    normalize_rms,
    sawtooth,
    sequence,
    time_axis,
    trapezoid,
    vibrato,
    voice,
)

Random = np.random.Generator
AudioGenerator = Callable[[Random, int], Waveform]

_VOWELS = (  # centre and width of each formant, in Hz
    ((730, 90), (1090, 110), (2440, 170)),
    ((270, 60), (2290, 200), (3010, 300)),
    ((300, 60), (870, 100), (2240, 170)),
    ((530, 70), (1840, 150), (2480, 200)),
    ((570, 80), (840, 100), (2410, 170)),
)


def generate_audio(label: str, rng: Random, length: int) -> Waveform:
    """Generate audio of a class.

    Args:
        label: an LLP class.
        rng: source of randomness; the same state gives the same samples.
        length: samples at `RATE`.

    Returns:
        (length,) waveform at the level that `normalize_rms` gives.

    Raises:
        KeyError: `label` is not an LLP class.
    """
    return normalize_rms(AUDIO_GENERATORS[label](rng, length))


def _vowel(rng: Random, pitch: Waveform, shift: float = 1.0) -> Waveform:
    formants = _VOWELS[rng.integers(len(_VOWELS))]
    return voice(pitch, [(center * shift, width) for center, width in formants])


def _speech(rng: Random, length: int) -> Waveform:
    base, shift = rng.uniform(95, 210), rng.uniform(0.95, 1.15)
    onsets = beats(rng, length, rng.uniform(4, 5.5), 0.25)
    parts = []
    for _ in onsets:
        size = int(RATE * rng.uniform(0.1, 0.17))
        pitch = base * glide(size, *rng.uniform(0.85, 1.2, 3))
        syllable = normalize_rms(_vowel(rng, pitch, shift)) * trapezoid(size, 0.25)
        hiss = noise(rng, int(RATE * 0.04), 2500, 6500) * trapezoid(int(RATE * 0.04)) * rng.uniform(0.1, 0.6)
        parts.append(np.concatenate([hiss, syllable]))
    return sequence(length, onsets, parts)


def _singing(rng: Random, length: int) -> Waveform:
    base, shift = rng.uniform(220, 420), rng.uniform(1.0, 1.15)
    onsets = beats(rng, length, rng.uniform(1.3, 2.0), 0.05)
    parts = []
    for _ in onsets:
        size = int(RATE * rng.uniform(0.5, 0.75))
        pitch = base * 2 ** (rng.integers(-4, 5) / 12) * vibrato(rng, size, 0.025) * glide(size, 0.97, 1, 1, 1)
        formants = [(center * shift, width) for center, width in _VOWELS[rng.integers(3)]]
        parts.append(normalize_rms(voice(pitch, [*formants, (2900, 250)])) * trapezoid(size, 0.12))
    return sequence(length, onsets, parts)


def _cheering(rng: Random, length: int) -> Waveform:
    roar = noise(rng, length, 500, 4500, 0.4) * (
        1 + 0.25 * np.sin(2 * np.pi * rng.uniform(0.5, 1.2) * time_axis(length))
    )
    for _ in range(10):
        pitch = rng.uniform(280, 620) * glide(length, *rng.uniform(0.85, 1.2, 6)) * vibrato(rng, length, 0.03)
        roar += 0.35 * normalize_rms(_vowel(rng, pitch, 1.1)) * glide(length, *rng.uniform(0.1, 1, 8))
    return roar


def _clapping(rng: Random, length: int) -> Waveform:
    onsets = sorted(rng.uniform(0, length / RATE, int(rng.uniform(9, 14) * length / RATE)))
    parts = []
    for _ in onsets:
        size, center = int(RATE * 0.05), rng.uniform(900, 2200)
        parts.append(noise(rng, size, center * 0.6, center * 1.7) * decay(size, 0.006) * rng.uniform(0.5, 1))
    return sequence(length, onsets, parts)


def _baby_laughter(rng: Random, length: int) -> Waveform:
    base, onsets = rng.uniform(420, 560), beats(rng, length, rng.uniform(5, 6.5), 0.1)
    parts = []
    for number, _ in enumerate(onsets):
        size = int(RATE * rng.uniform(0.08, 0.11))
        pitch = base * (1.25 - 0.07 * (number % 6)) * glide(size, 1.1, 1.0, 0.85)
        parts.append(
            (normalize_rms(voice(pitch, [(1000, 150), (1700, 200)])) + 0.4 * noise(rng, size, 1500, 5000))
            * trapezoid(size, 0.2)
        )
    return sequence(length, onsets, parts)


def _baby_cry(rng: Random, length: int) -> Waveform:
    base, onsets = rng.uniform(380, 500), beats(rng, length, rng.uniform(0.95, 1.2), 0.1)
    parts = []
    for _ in onsets:
        size = int(RATE * rng.uniform(0.7, 0.85))
        pitch = base * glide(size, 0.85, 1.25, 1.2, 0.8) * vibrato(rng, size, 0.015)
        wail = voice(pitch, [(1100, 200), (2900, 350), (3800, 400)]) * (
            1 + 0.3 * np.sin(2 * np.pi * 28 * time_axis(size))
        )
        parts.append(normalize_rms(wail) * trapezoid(size, 0.12))
    return sequence(length, onsets, parts)


def _dog(rng: Random, length: int) -> Waveform:
    base, onsets = rng.uniform(260, 480), beats(rng, length, rng.uniform(2, 3.2), 0.2)
    parts = []
    for _ in onsets:
        size = int(RATE * rng.uniform(0.14, 0.2))
        pitch = base * glide(size, 0.8, 1.6, 1.3, 0.6)
        bark = normalize_rms(voice(pitch, [(700, 200), (1300, 300)])) + 0.5 * noise(rng, size, 400, 2500)
        parts.append(bark * decay(size, 0.06) * trapezoid(size, 0.08))
    return sequence(length, onsets, parts)


def _cat(rng: Random, length: int) -> Waveform:
    base, onsets = rng.uniform(550, 800), beats(rng, length, rng.uniform(1.1, 1.4), 0.1)
    parts = []
    for _ in onsets:
        size = int(RATE * rng.uniform(0.5, 0.65))
        pitch = base * glide(size, 0.75, 1.05, 1.15, 1.0, 0.7)
        parts.append(normalize_rms(harmonics(pitch, [0.6, 1, 0.3, 0.12])) * trapezoid(size, 0.3))
    return sequence(length, onsets, parts)


def _rooster(rng: Random, length: int) -> Waveform:
    base, onsets = rng.uniform(850, 1150), beats(rng, length, rng.uniform(4.5, 6), 0.35)
    parts = []
    for _ in onsets:
        long = rng.random() < 0.18
        size = int(RATE * (rng.uniform(0.3, 0.4) if long else rng.uniform(0.05, 0.08)))
        pitch = base * (glide(size, 0.9, 1.5, 1.4, 1.0) if long else glide(size, 1.25, 0.85))
        call = harmonics(pitch, [1, 0.8, 0.5, 0.35, 0.2]) * (
            1 + 0.6 * np.sign(np.sin(2 * np.pi * 70 * time_axis(size)))
        )
        parts.append(call * trapezoid(size, 0.15))
    return sequence(length, onsets, parts)


def _engine(rng: Random, length: int, pitch: Waveform, rough: float, bright: float) -> Waveform:
    """Combustion pulses and the noise that they modulate."""
    puffs = sawtooth(pitch * (1 + 0.02 * noise(rng, length, 0, 15)), 60, bright)
    gate = 0.5 + 0.5 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE)
    return normalize_rms(puffs) + rough * noise(rng, length, 80, 3000, 0.8) * gate


def _car(rng: Random, length: int) -> Waveform:
    pitch = rng.uniform(42, 60) * glide(length, *rng.uniform(0.8, 1.3, 4))
    return normalize_rms(sawtooth(pitch, 8, 1.6)) + 0.5 * noise(rng, length, 60, 500, 0.6)


def _motorcycle(rng: Random, length: int) -> Waveform:
    pitch = rng.uniform(75, 100) * glide(length, *np.tile([0.75, 1.15, 1.6], max(1, length // (2 * RATE)) + 1))
    uneven = 1 + 0.5 * np.sin(np.pi * np.cumsum(pitch) / RATE)
    return _engine(rng, length, pitch, 0.3, 0.75) * uneven


def _lawn_mower(rng: Random, length: int) -> Waveform:
    pitch = np.full(length, rng.uniform(24, 32))
    onsets = np.flatnonzero(np.diff(np.floor(np.cumsum(pitch) / RATE))) / RATE
    size = int(RATE * 0.03)
    putt = noise(rng, size, 150, 1200) * decay(size, 0.007)
    return normalize_rms(sequence(length, list(onsets), [putt] * len(onsets))) + 0.35 * noise(rng, length, 1500, 3500)


def _chainsaw(rng: Random, length: int) -> Waveform:
    pitch = rng.uniform(115, 150) * glide(length, *rng.uniform(0.9, 1.25, 2 + 2 * length // RATE))
    buzz = sawtooth(pitch * (1 + 0.04 * noise(rng, length, 0, 30)), 50, 0.35)
    return normalize_rms(buzz) + 0.5 * noise(rng, length, 2500, 7000)


def _helicopter(rng: Random, length: int) -> Waveform:
    onsets = beats(rng, length, rng.uniform(10, 13), 0.01)
    size = int(RATE * 0.07)
    thump = noise(rng, size, 30, 350, 0.5) * decay(size, 0.02)
    return normalize_rms(sequence(length, onsets, [thump] * len(onsets))) + 0.08 * noise(rng, length, 300, 2000, 0.5)


def _vacuum(rng: Random, length: int) -> Waveform:
    whine = harmonics(np.full(length, rng.uniform(560, 700)), [1, 0.1, 0.4, 0.1])
    return 0.35 * whine + noise(rng, length, 150, 6500, 0.35)


def _blender(rng: Random, length: int) -> Waveform:
    pitch = rng.uniform(230, 290) * glide(length, *rng.uniform(0.95, 1.08, 2 + 3 * length // RATE))
    motor = harmonics(pitch, [0.4, 0.2, 1, 0.2, 0.3, 1, 0.2, 0.5, 0.9, 0.2, 0.3, 0.7])
    return normalize_rms(motor) * (1 + 0.25 * noise(rng, length, 0, 12)) + 0.25 * noise(rng, length, 3000, 7500)


def _frying(rng: Random, length: int) -> Waveform:
    onsets = sorted(rng.uniform(0, length / RATE, int(rng.uniform(60, 100) * length / RATE)))
    size = int(RATE * 0.008)
    pops = [noise(rng, size, 2500, 7800) * decay(size, 0.0015) * rng.uniform(0.3, 2.5) for _ in onsets]
    return 0.45 * noise(rng, length, 4200, 7800) + sequence(length, onsets, pops)


def _basketball(rng: Random, length: int) -> Waveform:
    onsets = beats(rng, length, rng.uniform(1.6, 2.6), 0.08)
    parts = []
    for _ in onsets:
        size, pitch = int(RATE * 0.25), rng.uniform(85, 120)
        ring = np.sin(2 * np.pi * pitch * time_axis(size)) * decay(size, 0.035)
        ping = np.sin(2 * np.pi * pitch * 9.7 * time_axis(size)) * decay(size, 0.02)
        parts.append(ring + 0.25 * ping + 0.3 * noise(rng, size, 100, 2500) * decay(size, 0.006))
    return sequence(length, onsets, parts)


def _fire_alarm(rng: Random, length: int) -> Waveform:
    tone = harmonics(np.full(length, rng.uniform(2900, 3300)), [1, 0.3])
    return tone * (((time_axis(length) * rng.uniform(2, 3) + rng.random()) % 1) < 0.6)


def _telephone(rng: Random, length: int) -> Waveform:
    first, time = rng.uniform(1150, 1400), time_axis(length)
    bells = harmonics(np.full(length, first), [1, 0.2]) + harmonics(np.full(length, first * 1.27), [0.9, 0.2])
    hammer = 0.35 + 0.65 * np.exp(-6 * ((time * rng.uniform(18, 23)) % 1))
    return bells * hammer * (((time * rng.uniform(1.1, 1.5) + rng.random()) % 1) < 0.7)


def _bow_notes(rng: Random, length: int, base: float, notes: float, formants: list[tuple[float, float]]) -> Waveform:
    onsets = beats(rng, length, notes, 0.05)
    parts = []
    for _ in onsets:
        size = int(RATE * 1.02 / notes)
        pitch = base * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 12]) / 12) * vibrato(rng, size, 0.012)
        bow = 0.06 * noise(rng, size, 1000, 6000)
        parts.append((normalize_rms(voice(pitch, formants)) + bow) * trapezoid(size, 0.12))
    return sequence(length, onsets, parts)


def _cello(rng: Random, length: int) -> Waveform:
    return _bow_notes(rng, length, rng.uniform(66, 98), rng.uniform(1.2, 1.9), [(250, 120), (450, 150), (900, 300)])


def _violin(rng: Random, length: int) -> Waveform:
    return _bow_notes(rng, length, rng.uniform(440, 590), rng.uniform(2, 3.2), [(900, 400), (2200, 700), (3400, 800)])


def _pluck(pitch: float, size: int, bright: float, half_life: float) -> Waveform:
    """One plucked string: overtones that decay faster the higher they are."""
    time, total = time_axis(size), np.zeros(size)
    for number in range(1, 25):
        if number * pitch < 7500:
            fade = 0.5 ** (time * (1 + 0.15 * number) / half_life)
            total += fade * np.sin(2 * np.pi * number * pitch * time) / number**bright
    return total * np.minimum(1, np.arange(size) / 24)


def _banjo(rng: Random, length: int) -> Waveform:
    base, onsets = rng.uniform(290, 380), beats(rng, length, rng.uniform(6.5, 8.5), 0.04)
    size = int(RATE * 0.3)
    steps = rng.choice([0, 4, 7, 12, 16, 9], len(onsets))
    return sequence(length, onsets, [_pluck(base * 2 ** (step / 12), size, 0.35, 0.05) for step in steps])


def _guitar(rng: Random, length: int) -> Waveform:
    base, onsets = rng.uniform(98, 147), beats(rng, length, rng.uniform(1.8, 2.6), 0.05)
    size = int(RATE * 1.2)
    parts = []
    for _ in onsets:
        root = base * 2 ** (rng.choice([0, 3, 5, 7]) / 12)
        chord = np.zeros(size + 6 * 200)
        for number, step in enumerate((0, 7, 12, 16, 19)):  # strings are strummed 200 samples apart
            chord[number * 200 : number * 200 + size] += _pluck(root * 2 ** (step / 12), size, 1.1, 0.35)
        parts.append(chord)
    return sequence(length, onsets, parts)


def _accordion(rng: Random, length: int) -> Waveform:
    base, onsets = rng.uniform(210, 300), beats(rng, length, rng.uniform(1.2, 2), 0.05)
    parts = []
    for _ in onsets:
        size = int(RATE * rng.uniform(0.6, 0.85))
        root, chord = base * 2 ** (rng.choice([0, 2, 5, 7]) / 12), np.zeros(size)
        for step in (0, 4, 7, 12):
            for detuned in (1.0, 1.012):  # two reeds slightly out of tune beat
                pitch = np.full(size, root * 2 ** (step / 12) * detuned)
                chord += harmonics(pitch, [1, 0.5, 0.9, 0.4, 0.7, 0.3, 0.5, 0.2, 0.4])
        parts.append(chord * trapezoid(size, 0.1))
    return sequence(length, onsets, parts)


AUDIO_GENERATORS: dict[str, AudioGenerator] = {
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
