# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The scenarios of the raw logs: shell scripts, of which it is known what they do.

Each runs in a folder of its own, /srv, in a mount namespace all of which is shared; `sh slave.sh`
and `sh peer.sh` wait in namespaces that receive its mounts. Each mount has a source that nothing
else has, so that it can be found in the rows.
"""

from __future__ import annotations

from typing import NamedTuple

HOOKS, WALK, SYSCALLS, NONE = "kernel-hooks", "walk", "syscalls", "none"
EXACT = (HOOKS, WALK)


class Scenario(NamedTuple):
    """What a raw log is recorded of.

    Attributes:
        before: a shell script that runs before the recording begins.
        recorded: one that is recorded.
        backends: those with which it is recorded.
        needs: commands without which it is left out.
    """

    before: str
    recorded: str
    backends: tuple[str, ...] = EXACT
    needs: tuple[str, ...] = ()


# `receiver NAME PROPAGATION` starts NAME.sh in a namespace of its own, which lasts until the end.
# `pause` gives a recorder that only reads mount tables the time to do so.
FUNCTIONS = """
receiver() {
    echo 'echo $$ >"$0.pid"; read _ <end' >$1.sh
    unshare -m --propagation $2 sh $1.sh &
    until [ -s $1.sh.pid ]; do sleep 0.01; done
}
pause() { sleep $PAUSE; }
"""

FOUNDING = Scenario(
    before="""
    mkdir stays leaves pool twin bundle tree copy options
    mount -t tmpfs leaves-1 leaves
    mount -t tmpfs pool-1 pool; mkdir pool/sub pool/given
    mount --bind pool twin
    mount -t tmpfs bundle-1 bundle; mkdir -p bundle/rootfs/old bundle/rootfs/proc
    mount -t proc root-1 bundle/rootfs/proc
    mount -t tmpfs tree-1 tree; mkdir tree/below; mount -t tmpfs tree-2 tree/below
    mount -t tmpfs options-1 options
    receiver slave slave
    """,
    recorded="""
    unshare -m --propagation private sh -ec '
        . ./functions; mount -t tmpfs stays-1 stays; pause; umount stays; pause'
    unshare -m --propagation private sh -ec '. ./functions; pause; umount leaves; pause'
    unshare -m --propagation unchanged sh -ec '
        . ./functions; mount -t tmpfs reaches-1 twin/sub; pause'
    mount -t tmpfs given-1 pool/given; pause; umount pool/given; pause
    mount --rbind tree copy; pause
    mount --make-rslave copy; pause
    mount -o remount,bind,ro options; pause
    mount -o remount,ro options; pause
    ! mount -t tmpfs nowhere-1 nowhere
    unshare -m --propagation unchanged $PYTHON prepare_root.py $PAUSE
    """,
    backends=(*EXACT, SYSCALLS, NONE),
)

CONTAINER = Scenario(
    before="mkdir c; receiver slave slave",
    recorded="""
    unshare -m --propagation shared sh -ec '. ./functions; "$CONTAINER" /srv/c >&2; pause'
    """,
    needs=("runc", "busybox"),
)

CONCURRENCY = Scenario(
    before="""
    mkdir shared; mount -t tmpfs shared-1 shared
    receiver slave slave; receiver peer unchanged
    """,
    recorded="$PYTHON threads.py shared 3 20",
    backends=(*EXACT, SYSCALLS),
)

REMOVED = Scenario(
    before="""
    mkdir removed dies leaves lazy busy master follower
    echo 'mount -t tmpfs removed-1 removed; touch "$0.ready"; read _ <end' >inside.sh
    unshare -m --propagation private sh inside.sh &
    until [ -e inside.sh.ready ]; do sleep 0.01; done
    mount -t tmpfs lazy-1 lazy; mkdir lazy/below; mount -t tmpfs lazy-2 lazy/below
    mount -t tmpfs busy-1 busy
    echo 'cd busy; touch "../$0.ready"; read _ <../end' >holder.sh
    sh holder.sh &
    until [ -e holder.sh.ready ]; do sleep 0.01; done
    mount -t tmpfs master-1 master; mount --bind master follower; mount --make-slave follower
    receiver slave slave
    """,
    recorded="""
    rmdir removed; pause
    unshare -m --propagation private sh -ec '. ./functions; mount -t tmpfs dies-1 dies; pause'
    unshare -m --propagation private sh -ec '
        . ./functions; mount -t tmpfs leaves-1 leaves; pause
        exec unshare -m --propagation private true'
    umount master; pause
    umount -l lazy; pause
    ! umount busy; pause
    """,
    backends=(*EXACT, SYSCALLS, NONE),
)

AMBIGUOUS = Scenario(
    before="mkdir shared; mount -t tmpfs shared-1 shared; receiver peer unchanged",
    recorded="$PYTHON births.py shared 5",
)

# By each call that there is; and a mount that covers what is unmounted elsewhere.
CALLS = Scenario(
    before="""
    mkdir shared own
    mount -t tmpfs shared-1 shared; mkdir shared/made shared/copied shared/moved shared/top
    mount -t tmpfs --make-private own-1 own; mkdir own/a own/b
    receiver slave slave
    """,
    recorded="""
    $PYTHON kinds.py
    nsenter -m -t $(cat slave.sh.pid) mount -t tmpfs cover-1 /srv/shared/made
    umount shared/made
    """,
)

STARTING = Scenario(
    before="""
    mkdir shared; mount -t tmpfs shared-1 shared
    receiver slave slave
    $PYTHON loop.py shared &
    until [ -e goes-on ]; do sleep 0.01; done
    """,
    recorded="sleep 0.3; touch stop; until [ -e stopped ]; do sleep 0.01; done",
    backends=(*EXACT, SYSCALLS),
)

SCENARIOS = {
    "founding": FOUNDING,
    "container": CONTAINER,
    "concurrency": CONCURRENCY,
    "removed": REMOVED,
    "ambiguous": AMBIGUOUS,
    "calls": CALLS,
    "starting": STARTING,
}
