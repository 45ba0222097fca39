# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the core asks for. Whoever runs it carries requests out, and gives the answers as events.

Answered says that all were carried out. An answer that has not come by then, or before the next
event that is no answer, is done without.
"""

from __future__ import annotations

from typing import NamedTuple

from mnttrace.capture.join.events import Reason
from mnttrace.capture.join.identity import ProcessHints


class SurveyBirth(NamedTuple):
    """Survey a namespace that a call just made; answered by TableRead.

    Attributes:
        ns, ns_id: inode number and unique id of the namespace.
        tid: a thread that is in it, or has the descriptor.
        descriptor: of the namespace in the thread's process, None if the thread is in it.
    """

    ns: int
    ns_id: int
    tid: int
    descriptor: int | None


class SurveySome(NamedTuple):
    """Survey some namespaces, by their keys; answered by a TableRead for each that is there."""

    keys: frozenset[int]


class SurveyAll(NamedTuple):
    """Survey all namespaces: RoundBegan, a TableRead for each, RoundEnded."""

    reason: Reason


class CheckNamespaces(NamedTuple):
    """Which of these namespaces, by their keys, are no more? Answered by NamespacesGone."""

    keys: frozenset[int]


class ForgetNamespace(NamedTuple):
    """A namespace is no more: keep nothing of it. Needs no answer."""

    key: int


class NameMount(NamedTuple):
    """Where is a mount, and what is its root? Answered by MountNamed."""

    unique: int
    ns_id: int


class FindMounts(NamedTuple):
    """In which of these namespaces, by their keys, are these mounts? Answered by MountsFound."""

    uniques: frozenset[int]
    keys: frozenset[int]


class IdentifyNamespace(NamedTuple):
    """Whose namespace is it that a process is in? Answered by NamespaceIdentified."""

    key: int
    pid: int
    hints: ProcessHints


class IdentifyThread(NamedTuple):
    """Which process is a thread of? Answered by ThreadIdentified."""

    tid: int


class CheckThread(NamedTuple):
    """Is a thread in one of the traced calls? Answered by ThreadChecked."""

    tid: int


class FindUsers(NamedTuple):
    """Which processes use these mounts? Answered by UsersFound.

    Attributes:
        seq: the operation that was refused, as a mount is busy.
        device: of their file system, as "8:1".
        mounts: their ids: unique ones where the kernel has such.
    """

    seq: int
    device: str
    mounts: frozenset[int]


Request = (
    SurveyBirth
    | SurveySome
    | SurveyAll
    | CheckNamespaces
    | ForgetNamespace
    | NameMount
    | FindMounts
    | IdentifyNamespace
    | IdentifyThread
    | CheckThread
    | FindUsers
)
