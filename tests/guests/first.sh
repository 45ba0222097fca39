#!/bin/busybox sh
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

# The first process of a guest: mounts this machine's files for its root, and goes on from there.
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
for module in /modules/*; do $b insmod "$module"; done
# Not "ro": tests look at that option. It cannot be written to, as what is served is read-only.
$b mount -t virtiofs root /new
$b mount -t virtiofs results /new/mnt
$b mount --move /dev /new/dev
$b mount --move /proc /new/proc
exec $b switch_root /new /bin/bash /mnt/init.sh
