#!/usr/bin/env bash
# One medjax run on several machines that this one reaches by ssh, one process each.
#
#   launch/ssh.sh "gpu1 gpu2 gpu3" train quickstart --run /shared/runs/first
#
# Every machine needs medjax in the same place, the same data, and the run folder on storage that
# all of them see. The first host coordinates: the others must reach its PORT. The command runs in
# this folder's path on each host. Ctrl-C or SIGTERM here reaches all; they save and stop, and the
# same command goes on.
#
#   PORT    of the first host, default 12355
#   MEDJAX  the command, default "medjax"
#   SSH     what reaches a host, default "ssh -tt": with a terminal, so that Ctrl-C gets through
set -euo pipefail

if (($# < 3)); then
    echo "usage: $0 \"HOST HOST ...\" train EXPERIMENT [OPTIONS]" >&2
    exit 2
fi
read -ra hosts <<<"$1"
shift
port=${PORT:-12355}
read -ra reach <<<"${SSH:-ssh -tt}"
medjax=${MEDJAX:-medjax}
command=$(printf '%q ' "$@")
folder=$(printf '%q' "$PWD")

children=()
forward() { kill -TERM "${children[@]}" 2>/dev/null || true; }
trap forward INT TERM
for index in "${!hosts[@]}"; do
    place="${hosts[0]}:$port,$index/${#hosts[@]}"
    # exec: a signal to the shell on the host is then one to medjax.
    "${reach[@]}" "${hosts[$index]}" \
        "cd $folder && exec $medjax $command --distributed $place" </dev/null &
    children+=($!)
done

# A signal ends `wait` early; then wait again.
status=0
for child in "${children[@]}"; do
    while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done
    wait "$child" || status=$?
done
exit "$status"
