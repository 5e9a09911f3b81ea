#!/usr/bin/env bash
# One medjax run on all hosts of a Cloud TPU slice: JAX reads who they are from the TPU's metadata.
#
#   launch/tpu_vm.sh my-slice us-east5-a train quickstart --run /mnt/shared/runs/first
#
# medjax[tpu] is installed on every host, say with
#   gcloud compute tpus tpu-vm ssh my-slice --zone us-east5-a --worker=all \
#       --command 'python3 -m pip install "medjax[tpu]"'
# and the data and the run folder lie on storage that all hosts mount (Filestore, or a bucket by
# gcsfuse). Run it again to go on.
set -euo pipefail

if (($# < 4)); then
    echo "usage: $0 SLICE ZONE train EXPERIMENT [OPTIONS]" >&2
    exit 2
fi
slice=$1 zone=$2
shift 2
command=$(printf '%q ' "$@")
exec gcloud compute tpus tpu-vm ssh "$slice" --zone "$zone" --worker=all \
    --command "exec medjax $command --distributed auto"
