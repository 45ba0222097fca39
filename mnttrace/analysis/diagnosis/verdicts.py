# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What is wrong with mounts that came from elsewhere: one verdict, for all answers.

`leaks` asks for a million mounts at once, `why` for those that it explains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnttrace.analysis.diagnosis.lives import NONE, Lives
from mnttrace.analysis.names import kinds
from mnttrace.analysis.run import Run

# By harm: what keeps a file system, its device or mount point busy; what was taken; what came to
# the host; what grows; what is only there; what somebody wants; what is over.
HARM = {
    "held": 0,
    "residue": 0,
    "lost": 1,
    "escape": 2,
    "doubling": 3,
    "refused": 4,
    "container-to-container": 5,
    "other": 6,
    "host-to-container": 7,
    "race": 8,
}
OVER = HARM["race"]
WANTED = HARM["host-to-container"]
LEFT = ("held", "residue")  # the original is gone, and the copy keeps the file system busy
# Why a umount that is refused is a matter of a busy file system, see `obstacles/`.
BUSY = ("in-use", "copy-in-use", "mounts-on-it")
_ENDS = ("host", "container", "other")  # kinds of namespaces
_DIRECTIONS = np.array([f"{source}→{to}" for source in _ENDS for to in _ENDS], object)
_BY_DIRECTION = {
    "container→host": "escape",
    "container→container": "container-to-container",
    "host→container": "host-to-container",
}
_SENT = np.array([_BY_DIRECTION.get(one, "other") for one in _DIRECTIONS], object)
_SEEN_LATE = pd.Timedelta(milliseconds=100).value  # the recorder polls for the ends of namespaces


@dataclass(frozen=True)
class Verdicts:
    """Verdicts on some mounts; each attribute has one value a mount.

    Attributes:
        attached: the effect that attached it, as a position in `effects`; NONE for none.
        arrived: that by which it came to its namespace, or what it was bound from.
        orphaned: that which detached its original: what it is a copy of, or if that is there, or
            ended with its namespace, what that was a copy of, and so on.
        freed: that which detached it.
        kind: "held" if it was inherited, and stayed when the original was unmounted; "race" if so
            for a while; "residue" if it was propagated, and the original is gone; if it was
            propagated from another namespace, by the direction "escape", "container-to-container",
            "host-to-container" or "other"; else "".
        direction: from which kind of namespace it came to which, as "container→host".
        source: the unique id of the namespace that it came from: that of the original, if that is
            gone.
        wanted: whether somebody evidently wants it: slaves want what they receive, and containers
            what the host shares with them.
    """

    attached: np.ndarray
    arrived: np.ndarray
    orphaned: np.ndarray
    freed: np.ndarray
    kind: np.ndarray
    direction: np.ndarray
    source: np.ndarray
    wanted: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """Whether it is there, is none's own, and nobody evidently wants it."""
        found: np.ndarray = (self.kind != "") & (self.freed == NONE) & ~self.wanted
        return found

    def of(self, which: np.ndarray) -> Verdicts:
        """Those on some of the mounts."""
        return Verdicts(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


class Judge:
    """Gives verdicts.

    Args:
        run: the whole recording.
        lives: of that.
    """

    def __init__(self, run: Run, lives: Lives) -> None:
        self._lives = lives
        self._times = run.effects["ts"]
        kind = kinds(run)
        self._spaces = kind.index
        # Of one that is not known, which -1 stands for, the last one.
        self._ends = np.array([*map(_ENDS.index, kind), _ENDS.index("other")])

    def mounts(self, mounts: np.ndarray) -> Verdicts:
        """On some mounts, by their unique ids; NONE for one without."""
        return self.attached(self._lives.attached(mounts))

    def attached(self, attached: np.ndarray) -> Verdicts:
        """On the mounts that some effects attached."""
        lives = self._lives
        arrived = lives.arrivals(attached)
        orphaned = self._orphaned(arrived)
        freed = lives.detached(lives.numbers("mnt_id_unique", attached))
        source = np.where(
            orphaned == NONE,
            lives.numbers("copy_of_ns_id", arrived),
            lives.numbers("ns_id", orphaned),
        )
        reached = lives.numbers("ns_id", attached)
        direction = self._end(source) * len(_ENDS) + self._end(reached)
        inherited = lives.is_via(arrived, "namespace-copy")
        propagated = (arrived != NONE) & ~inherited
        gone, there = orphaned != NONE, freed == NONE
        # What ends with its namespace was not unmounted: nobody waits for it.
        kept = inherited & self._are_umounts(orphaned)
        sent = propagated & (arrived == attached) & (source != reached)
        brief = kept & ~there
        brief[brief] = self._are_longer(orphaned[brief], freed[brief])
        kind = np.full(len(attached), "", object)
        kind[sent] = _SENT[direction[sent]]
        kind[propagated & gone & there] = "residue"
        kind[kept & there] = "held"
        kind[brief] = "race"
        is_asked_for = lives.is_via(arrived, "slave") | (kind == "host-to-container")
        wanted = is_asked_for & sent & ~(gone & there)
        named = _DIRECTIONS[direction]
        return Verdicts(attached, arrived, orphaned, freed, kind, named, source, wanted)

    def _orphaned(self, arrived: np.ndarray) -> np.ndarray:
        """The effects that detached the originals of mounts, by how these arrived."""
        lives = self._lives
        origin = lives.numbers("copy_of_unique", arrived)
        found = lives.detached(origin)
        left = np.flatnonzero((arrived != NONE) & ~self._are_umounts(found))
        before = arrived[left]
        while len(left):
            came = lives.arrivals(lives.attached(origin[left]))
            origin[left] = lives.numbers("copy_of_unique", came)
            gone = lives.detached(origin[left])
            is_known = self._are_umounts(gone)
            found[left[is_known]] = gone[is_known]
            # A damaged recording can go in circles.
            goes_on = (came != NONE) & (came < before) & ~is_known
            left, before = left[goes_on], came[goes_on]
        return found

    def _are_umounts(self, gone: np.ndarray) -> np.ndarray:
        """Whether effects detached something while its namespace went on."""
        found: np.ndarray = (gone != NONE) & ~self._lives.is_via(gone, "namespace-death")
        return found

    def lost(self, mounts: np.ndarray) -> np.ndarray:
        """The effects that took mounts from namespaces that did not ask for it.

        A umount elsewhere of a later mount, such as a bind, takes its older peers along; the
        removal of a mount point takes what other namespaces have there. What goes with the mount
        that it is a copy of is not lost; and what had outlived its original was only left over.

        Args:
            mounts: unique ids; of mounts that are older than the recording they tell which is the
                later one.

        Returns:
            Positions in `effects`; NONE for those that are there, or went otherwise.
        """
        lives = self._lives
        came, gone = lives.attached(mounts), lives.detached(mounts)
        taken = lives.numbers("copy_of_unique", gone)
        its = lives.attached(taken)
        is_older = np.where(came == its, mounts < taken, came < its)
        found = lives.is_via(gone, "peer", "slave") & is_older
        found |= lives.is_via(gone, "mountpoint-removed")
        orphaned = self._orphaned(came)
        apart = lives.numbers("seq", orphaned) != lives.numbers("seq", gone)
        # The end of a namespace is seen late.
        before = (orphaned < gone) | lives.is_via(orphaned, "namespace-death")
        found &= ~((orphaned != NONE) & before & apart)
        return np.where(found, gone, NONE)

    def _end(self, namespaces: np.ndarray) -> np.ndarray:
        """The kinds of some namespaces, as places in _ENDS."""
        found: np.ndarray = self._ends[self._spaces.get_indexer(pd.Index(namespaces))]
        return found

    def _are_longer(self, orphaned: np.ndarray, freed: np.ndarray) -> np.ndarray:
        """Whether copies stayed longer than the originals, that it could be seen.

        The time of an operation is exact; the end of a namespace is seen a little late, so the
        order is not certain then.
        """
        times = [self._times.iloc[at].to_numpy("datetime64[ns]") for at in (orphaned, freed)]
        longer = (times[1] - times[0]).astype("int64")
        by = [self._lives.numbers("seq", at) for at in (orphaned, freed)]
        least = np.where(by[1] == NONE, longer - _SEEN_LATE, longer)
        found: np.ndarray = (least > 0) & ((by[0] != by[1]) | (by[1] == NONE))
        return found
