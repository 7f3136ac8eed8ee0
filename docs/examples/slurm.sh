#!/bin/bash
# Extract features with 16 tasks of a Slurm array, without Ray:
#
#     CLIPS=/shared/clips FEATURES=/shared/features sbatch docs/examples/slurm.sh
#     avvp status /shared/features --watch
#
# Shards are counted from 1, as the array is. To resume, submit the whole array again: a shard that is done ends in
# seconds. (An array of some tasks has another SLURM_ARRAY_TASK_COUNT, and so other shards.)
#SBATCH --job-name=avvp-extract
#SBATCH --array=1-16
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --output=avvp-%A_%a.log
set -euo pipefail

# exec: avvp itself gets the signal before the time limit, and stops cleanly.
exec avvp extract "${CLIPS:-/shared/clips}" --recursive --keep-tree -o "${FEATURES:-/shared/features}" \
    --weights leap-llp --weights-dir "${AVVP_WEIGHTS_DIR:-/shared/weights}" --offline \
    --threads "$SLURM_CPUS_PER_TASK" --quiet \
    --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
