"""NumPy's matrix products in one thread, where they are many and small."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any


def one_blas_thread() -> AbstractContextManager[Any]:
    """Return a context in which NumPy's matrix products are computed in one thread.

    What several threads gain in a small product is less than what they wait for each other: a busy machine takes seven
    times as long for an hour of video. The number is one for the whole program: where several threads are in the
    context, the first to leave it restores it.
    """
    return _find_libraries().limit(limits=1, user_api="blas")


@cache
def _find_libraries() -> Any:
    import numpy  # noqa: F401 - whose library is to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
