#!/usr/bin/env bash
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

# Runs a real container that leaks a mount: it mounts a tmpfs inside a volume that it was given with
# rshared, and exits without unmounting it. The copy stays behind at FOLDER/volume/scratch.
#
#   scripts/container.sh FOLDER [COMMAND...]     COMMAND, if any, is put in front of `runc run`
#
# NAME         what the container is called (mnttrace-demo-PID)
# PROPAGATION  of its volume and its root directory (rshared)
# INNER        what it runs, with FOLDER/volume at /volume (what is said above)
#
# Needs root, runc and busybox, and a mount namespace of its own that the caller has made
# (unshare --mount --propagation shared): it leaves its mounts to the end of that namespace.
set -euo pipefail

folder=$(realpath "$1")
shift
bundle=$folder/bundle volume=$folder/volume
export PROPAGATION=${PROPAGATION:-rshared}
export INNER=${INNER:-mkdir /volume/scratch; mount -t tmpfs scratch /volume/scratch}
name=${NAME:-mnttrace-demo-$$}

# The smallest system that can mount: busybox, with its libraries where it is not the static one.
make_rootfs() {
  mkdir -p "$1"/{bin,dev,proc,sys,volume}
  local busybox libraries
  busybox=$(command -v busybox)
  cp "$busybox" "$1/bin/busybox"
  for applet in sh mkdir mount umount; do ln -s busybox "$1/bin/$applet"; done
  libraries=$(ldd "$busybox" 2>/dev/null | grep -o '/[^ ]*') || return 0
  xargs cp --parents --dereference --target-directory "$1" <<<"$libraries"
}

# What `docker run --cap-add SYS_ADMIN --mount type=bind,...,bind-propagation=rshared` would ask of
# runc. Without rootfsPropagation runc makes a slave of the volume, and nothing gets out.
write_config() {
  (cd "$bundle" && runc spec)
  python3 - "$bundle/config.json" "$volume" <<'PYTHON'
import json
import os
import pathlib
import sys

path, volume = pathlib.Path(sys.argv[1]), sys.argv[2]
config = json.loads(path.read_text())
process = config["process"]
process["terminal"] = False
process["args"] = ["sh", "-ec", os.environ["INNER"]]
for allowed in process["capabilities"].values():
    allowed.append("CAP_SYS_ADMIN")
propagation = os.environ["PROPAGATION"]
config["linux"]["rootfsPropagation"] = propagation
options = ["rbind", "rw", propagation]
config["mounts"].append(
    {"destination": "/volume", "type": "bind", "source": volume, "options": options}
)
path.write_text(json.dumps(config, indent=2))
PYTHON
}

mkdir -p "$bundle" "$volume"
# Two mounts, as runc makes the one that holds the root file system private in the container.
mount -t tmpfs --make-private bundle "$bundle"
mount -t tmpfs --make-shared volume "$volume"
make_rootfs "$bundle/rootfs"
write_config
# runc wants a cgroup file system, and a machine without an init may have none.
grep -q ' - cgroup2\? ' /proc/self/mountinfo || mount -t cgroup2 cgroup2 /sys/fs/cgroup

trap 'runc delete --force "$name" 2>/dev/null || true' EXIT
"$@" runc run --bundle "$bundle" "$name" </dev/null
