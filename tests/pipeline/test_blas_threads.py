"""NumPy's products in one thread, and in as many as before after it."""

from __future__ import annotations

import numpy as np
import pytest
from avvp.pipeline.blas_threads import one_blas_thread
from threadpoolctl import threadpool_info, threadpool_limits


def blas_threads() -> set[int]:
    assert np.dot(np.ones(2), np.ones(2)) == 2
    libraries = [library for library in threadpool_info() if "numpy" in library["filepath"]]  # others come and go
    return {library["num_threads"] for library in libraries if library["user_api"] == "blas"}


def test_the_number_of_threads_is_that_of_before() -> None:
    with threadpool_limits(2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("NumPy's library has one thread here")
        with one_blas_thread():
            assert blas_threads() == {1}
            with one_blas_thread():
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == {2}
