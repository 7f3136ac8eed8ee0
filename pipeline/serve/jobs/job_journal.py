"""The journal of the server: every change of a job is on disk before it counts.

    jobs/<number of the start>.jsonl    a job per line, appended and fsynced; the last line of an id counts

At each start the state of all jobs is written to a new file, then the older ones are removed, oldest first: a server
that is killed in between finds the same state. A line that is not exactly a job is ignored and counted; while there are
such lines, nothing is removed: neither the files with them nor uploads and timelines of jobs that they may name.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from ...batch.local_storage import LocalStorage
from ...batch.storage import Log
from .job import Job

JOURNAL_FOLDER = "jobs"


class JobJournal:
    """The jobs of earlier starts, and the file of this one. The caller holds the lock of the folder.

    Attributes:
        jobs: by id, in the order in which they were made.
        unreadable: complete lines that were ignored: damaged, or of another version of the program.
    """

    def __init__(self, storage: LocalStorage) -> None:
        """Read the journal and begin a new file. Raises OutputError."""
        self.unreadable = 0
        self.jobs: dict[str, Job] = {}
        earlier = storage.names(JOURNAL_FOLDER, ".jsonl")
        for name in earlier:
            self._read(storage, name)
        numbers = [int(stem) for name in earlier if (stem := PurePosixPath(name).stem).isdecimal()]
        self._log: Log = storage.log(f"{JOURNAL_FOLDER}/{max(numbers, default=0) + 1:09d}")
        if self.jobs:
            self._log.append(b"".join(job.to_line() for job in self.jobs.values()), immediately=True)
        for name in earlier if not self.unreadable else ():  # what cannot be read is not thrown away
            storage.remove(name)

    def append(self, job: Job) -> None:
        """Write the state of a job to disk. Raises OutputError: the journal is unchanged."""
        self._log.append(job.to_line(), immediately=True)

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _read(self, storage: LocalStorage, name: str) -> None:
        for line in storage.lines(name):
            if not line:
                continue
            try:
                job = Job.from_line(line)
            except ValueError:
                self.unreadable += line.endswith(b"}")  # the end of a line that a kill cut off never counted
                continue
            if job.status == "removed":
                self.jobs.pop(job.id, None)
            else:
                self.jobs[job.id] = job
