"""Which operations and effects are written, where not all are wanted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mnttrace.capture.join.events import CallEnded
from mnttrace.recording.rows import EffectRow


@dataclass(frozen=True, slots=True)
class Filter:
    """What is wanted: of each kind that is given one has to fit; with none, all is wanted.

    Attributes:
        pids: operations of these processes and of all that descend from them.
        namespaces: what is done or happens in these mount namespaces, inode numbers.
        containers: the same, by the container's name or the beginning of its id.
        cgroups: operations of processes in these cgroups or below, such as "/system.slice".
        paths: what is mounted, or done, at these absolute paths or below, in any namespace.
    """

    pids: frozenset[int] = frozenset()
    namespaces: frozenset[int] = frozenset()
    containers: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    _containers_seen: dict[int, bool] = field(default_factory=dict, compare=False)

    @property
    def wants_all(self) -> bool:
        """Whether nothing is filtered."""
        return not self.as_dict()

    def as_dict(self) -> dict[str, list[int] | list[str]]:
        """What is wanted, by kind, without the kinds that are not filtered."""
        kinds = ("pids", "namespaces", "containers", "cgroups", "paths")
        return {kind: sorted(getattr(self, kind)) for kind in kinds if getattr(self, kind)}

    def learn(self, namespace: int, name: str, identity: str) -> None:
        """Take the name and the id of a namespace's container, "" and "" for none."""
        self._containers_seen[namespace] = any(
            wanted == name or (len(wanted) >= 4 and identity.startswith(wanted))
            for wanted in self.containers
        )

    def wants_call(self, call: CallEnded, effects: Iterable[EffectRow], cgroup: str) -> bool:
        """Whether an operation is wanted, and its effects with it.

        Args:
            call: the operation.
            effects: of it.
            cgroup: path of its process's cgroup.
        """
        row, effects = call.row, list(effects)
        places = [row["path"], row["source_path"], *(effect["mountpoint"] for effect in effects)]
        touched = {row["ns"], row["ns_target"], *(effect["ns"] for effect in effects)}
        keys = [row["ns_id"], row["ns_target_id"], *(effect["ns_id"] for effect in effects)]
        return (
            (not self.pids or call.descends)
            and (not self.namespaces or bool(touched & self.namespaces))
            and (not self.containers or any(self._is_wanted_container(key) for key in keys))
            and (not self.cgroups or _is_below(cgroup, self.cgroups))
            and (not self.paths or any(_is_below(place, self.paths) for place in places))
        )

    def wants_effect(self, effect: EffectRow) -> bool:
        """Whether an effect is wanted that no operation caused."""
        return (
            not self.pids
            and not self.cgroups
            and (not self.namespaces or effect["ns"] in self.namespaces)
            and (not self.containers or self._is_wanted_container(effect["ns_id"]))
            and (not self.paths or _is_below(effect["mountpoint"], self.paths))
        )

    def _is_wanted_container(self, key: int | None) -> bool:
        return key is not None and self._containers_seen.get(key, False)


def _is_below(path: str, tops: Iterable[str]) -> bool:
    return any(path == top or path.startswith(top.rstrip("/") + "/") for top in tops)
