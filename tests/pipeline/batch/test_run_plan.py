"""Run a plan: what is journalled, what is listed as failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from avvp.pipeline.batch.failures import Failure
from avvp.pipeline.batch.journal import Journal
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.batch.plan import BatchJob, Plan, PlannedVideo
from avvp.pipeline.batch.run_plan import run_plan


def test_run_plan_without_an_executor_only_for_empty_plans(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    job = BatchJob({"a": tmp_path / "a.mp4"}, storage, {})
    planned = PlannedVideo("a", tmp_path / "a.mp4", (), "no video", "no-streams")
    with pytest.raises(ValueError, match="1 jobs need an executor"):
        run_plan(job, Plan(todo=[planned]), Journal(storage), None)
    summary = run_plan(job, Plan(failed=[planned]), Journal(storage), None)
    assert summary.failures == {"a": Failure(tmp_path / "a.mp4", "no video", "no-streams")}
    assert (tmp_path / "failures.csv").read_text() == (
        f"id,path,category,cause\na,{tmp_path}/a.mp4,no-streams,no video\n"
    )
