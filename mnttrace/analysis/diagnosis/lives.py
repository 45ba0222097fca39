# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""When mounts came and went, and by which effects, for any number of mounts at once.

Every answer about how a mount came somewhere is looked up here, for one mount as for a million.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from mnttrace.analysis.run import Run
from mnttrace.analysis.settings import are_shared

NONE = -1  # no effect is known
_ARRIVED = ["peer", "slave", "namespace-copy"]


class Lives:
    """The effects on mounts, as positions in `run.effects`; mounts are unique ids.

    Arrays that are asked with and that are returned have one number a mount; NONE is for what is
    not known, in both.

    Args:
        run: the whole recording.
    """

    def __init__(self, run: Run) -> None:
        self._effects = run.effects

    def numbers(self, column: str, at: np.ndarray) -> np.ndarray:
        """A column of integers at some effects; NONE where it is null."""
        values = self._effects[column].array.take(at, allow_fill=True)
        found: np.ndarray = values.to_numpy("int64", na_value=NONE)
        return found

    def is_via(self, at: np.ndarray, *ways: str) -> np.ndarray:
        """Whether some effects came to be in one of these ways."""
        is_it = np.array([name in ways for name in self._ways], bool)
        found: np.ndarray = (at != NONE) & is_it[self._via[at]]
        return found

    def of(self, mount: int) -> np.ndarray:
        """All effects on a mount, in order."""
        return self._all.of(mount)

    def all_of(self, mounts: np.ndarray) -> np.ndarray:
        """All effects on some mounts, one mount after the other."""
        return self._all.of_all(mounts)

    def attached(self, mounts: np.ndarray) -> np.ndarray:
        """The effects that attached mounts; of those that were there before there is none."""
        return self._attached.first(mounts)

    def detached(self, mounts: np.ndarray) -> np.ndarray:
        """The effects that detached them."""
        return self._detached.last(mounts)

    def arrivals(self, attached: np.ndarray) -> np.ndarray:
        """How mounts came to their namespaces: the effects by which they, or the mounts that they
        were bound from, were propagated, or inherited when the namespace was made.

        Args:
            attached: the effects that attached them.
        """
        found = attached.copy()
        left = np.flatnonzero(self._are_bound(found))
        while len(left):
            before = self.attached(self.numbers("copy_of_unique", found[left]))
            # What is bound was there: a damaged recording can say otherwise, in circles.
            found[left] = np.where(before < found[left], before, NONE)
            left = left[self._are_bound(found[left])]
        return np.where(self.is_via(found, *_ARRIVED), found, NONE)

    def _are_bound(self, at: np.ndarray) -> np.ndarray:
        found: np.ndarray = (at != NONE) & ~self.is_via(at, *_ARRIVED)
        found[found] = self.numbers("copy_of_unique", at[found]) != NONE
        return found

    def carriers(self, arrived: np.ndarray) -> np.ndarray:
        """The effects on the tops of the trees that came with mounts: `via_group`, `via_unique` and
        `via_path` of these tell what carried them.

        Args:
            arrived: the effects by which they came.
        """
        found = arrived.copy()
        left = np.flatnonzero(self.is_via(found, "peer", "slave"))
        while len(left):
            here = found[left]
            above = self.attached(self.numbers("parent_unique", here))
            same = (above != NONE) & (self.numbers("seq", above) == self.numbers("seq", here))
            same &= (self.numbers("via_unique", above) > 0) & (above != here)
            left = left[same]
            found[left] = above[same]
        return found

    def together(self, attached: np.ndarray) -> np.ndarray:
        """The effects by which mounts came to the same namespaces together with some, propagated
        by the same operations.

        Args:
            attached: the effects that attached some mounts.
        """
        at = attached[self.is_via(attached, "peer", "slave")]
        seqs, spaces = self.numbers("seq", at), self.numbers("ns_id", at)
        pairs = {(seq, ns) for seq, ns in zip(seqs, spaces, strict=True) if seq != NONE}
        if not pairs:
            return np.zeros(0, int)
        found = np.sort(self._attached_by.of_all(np.unique([seq for seq, _ in pairs])))
        of = zip(self.numbers("seq", found), self.numbers("ns_id", found), strict=True)
        those: np.ndarray = found[[pair in pairs for pair in of]]
        return those

    def shared_since(self, carriers: np.ndarray) -> np.ndarray:
        """The effects that made shared the mounts through whose peer groups mounts came.

        Args:
            carriers: as of :meth:`carriers`.

        Returns:
            NONE for what was shared before the recording began.
        """
        ways = self.numbers("via_unique", carriers)
        known, which = np.unique(ways, return_inverse=True)
        made = self._made_shared(known[known != NONE])
        # Of the effects on each mount, the last one before the copy.
        keys = np.searchsorted(known, self.numbers("mnt_id_unique", made)) * len(self._effects)
        last = np.searchsorted(keys + made, which * len(self._effects) + carriers, "right") - 1
        found = np.where(last >= 0, made[last] if len(made) else NONE, NONE)
        same = self.numbers("mnt_id_unique", found) == ways
        return np.where(same & (ways != NONE), found, NONE)

    def _made_shared(self, mounts: np.ndarray) -> np.ndarray:
        """The effects after which mounts were shared, and before which they were not; sorted by
        mount, then in order."""
        parts = [self._attached.of_all(mounts), self._changed.of_all(mounts)]
        at = np.concatenate(parts)
        some = self._effects[["shared", "before"]].iloc[at]
        is_made = some["shared"].notna() & ~are_shared(some["before"])
        is_made |= some["shared"].notna() & (np.arange(len(at)) < len(parts[0]))
        at = at[is_made.to_numpy(bool)]
        return at[np.lexsort((at, self._mounts[at]))]

    @cached_property
    def _via(self) -> np.ndarray:
        """Places in :attr:`_ways`; the last one is for NONE."""
        return np.append(self._effects["via"].cat.codes.to_numpy(), NONE)

    @cached_property
    def _ways(self) -> list[str]:
        return [*self._effects["via"].cat.categories, ""]  # the last one for null: -1

    @cached_property
    def _mounts(self) -> np.ndarray:
        mounts: np.ndarray = self._effects["mnt_id_unique"].to_numpy("int64", na_value=NONE)
        return mounts

    @cached_property
    def _all(self) -> _Index:
        return _Index(self._mounts, np.flatnonzero(self._mounts != NONE))

    @cached_property
    def _attached(self) -> _Index:
        return self._with_action("attach")

    @cached_property
    def _attached_by(self) -> _Index:
        """As :attr:`_attached`, by operation in place of the mount."""
        seqs = self._effects["seq"].to_numpy("int64", na_value=NONE)
        is_it = (self._effects["action"] == "attach").to_numpy(bool) & (seqs != NONE)
        return _Index(seqs, np.flatnonzero(is_it))

    @cached_property
    def _detached(self) -> _Index:
        return self._with_action("detach")

    @cached_property
    def _changed(self) -> _Index:
        return self._with_action("change")

    def _with_action(self, action: str) -> _Index:
        is_it = (self._effects["action"] == action).to_numpy(bool) & (self._mounts != NONE)
        return _Index(self._mounts, np.flatnonzero(is_it))


class _Index:
    """Some effects, sorted by mount, or another number of each, then in order."""

    def __init__(self, numbers: np.ndarray, positions: np.ndarray) -> None:
        keys = numbers[positions]
        order = np.argsort(keys, kind="stable")
        self._keys, self._positions = keys[order], positions[order]

    def first(self, mounts: np.ndarray) -> np.ndarray:
        """The first effect on each mount."""
        return self._at(np.searchsorted(self._keys, mounts), mounts)

    def last(self, mounts: np.ndarray) -> np.ndarray:
        """The last effect on each mount."""
        return self._at(np.searchsorted(self._keys, mounts, "right") - 1, mounts)

    def of(self, mount: int) -> np.ndarray:
        """All effects on a mount."""
        return self.of_all(np.array([mount]))

    def of_all(self, mounts: np.ndarray) -> np.ndarray:
        """All effects on some mounts, one after the other."""
        begin = np.searchsorted(self._keys, mounts)
        counts = np.searchsorted(self._keys, mounts, "right") - begin
        # 0, 1, 2 … for each, added to where it begins.
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        found: np.ndarray = self._positions[np.repeat(begin, counts) + steps]
        return found

    def _at(self, places: np.ndarray, mounts: np.ndarray) -> np.ndarray:
        found = np.full(len(mounts), NONE)
        inside = np.flatnonzero((places >= 0) & (places < len(self._keys)))
        inside = inside[self._keys[places[inside]] == mounts[inside]]
        found[inside] = self._positions[places[inside]]
        return found
