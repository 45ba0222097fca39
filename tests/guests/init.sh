#!/bin/bash
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

# What a guest does: makes places to write to, runs the commands that it was given, and powers off.
checkout=$(sed 's/.*mnttrace.checkout=\([^ ]*\).*/\1/' /proc/cmdline)
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home TERM=dumb \
  MNTTRACE_CACHE=/run/mnttrace

mount -t sysfs sysfs /sys
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/shm /dev/pts
ln -s /proc/self/fd /dev/fd   # fexecve(3), as of runc, gives it as the path; 5.10 looks for that
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t virtiofs checkout /media
for place in /tmp /run /var/tmp /var/lib /srv; do
  [[ $place != /var/lib ]] || continue
  mount -t tmpfs tmpfs $place
done
mkdir -p "$checkout" $HOME 2>/dev/null
mount --bind /media "$checkout"
ip link set lo up 2>/dev/null || busybox ifconfig lo 127.0.0.1 up
for module in /mnt/modules/*.ko; do
  [[ -e $module ]] && busybox insmod "$module"
done
cd "$checkout" || echo "no checkout at $checkout"

# run NAME COMMAND
run() {
  local began=${EPOCHREALTIME/./} status milliseconds
  bash -c "$2" >"/mnt/$1.txt" 2>&1 </dev/null
  status=$?
  milliseconds=$(((${EPOCHREALTIME/./} - began) / 1000))
  printf '%s %d %d.%03d\n' "$1" "$status" $((milliseconds / 1000)) $((milliseconds % 1000)) >>/mnt/outcomes
}
# shellcheck source=/dev/null
. /mnt/commands
sync
echo o >/proc/sysrq-trigger
sleep 60
