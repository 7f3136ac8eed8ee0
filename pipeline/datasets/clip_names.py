"""Names of clips, and the names under which their features and results are stored."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from ..files import without_media_suffix
from ..text import escape

NO_VIDEOS: Mapping[str, str] = MappingProxyType({})
_CLIP_NAME = re.compile(r"(.+)_\d+_\d+")  # <id>_<start>_<end>


def find_ids(
    filenames: Iterable[str], available: frozenset[str], videos: Mapping[str, str] = NO_VIDEOS
) -> tuple[list[str], list[str]]:
    """Find the name of each clip's features, see `find_name`.

    Args:
        filenames: of the clips.
        available: names of features.
        videos: of `Annotations`. Clips of one video may have the same name.

    Returns:
        A name for each clip, whether or not it is available, and a line for every two other clips with the same name.
    """
    ids: list[str] = []
    owners: dict[str, str] = {}
    problems: list[str] = []
    with_suffix = names_with_suffix(available)
    for filename in filenames:
        name = find_name(filename, available, with_suffix, videos) or clip_id(filename)
        if name in owners and video_of(filename, videos) != video_of(owners[name], videos):
            clips = f"{escape(owners[name])} and {escape(filename)}"
            problems.append(f"{clips} would share the features {escape(name)}; name the features like the clips")
        owners[name] = filename
        ids.append(name)
    return ids, problems


def names_with_suffix(available: Iterable[str]) -> dict[str, str]:
    """Map names without media suffix, as --keep-suffix leaves it in ids, to names that are the only ones of theirs."""
    names: dict[str, list[str]] = {}
    for name in available:
        if (base := without_media_suffix(name)) != name:
            names.setdefault(base, []).append(name)
    return {base: found[0] for base, found in names.items() if len(found) == 1}


def find_name(
    filename: str,
    available: Collection[str],
    with_suffix: Mapping[str, str],
    videos: Mapping[str, str] = NO_VIDEOS,
) -> str | None:
    """Find the name under which the results of a clip are stored.

    Args:
        filename: of the clip.
        available: names that exist.
        with_suffix: of `names_with_suffix`, for these names.
        videos: of `Annotations`: a further clip of a video may have the video's results.

    Returns:
        The clip's name or, as in LLP, the id in `<id>_<start>_<end>`, or the name of its video; else one of these with
        the suffix of a media file; None if there is none of them.
    """
    candidates = (filename, clip_id(filename), video_of(filename, videos))
    plain = (name for name in candidates if name in available)
    return next(plain, None) or next(filter(None, map(with_suffix.get, candidates)), None)


def video_of(filename: str, videos: Mapping[str, str]) -> str:
    """Return the name of a clip's video: of a first clip its own.

    Args:
        filename: of the clip.
        videos: of `Annotations`.
    """
    return videos.get(filename, filename)


def name_of_results(base: str, media: str) -> str:
    """Return what a file of results is called, where clips and data sets are looked for.

    Args:
        base: name of the file without its suffix.
        media: name of the media file that it states, without media suffix.

    Returns:
        The name of the media file, whatever the file of results is called; with its suffix where that is a part of
        `base`, as --keep-suffix leaves it.
    """
    return base if without_media_suffix(base) == media else media


def clip_id(filename: str) -> str:
    """Return the id in `<id>_<start>_<end>`; a name of another form is its own id."""
    match = _CLIP_NAME.fullmatch(filename)
    return filename if match is None else match[1]
