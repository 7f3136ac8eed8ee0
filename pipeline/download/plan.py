"""Plan of a run that downloads clips: what is there, what is gone, and what is left to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast, get_args

from ..batch.journal import Journal, JournalEntry, hash_values
from ..batch.storage import Storage
from ..files import VIDEO_SUFFIXES
from .clip_lists import Clip
from .reasons import LASTING, Reason

OUTPUT = "clip"  # name of the output in the journal
REASON = "reason"  # key of the facts of an entry
_CUT_SUFFIX = ".mp4"


class Missing(NamedTuple):
    """A clip that is not there: why, in one word and in one line."""

    clip: Clip
    reason: Reason
    cause: str


@dataclass
class DownloadPlan:
    """What a run has to do.

    Attributes:
        there: clips with a file, of this program or of the user.
        todo: clips to download, grouped by the address of their video.
        missing: clips that no request is made for, by id: they failed in an earlier run.
    """

    there: list[Clip] = field(default_factory=list)
    todo: dict[str, list[Clip]] = field(default_factory=dict)
    missing: dict[str, Missing] = field(default_factory=dict)

    @classmethod
    def of_new(cls, clips: Iterable[Clip]) -> DownloadPlan:
        """Return the plan of clips of which nothing is there."""
        plan = cls()
        for clip in clips:
            if clip.problem:
                plan.missing[clip.id] = Missing(clip, "not-media", clip.problem)
            else:
                plan.todo.setdefault(clip.address, []).append(clip)
        return plan

    @property
    def clips_todo(self) -> int:
        """Number of clips to download."""
        return sum(map(len, self.todo.values()))


def parameters_of(clip: Clip, max_height: int) -> dict[str, str]:
    """Return the hash of everything that determines the file of a clip, by output, as entries of a journal have it."""
    return {OUTPUT: hash_values({"address": clip.address, "start": clip.start, "end": clip.end, "height": max_height})}


def make_plan(
    clips: Iterable[Clip], journal: Journal, storage: Storage, *, max_height: int, retry_missing: bool, overwrite: bool
) -> DownloadPlan:
    """Compare clips with the journal and the files of earlier runs.

    Args:
        clips: to download.
        journal: of the storage.
        storage: of the clips, locked.
        max_height: pixels of the video that is chosen.
        retry_missing: ask for clips again that were gone.
        overwrite: download everything again, and replace files that no run has written.

    Returns:
        The plan. A file that a run has not written, with the name of a clip and a suffix of video, counts as there.
    """
    plan = DownloadPlan()
    # A file that a killed run wrote, and did not journal, has an entry "started": it is downloaded again.
    known = {name.rpartition(".")[0] for suffix in VIDEO_SUFFIXES for name in storage.names("", suffix)}
    for clip in clips:
        entry = journal.entries.get(clip.id)
        if clip.problem:
            plan.missing[clip.id] = Missing(clip, "not-media", clip.problem)
        elif not overwrite and _is_there(clip, entry, storage, max_height, known):
            plan.there.append(clip)
        elif not (retry_missing or overwrite) and (missing := lasting_failure(clip, entry)) is not None:
            plan.missing[clip.id] = missing
        else:
            plan.todo.setdefault(clip.address, []).append(clip)
    return plan


def _is_there(clip: Clip, entry: JournalEntry | None, storage: Storage, max_height: int, known: Iterable[str]) -> bool:
    if entry is None or entry.status == "failed":
        return clip.id in known
    done = entry.status == "done" and entry.parameters == parameters_of(clip, max_height)
    return done and OUTPUT in entry.outputs and storage.intact(entry.outputs[OUTPUT])


def lasting_failure(clip: Clip, entry: JournalEntry | None) -> Missing | None:
    """Return why a clip is gone for good, as far as an earlier run has found out."""
    if entry is None or entry.status != "failed" or (reason := reason_in(entry.media)) not in LASTING:
        return None
    return Missing(clip, reason, entry.cause)


def reason_in(facts: Mapping[str, object]) -> Reason:
    """Return the reason that the facts of an entry state; a file of a stranger may state any."""
    stated = facts.get(REASON)
    return cast("Reason", stated) if stated in get_args(Reason) else "other"


def output_name(clip: Clip, suffix: str) -> str:
    """Return the name of the file of a clip; `suffix` is that of the video, for clips that are not cut."""
    return clip.id + (suffix if clip.start is None else _CUT_SUFFIX)
