#!/usr/bin/env bash
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

# Makes the recordings that the notebooks read, in notebooks/recordings or FOLDER: of real namespaces
# and real runc containers, in a mount namespace that is thrown away.
#
#   sudo scripts/recordings.sh [FOLDER]
#
# Everything is under /srv, on a tmpfs of this namespace's own; what else the machine has is unmounted
# here, and trimmed from the recordings.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
checkout=$PWD recordings=$(realpath -m "${1:-notebooks/recordings}")

record() { # NAME, then what to record
  local name=$1
  shift
  "$checkout/.venv/bin/mnttrace" record --force -o "$recordings/$name.mnttrace" -- "$@"
  "$checkout/.venv/bin/python" "$checkout/scripts/trim_recording.py" "$recordings/$name.mnttrace"
}

# Leaves the mounts that any machine has, so that the recordings do not tell of this one.
only_what_is_usual() {
  local place
  awk '{ print $5 }' /proc/self/mountinfo | tac | while read -r place; do
    case $place in / | /proc | /sys | /sys/fs/cgroup* | /dev | /dev/pts | /dev/shm) ;;
    *) umount --lazy "$place" ;;
    esac
  done
}

fresh() { # a folder with a shared tmpfs
  mkdir -p "/srv/$1"
  mount -t tmpfs --make-shared "$1" "/srv/$1"
  cd "/srv/$1"
}

first() {
  fresh first
  mkdir volume
  mount -t tmpfs volume volume
  record first sh -ec '
    unshare -m --propagation unchanged sh -ec "mkdir volume/data; mount -t tmpfs inner volume/data"
    unshare -m --propagation slave sh -ec "mkdir volume/own; mount -t tmpfs own volume/own"'
}

# A peer, a slave of both, and a slave that passes on: shared-and-slave.
travel() {
  fresh travel
  mkdir disk disk/data gates
  mount -t tmpfs disk disk
  mkdir disk/data disk/late
  mkfifo gates/{peer,slave,relay,last}
  # shellcheck disable=SC2016  # these are for the shell that is recorded
  record travel sh -ec '
    peer() { unshare -m --propagation unchanged sh -ec "echo >peer.ready; read -r go <gates/peer" & }
    slave() { unshare -m --propagation slave sh -ec "echo >slave.ready; read -r go <gates/slave" & }
    relay() {
      unshare -m --propagation slave sh -ec "
        mount --make-rshared /srv/travel
        unshare -m --propagation slave sh -ec \"echo >last.ready; read -r go <gates/last\" &
        until [ -e last.ready ]; do sleep .02; done
        echo >relay.ready; read -r go <gates/relay; wait" &
    }
    peer; slave; relay
    for name in peer slave relay; do until [ -e $name.ready ]; do sleep .02; done; done
    mount -t tmpfs data disk/data
    mount --bind disk/data disk/late
    umount disk/data
    for name in last relay slave peer; do echo go >gates/$name; done
    wait'
}

# The host gave a container its volume with a disk in it, and unmounts it while that runs.
hunt() {
  fresh hunt
  cat >prelude <<'PRELUDE'
cd web; mkfifo volume/gate; mkdir volume/disk; mount -t tmpfs disk volume/disk
$MNTTRACE record --force -o "$RECORDINGS/hunt.mnttrace" -- sh -e ../body "$@"
kill "$(cat ../user)"
echo go >volume/gate
PRELUDE
  cat >body <<'BODY'
"$@" &
until [ -e volume/ready ]; do sleep .02; done
umount volume/disk
(cd volume; exec sleep 1000) & echo $! >../user
until [ "$(readlink /proc/$!/cwd)" = "$PWD/volume" ]; do sleep .02; done
umount volume || true
sleep .5  # until it has been searched who uses that
BODY
  NAME=web PROPAGATION=rprivate INNER='echo >/volume/ready; read -r go </volume/gate' \
    MNTTRACE=$checkout/.venv/bin/mnttrace RECORDINGS=$recordings \
    "$checkout/scripts/container.sh" web sh -e prelude
  "$checkout/.venv/bin/python" "$checkout/scripts/trim_recording.py" "$recordings/hunt.mnttrace"
}

before_and_after() {
  local name propagation
  for name in before:rshared after:rslave; do
    fresh "${name%%:*}"
    propagation=${name##*:}
    NAME=web PROPAGATION=$propagation "$checkout/scripts/container.sh" web \
      "$checkout/.venv/bin/mnttrace" record --force -o "$recordings/${name%%:*}.mnttrace" --
    "$checkout/.venv/bin/python" "$checkout/scripts/trim_recording.py" \
      "$recordings/${name%%:*}.mnttrace"
  done
}

# Nodes that run the same container, set up in different ways.
fleet() {
  local node propagation inner
  while read -r node propagation inner; do
    fresh "$node"
    hostname "$node"
    NAME=agent PROPAGATION=$propagation INNER=$inner "$checkout/scripts/container.sh" agent \
      "$checkout/.venv/bin/mnttrace" record --force -o "$recordings/fleet/$node.mnttrace" --
    "$checkout/.venv/bin/python" "$checkout/scripts/trim_recording.py" \
      "$recordings/fleet/$node.mnttrace"
  done <<'NODES'
node-1 rshared mkdir /volume/a; mount -t tmpfs a /volume/a
node-2 rslave mkdir /volume/a; mount -t tmpfs a /volume/a
node-3 rshared mkdir /volume/a; mount -t tmpfs a /volume/a; umount /volume/a
node-4 rshared mkdir /volume/a /volume/b; mount -t tmpfs a /volume/a; mount -t tmpfs b /volume/b
node-5 rprivate mkdir /volume/a; mount -t tmpfs a /volume/a
NODES
}

if [[ ${2:-} != --inside ]]; then
  exec unshare --mount --uts --cgroup --propagation private scripts/recordings.sh "${1:-notebooks/recordings}" --inside
fi
only_what_is_usual
mount -t tmpfs srv /srv
mount --make-rshared /
rm -rf "$recordings"
mkdir -p "$recordings/fleet"
hostname laptop
for one in first travel hunt before_and_after fleet; do (${one}); done
