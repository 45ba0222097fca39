#!/usr/bin/env bash
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

# Records a container that leaks a mount, in a mount namespace that is thrown away afterwards, and
# shows the leak. The recording stays, in a temporary folder that is named at the end.
set -euo pipefail
scripts=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
mnttrace=$(dirname "$scripts")/.venv/bin/mnttrace

give_up() {
  printf '%s\n' "mnttrace demo: $1" >&2
  exit "${2:-4}"
}

# Everything in here is gone when this namespace's last process is.
inside() {
  local folder=$1 recording=$1/demo.mnttrace
  mount --make-rshared /
  # The tracepoints are found through tracefs, which not every machine has mounted.
  mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing || true
  "$scripts/container.sh" "$folder" "$mnttrace" record -o "$recording" -- ||
    give_up "the container could not be recorded (the reason is above)" 1
  mountpoint -q "$folder/volume/scratch" ||
    give_up "the container's mount did not reach $folder/volume/scratch" 1
  printf '\nThe container is gone; what it mounted is not:\n\n'
  "$mnttrace" leaks "$recording"
}

next_commands() {
  printf '\nLook further into this recording:\n\n'
  for command in leaks timeline tree info export; do
    printf '  %s %s %s\n' .venv/bin/mnttrace "$command" "$1"
  done
  printf '  %s why %s scratch\n' .venv/bin/mnttrace "$1"
}

if [[ ${1:-} == --inside ]]; then
  inside "$2"
  exit
fi

for tool in runc busybox unshare "$mnttrace"; do
  command -v "$tool" >/dev/null || give_up "$tool is missing; scripts/setup.sh brings it"
done
as_root=()
if (($(id -u) != 0)); then
  command -v sudo >/dev/null || give_up "only root may record mounts, and there is no sudo: run 'make demo' as root"
  as_root=(sudo)
fi
folder=$(mktemp -d "${TMPDIR:-/tmp}/mnttrace-demo.XXXXXX")
"${as_root[@]}" unshare --mount --propagation private "$scripts/demo.sh" --inside "$folder"
((${#as_root[@]} == 0)) || sudo chown -R "$(id -u):$(id -g)" "$folder"
next_commands "$folder/demo.mnttrace"
