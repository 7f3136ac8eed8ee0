"""Weak labels: the classes of each clip, from a table or from the annotations of a data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from ..datasets.annotation_cells import MAX_PROBLEMS, split_labels
from ..datasets.annotations import CLIP_COLUMNS, EVENT_COLUMNS, SPLIT_FILES, Annotations
from ..datasets.clip_names import clip_id
from ..errors import DatasetError, SetupError
from ..files import MEDIA_SUFFIXES, without_media_suffix
from ..tables import parse_table
from ..text import escape, shorten
from ..text_files import read_text

WeakLabels = dict[str, NDArray[np.bool_]]  # clip -> (C,)
_COLUMNS = CLIP_COLUMNS


def annotated_labels(annotations: Annotations, splits: Sequence[str]) -> WeakLabels:
    """Return the weak labels of the clips of some splits, classes in the order of the annotations."""
    weak: WeakLabels = {}
    for split in map(annotations.split, splits):
        weak |= zip(split.filenames, split.labels, strict=True)
    return weak


def read_table(path: Path, labels: Sequence[str], notices: list[str] | None = None) -> WeakLabels:
    """Read weak labels from a table such as LLP's AVVP_train.csv.

    Args:
        path: separated by tabs, semicolons or commas, with the columns `filename` and `event_labels` (classes separated
            by commas); the suffix of a media file is removed from a filename.
        labels: names of the C classes.
        notices: a line is appended if the file is in an encoding that is not Unicode.

    Returns:
        Clip -> (C,) bool.

    Raises:
        DatasetError: the table is malformed, or has labels per second, or is the table of val or test: those splits are
            labelled only by name, as their labels must not be trained on.
    """
    if path.name in {SPLIT_FILES["val"], SPLIT_FILES["test"]}:
        raise DatasetError(
            f"{escape(path)}: labels made from val or test are not for training; pass its folder and --split instead"
        )
    try:
        text = read_text(path, legacy=True)
        table = parse_table(text.text, _COLUMNS)
    except ValueError as error:
        raise DatasetError(f"{escape(path)}: {error}") from error
    _check_columns(path, text.text.lstrip("\n").split("\n", 1)[0], table.columns)
    if notices is not None:
        notices += [f"{path.name}: {notice}" for notice in text.notices]
    hint = "; put several classes in quotes" if table.delimiter == "," else ""
    problems = [(p.line, p.cause + (hint if p.cells > len(table.columns) else "")) for p in table.problems]
    weak: WeakLabels = {}
    indices = {label: index for index, label in enumerate(labels)}
    for row in table.rows:
        if len(problems) > MAX_PROBLEMS:
            break
        file, classes = (row.cells[column] for column in _COLUMNS)
        name = str(PurePath(file).with_suffix("")) if PurePath(file).suffix.lower() in MEDIA_SUFFIXES else file
        present = split_labels(classes)
        if unknown := [label for label in present if label not in indices]:
            problems.append((row.line, f"unknown class {escape(unknown[0])}"))
        if not name:
            problems.append((row.line, "no filename"))
        elif name in weak:
            problems.append((row.line, f"{shorten(name)} is listed twice"))
        weak[name] = np.zeros(len(labels), bool)
        weak[name][[indices[label] for label in present if label in indices]] = True
    if problems or not weak:
        causes = [f"line {line}: {cause}" for line, cause in sorted(problems)]
        raise DatasetError.listing(f"{escape(path)} cannot be used", causes or ["it lists no clip"])
    return weak


def _check_columns(path: Path, header: str, columns: Sequence[str]) -> None:
    if not set(_COLUMNS) <= set(columns):
        raise DatasetError(f"{escape(path)}: has no columns filename and event_labels, but {header[:80]!r}")
    if set(EVENT_COLUMNS) <= set(columns):
        raise DatasetError(f"{escape(path)}: has labels per second; expected the classes of each video")


def match_videos(videos: Iterable[str], clips: Iterable[str], others: Iterable[str] = ()) -> dict[str, str]:
    """Match videos with clips by name: the whole name, else the last parts, else the id in `<id>_<start>_<end>`.

    The id counts only where one of the two names has no times, as LLP's videos have none; names with other times are
    other clips. A video is left out if it fits no clip, or only clips that another video fits better.

    Args:
        videos: names, folders included, without suffixes.
        clips: names of clips.
        others: videos of earlier runs. Conflicts among them are no errors; the second is left out.

    Returns:
        Video -> clip, one to one.

    Raises:
        DatasetError: two of the videos fit the same clip equally well, or one fits several clips.
    """
    clips_by_id = _group_by_id(clips)
    clip_of: dict[str, str] = {}
    video_of: dict[str, str] = {}
    required = dict.fromkeys(videos)
    for fits in _CRITERIA:
        matched_better = set(video_of)
        for video in (*required, *others):
            candidates = [] if video in clip_of else [clip for clip in clips_by_id[_id(video)] if fits(video, clip)]
            if not candidates or matched_better.intersection(candidates):
                continue
            rival = video_of.get(candidates[0])
            if len(candidates) == 1 and rival is None:
                clip_of[video], video_of[candidates[0]] = candidates[0], video
            elif video in required and len(candidates) > 1:
                both = " and ".join(map(escape, candidates[:2]))
                raise DatasetError(f"{escape(video)}: the name fits the clips {both}; rename the video")
            elif video in required:
                both = f"{escape(rival)} and {escape(video)}"
                raise DatasetError(f"{both}: both names fit the clip {escape(candidates[0])}; rename one")
    return {video: clip_of[video] for video in (*required, *others) if video in clip_of}


def match_named_videos(
    named: Mapping[str, Path], annotated: Collection[str], scored: Collection[str], *, keep_suffix: bool
) -> dict[str, str]:
    """Match videos of this run and of earlier ones with clips. Clips are called by names without media suffix.

    Args:
        named: name -> file, of this run.
        annotated: names of clips.
        scored: names of earlier runs' videos.
        keep_suffix: names of videos may have a media suffix.

    Returns:
        Video -> clip, one to one.

    Raises:
        DatasetError, SetupError: see `match_videos`; or two names differ in their suffixes alone.
    """
    others = [name for name in scored if name not in named]
    if not keep_suffix:
        return match_videos(named, annotated, others)
    plain = {video: video if video in annotated else without_media_suffix(video) for video in (*named, *others)}
    videos: dict[str, str] = {}
    rivals: dict[str, str] = {}
    for video, name in plain.items():
        if videos.setdefault(name, video) != video and video in named:
            rivals[name] = video
    required = {plain[video] for video in named}
    clips = match_videos(filter(required.__contains__, videos), annotated, videos.keys() - required)
    if rival := next((name for name in rivals if name in clips), None):
        both = f"{escape(videos[rival])} and {escape(rivals[rival])}"
        raise SetupError(f"{both}: both names fit the clip {escape(clips[rival])}; name one of them alone")
    return {videos[name]: clip for name, clip in clips.items()}


def matching_names(names: Iterable[str], clips: Iterable[str]) -> set[str]:
    """Return the names that fit one of the clips by any criterion of `match_videos`."""
    clips_by_id = _group_by_id(clips)
    return {name for name in names for clip in clips_by_id[_id(name)] if any(fits(name, clip) for fits in _CRITERIA)}


def _group_by_id(clips: Iterable[str]) -> defaultdict[str, list[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for clip in sorted(set(clips)):
        groups[_id(clip)].append(clip)
    return groups


def _id(name: str) -> str:
    return clip_id(PurePath(name).name)


def _same_name(video: str, clip: str) -> bool:
    return PurePath(video) == PurePath(clip)


def _same_last_parts(video: str, clip: str) -> bool:
    return _end_alike(PurePath(video).parts, PurePath(clip).parts)


def _same_id(video: str, clip: str) -> bool:
    """Return whether the folders agree and exactly one of the names has times; ids are equal already."""
    first, second = PurePath(video), PurePath(clip)
    untimed = [path.name for path in (first, second) if clip_id(path.name) == path.name]
    return len(untimed) == 1 and _end_alike(first.parts[:-1], second.parts[:-1])


def _end_alike(first: Sequence[str], second: Sequence[str]) -> bool:
    """Return whether one of two sequences ends with the other."""
    shorter = min(len(first), len(second))
    return first[len(first) - shorter :] == second[len(second) - shorter :]


_CRITERIA = (_same_name, _same_last_parts, _same_id)  # the best first
