#!/usr/bin/env bash
# One medjax run under SLURM, one process a GPU: JAX reads the rest from SLURM's environment.
#
#   sbatch --nodes 4 launch/slurm.sh train quickstart --run /shared/runs/first
#
# Nodes see the same medjax (a shared environment), data and run folder. Shortly before the time
# limit SLURM sends SIGTERM: the run saves, and the job puts itself back in the queue to go on.
#SBATCH --job-name=medjax
#SBATCH --nodes=2
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

# --kill-on-bad-exit: where one process fails the others go at once, not after missed heartbeats.
before=$SECONDS
srun --kill-on-bad-exit=1 medjax "$@" --distributed auto

# Stopped early and saved: process 0 says so with "next, to go on". The limit is 120 s away.
limit=$(squeue --noheader --job "$SLURM_JOB_ID" --format %L)
echo "ended after $((SECONDS - before)) s, $limit of the limit left"
if [[ $limit =~ ^0?[0-2]:[0-9]{2}$ ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
