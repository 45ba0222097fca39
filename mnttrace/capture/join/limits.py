# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""All limits of the core: times in ns, and numbers of things that are remembered."""

from __future__ import annotations

from typing import Final

_MS: Final = 1_000_000

# A thread detached mounts, and no call has accounted for them. The kernel waits for RCU between
# that and the end of a umount, which takes some 10 ms, more where the machine is busy. After this
# time the programs are asked whether the thread is still in a call; while it is, they are asked
# again each time that this has passed.
ASK_ABOUT_THREAD: Final = 200 * _MS

# The same of mounts that a thread attached: what the kernel mounted by itself may go soon, and is
# to be listed before that.
ASK_ABOUT_ATTACHED: Final = 20 * _MS

# A thread is in no call. What it called before is in the ring buffer by now, and is taken from
# there at least every 10 ms, or whenever the recorder gets a processor.
CALL_TOLD_WITHIN: Final = 200 * _MS

# Mounts that no call attached are looked for at once. The thread that attaches them may have been
# preempted before they are where they can be found. So they are looked for again after this time,
# then after twice that, and so on; those that are not found so many times are gone, or in no
# namespace.
LOOK_AGAIN: Final = 200 * _MS
LOOKS_FOR_UNCALLED: Final = 4

# When a removal began is not known: it waits for RCU after it has detached mounts. One that takes
# longer is not found to have taken what went before its namespace was watched (UNWATCHED_FOR in
# bpf/unwatched.h).
REMOVAL_TAKES: Final = 1000 * _MS

# A survey can come between what a call did and that call's end. A difference that another survey
# finds this much later is no call's that is still to end.
CONFIRM_DIFFERENCE: Final = 500 * _MS

# A namespace that calls have changed is surveyed this long after the first of them. One in which
# something is expected is surveyed at once; while it does not answer, again after this time, then
# after twice that, and so on.
SURVEY_CHANGED: Final = 1000 * _MS

# Surveys of a namespace that wait for its list, while the recorder lags; older ones are taken to
# have lost theirs.
SURVEYS_KEPT: Final = 16

# Where mount tables are all there is they are read so often; less often if reading takes longer.
READ_TABLES: Final = 100 * _MS

# Whether namespaces that are not watched still exist is asked so often.
CHECK_NAMESPACES: Final = 1000 * _MS

# So often it is asked of those whose end is reported, since that can be lost; and, where all
# processes have to be looked at for that, of those that no survey finds any more.
CHECK_OTHERS: Final = 10_000 * _MS

# A search for those who use a mount looks at all processes: not more often than this.
SEARCH_USERS: Final = 1000 * _MS

# Mounts in what waits until the first lists of all namespaces are there. 1,000 namespaces of 200
# mounts have 200,000.
STARTING_KEPT: Final = 1 << 20

# Detached mounts that are remembered, for events that come late. A umount of a large tree detaches
# some 10,000 at a time.
DETACHED_KEPT: Final = 65536

# Processes whose name and cgroup are remembered; pid_max is 32,768 by default, 4,194,304 at most.
PROCESSES_KEPT: Final = 65536

# Operations that are remembered where not all are wanted, for effects of them that are found later.
OPERATIONS_KEPT: Final = 65536

# Names of devices, namespaces and file systems: the same come again and again.
TEXTS_KEPT: Final = 1 << 12

# Letters of a container's id that are enough to name it.
ID_LETTERS: Final = 4

# Calls whose list of mounts was cut, the last ones: a survey finds what else they made.
CUT_CALLS_KEPT: Final = 256

# Mounts of a thread that do not fit a umount and are passed over to find those that do: what an
# earlier call left, or what the tables do not have.
UNRELATED_PASSED: Final = 16
