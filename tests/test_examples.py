"""The jobs of docs/examples/: they parse, and their command lines are those that avvp accepts."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
import yaml
from avvp.pipeline.batch.storage import Shard
from avvp.pipeline.cli.main import avvp
from support.paths import ROOT

EXAMPLES = ROOT / "docs" / "examples"


def parse(words: list[str]) -> dict[str, object]:
    """Parse the words of a command line; none of its files is opened."""
    command = avvp.get_command(avvp.make_context("avvp", [], resilient_parsing=True), words[1])
    assert words[0] == "avvp"
    assert command is not None
    return command.make_context(words[1], words[2:]).params


def expand(script: str, values: dict[str, str]) -> list[str]:
    """Return the words that a script gives to the program it ends with, as the shell expands them."""
    shown = script.replace("exec avvp ", "printf '%s\\n' avvp ")
    environment = {"PATH": "/usr/bin:/bin", **values}
    done = subprocess.run(["/bin/bash", "-c", shown], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_slurm_array() -> None:
    script = EXAMPLES / "slurm.sh"
    subprocess.run(["/bin/bash", "-n", script], check=True)
    text = script.read_text(encoding="utf-8")
    directives = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", text, re.MULTILINE))
    assert text.index("#SBATCH") < text.index("\nset -euo")  # Slurm reads no directives after the first command
    assert directives["array"] == "1-16"
    assert "requeue" in directives
    values = {"SLURM_ARRAY_TASK_ID": "16", "SLURM_ARRAY_TASK_COUNT": "16", "SLURM_CPUS_PER_TASK": "8"}
    options = parse(expand(text, values))
    assert options["shard"] == Shard(16, 16)
    assert (options["inputs"], options["output"]) == (("/shared/clips",), "/shared/features")
    assert options["threads"] == int(directives["cpus-per-task"])
    named = parse(expand(text, {**values, "CLIPS": "/my clips", "FEATURES": "/out"}))
    assert (named["inputs"], named["output"]) == (("/my clips",), "/out")


def test_the_kubernetes_job() -> None:
    job = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    count, pod = job["spec"]["completions"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never"  # as a podFailurePolicy requires
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
    (script,) = container["args"]
    shards = [parse(expand(script, {"JOB_COMPLETION_INDEX": str(index)}))["shard"] for index in (0, count - 1)]
    assert shards == [Shard(1, count), Shard(count, count)]


@pytest.mark.parametrize("name", ["slurm.sh", "kubernetes.yaml"])
def test_the_commands_of_the_comments_exist(name: str) -> None:
    comments = re.findall(r"^#     (.*)$", (EXAMPLES / name).read_text(encoding="utf-8"), re.MULTILINE)
    status = [line.partition("avvp ")[2] for line in comments if "avvp status" in line]
    assert status
    assert parse(["avvp", *shlex.split(status[0])])["output"] in {"/shared/features", "/data/features"}
