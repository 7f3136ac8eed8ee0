"""Limits of the server. What goes beyond one is refused with a message that names the limit.

The size of a file and the length of media are limited by --max-upload and --max-hours.
"""

from __future__ import annotations

MAX_FORM_BYTES = 1 << 16  # of what surrounds the file in a form
UPLOAD_SECONDS = 60  # without a byte after which an upload, or a fetch, is given up
MAX_UPLOADS = 8  # at the same time
MAX_UPLOAD_NAME = 200  # bytes of the name of a file that is sent
MAX_JOB_SECONDS = 2 * 3600  # that a job may run
MAX_STARTS = 3  # of a job whose server ends each time while it runs
MAX_QUEUED = 100  # jobs that wait
MAX_ENDED = 200  # jobs without a timeline, failed or cancelled, that are remembered
MAX_TIMELINES = 2_000  # that are kept; then new jobs are refused
MAX_CLASSES = 200  # that a request names, of a server that finds any
MAX_CLASS_CHARACTERS = 200  # of the name of one
MAX_REQUEST_BYTES = 1 << 20  # of a request in JSON, other than a timeline
MAX_TIMELINE_BYTES = 32 << 20  # of a timeline that is saved: four hours with probabilities of 25 classes
MAX_VERSIONS = 100  # of a timeline that are kept: the first and the newest
MAX_AUTHOR = 100  # characters of the name of who saved a version
MAX_LISTED = 10_000  # files of the folder that are looked at for a list
MAX_TASKS = 50  # of a request of Label Studio
MAX_TASK_SECONDS = 90  # that a request of Label Studio waits for its jobs: it gives up after 100
MAX_CONNECTIONS = 200  # at the same time
MIN_TOKEN = 16  # characters of a token
