#!/bin/bash
# A search by four tasks of Slurm:
#
#     sbatch examples/scale/slurm_array.sh
#
# A task that is killed or requeued loses nothing: another one takes its trial, with the seeds that it has finished.
#SBATCH --job-name=keras-initx
#SBATCH --array=0-3
#SBATCH --cpus-per-task=2
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=keras-initx.%a.log

# On a file system that all nodes share. A file in NFS is no place for a SQLite database: take a journal file, or
# a PostgreSQL server.
export RESULTS="${RESULTS:-$PWD/results/slurm}"
export KERAS_INITX_STORAGE="${KERAS_INITX_STORAGE:-$RESULTS.journal}"

exec "${PYTHON:-python}" examples/scale/train.py
