# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The answer to `why`, and its parts."""

from __future__ import annotations

from dataclasses import dataclass, field

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis.diagnosis import Diagnosis, Stopped
from mnttrace.analysis.diagnosis.origins import Step
from mnttrace.analysis.diagnosis.preventions import Prevention
from mnttrace.analysis.diagnosis.reach import Missing, Unexplained
from mnttrace.analysis.diagnosis.remedies import Remedy


@dataclass(frozen=True)
class Holder:
    """One of the mounts that were asked for, with its namespace.

    Attributes:
        mount: a row of :func:`mnttrace.analysis.query.targets.known_mounts`.
        namespace: its row of `namespaces`; of kind "host" for that of the recorder.
        steps: how it came there, the last step first.
        kind: what is wrong with it, see :class:`mnttrace.analysis.diagnosis.verdicts.Verdicts`.
        wanted: whether somebody evidently wants it there.
        follows: whether a umount of the host's mount propagates to this one, by the peer groups of
            their parents; None if the host has no such mount, or if tables do not tell.
        stopped: for "held" and "residue", why the umount of its original did not take it, where
            that is known.
        changes: each change of its options or propagation since it was attached, or while it was
            recorded: the effect, and the operation, where that is known.
        gone: the effect that detached it, and the operation, where they are known.
        users: processes that use it, rows of `users`, from when a umount was refused, or of now.
        covered_by: the mount that hides it from paths, of the tables at the end.
        lost: the effect that took it, if its namespace did not ask for that, see
            :meth:`mnttrace.analysis.diagnosis.verdicts.Judge.lost`.
        is_named: whether the target itself names it; others have the same part of its file system.
    """

    mount: Row
    namespace: Row
    steps: list[Step]
    kind: str
    wanted: bool = False
    follows: bool | None = None
    stopped: Stopped | None = None
    changes: tuple[tuple[Row, Row | None], ...] = ()
    gone: tuple[Row, Row | None] | None = None
    users: tuple[Row, ...] = ()
    covered_by: Row | None = None
    lost: Row | None = None
    is_named: bool = True

    @property
    def is_wrong(self) -> bool:
        """Whether it is there, came from elsewhere or was left, and nobody evidently wants it."""
        return bool(self.kind) and bool(self.mount["present"]) and not self.wanted


@dataclass(frozen=True)
class Growth:
    """Binds that grow.

    Attributes:
        row: of `run.doublings`.
        prevention, not_tried: as for :class:`Why`.
    """

    row: Row
    prevention: Prevention | None
    not_tried: str = ""


@dataclass(frozen=True)
class Absence:
    """A namespace that the mounts did not come to.

    Attributes:
        missing: which, and why.
        prevention, not_tried: as for :class:`Why`: what would have brought them there.
    """

    missing: Missing
    prevention: Prevention | None
    not_tried: str = ""


@dataclass(frozen=True)
class Why:
    """The answer.

    Attributes:
        target_kind: what the target is, see :class:`mnttrace.analysis.query.targets.Target`.
        namespace: that of the first mount, or the one that is the target.
        holders: the mounts; those that are present first, the worst of them first.
        failed: operations at these mount points that failed, or in any namespace at the path that
            was asked for; rows of `operations`, with the columns of
            :func:`mnttrace.analysis.frames.refusals.reasons` where that has them, and `since`, the
            operation `since_seq`.
        traced: whether operations were recorded at all.
        imported: whether these are imported mount tables, so that there are no processes.
        diagnosis: what the answer stands on.
        missing: the first namespaces of interest that the mounts did not come to, and why.
        missing_more: how many more there are.
        growth: the binds that grow and are about these mounts.
        notes: how the target was understood, where that is not certain, as sentences.
        remedy: how to take away those that are held, left or propagated, by the model; None if
            there are none.
        prevention: how to keep them from coming, or from going if that is what is wrong; None if
            nothing is wrong, or nothing that was tried helps.
        not_tried: why no prevention was tried; "" if that was done, or nothing is wrong.
        unexplained: namespaces that were asked about, lack the mounts, and are not `missing`.
    """

    target_kind: str
    diagnosis: Diagnosis
    namespace: Row
    holders: list[Holder]
    failed: list[Row] = field(default_factory=list)
    traced: bool = True
    imported: bool = False
    remedy: Remedy | None = None
    missing: tuple[Absence, ...] = ()
    missing_more: int = 0
    growth: tuple[Growth, ...] = ()
    prevention: Prevention | None = None
    not_tried: str = ""
    notes: tuple[str, ...] = ()
    unexplained: tuple[Unexplained, ...] = ()
