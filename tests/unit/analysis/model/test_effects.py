# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Whatever operations there are: effects tell all, refusals change nothing, indexes agree."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mnttrace.analysis.model import propagation
from mnttrace.analysis.model.mounts import Effect, Refused, is_mounted
from mnttrace.analysis.model.tables import Tables
from tests.unit.analysis.model.worlds import check_indexes, text, world

PATHS = st.sampled_from(["/", "/a", "/b", "/a/a", "/a/b", "/b/a", "/b/b", "/a/a/a"])
NAMES = st.sampled_from(["host", "n1", "n2"])
KINDS = [
    "mount",
    "bind",
    "rbind",
    "move",
    "beneath",
    "umount",
    "lazy",
    "shared",
    "slave",
    "unbindable",
    "remove",
    "copy",
]
OPERATIONS = st.tuples(st.sampled_from(KINDS), NAMES, PATHS, PATHS)


def apply(tables: Tables, operation: tuple[str, str, str, str]) -> list[Effect]:
    kind, ns, first, second = operation
    if kind == "copy":
        other = next((name for name in ("n1", "n2") if name not in tables.roots), None)
        if other is None:
            return propagation.end_namespace(tables, ns)
        return propagation.copy_namespace(tables, ns, other, owner=other if "a" in first else None)
    spots = tables.resolve(ns, first), tables.resolve(ns, second)
    match kind:
        case "mount":
            return propagation.mount(tables, spots[0], f"9:{len(tables.mounts)}")
        case "bind" | "rbind":
            return propagation.bind(tables, *spots, recursive=kind == "rbind")
        case "move" | "beneath":
            return propagation.move(tables, *spots, beneath=kind == "beneath")
        case "umount" | "lazy":
            return propagation.umount(tables, spots[0], lazy=kind == "lazy")
        case "remove":
            return propagation.remove(tables, tables.resolve(ns, first, follow=False))
        case _:
            return propagation.change(tables, spots[0], kind, recursive="b" in second)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.lists(OPERATIONS, max_size=25))
def test_effects_are_all_that_happened(operations: list[tuple[str, str, str, str]]) -> None:
    tables = world("host / 8:1/ shared:1\nhost /a 8:2/\nhost /b 8:3/ shared:3")
    for operation in operations:
        if operation[1] not in tables.roots or len(tables.mounts) > 200:
            continue
        before = {mount.id: mount for mount in tables.mounts.values() if is_mounted(mount)}
        everything, shown = dict(tables.mounts), text(tables)
        try:
            effects = apply(tables, operation)
        except Refused:
            assert (tables.mounts, text(tables)) == (everything, shown)
            check_indexes(tables)
            continue
        for effect in effects:
            assert (effect.before is None) == (effect.action in ("attach", "detach"))
            assert effect.before == (before.get(effect.mount.id) if effect.before else None)
            if effect.action == "detach":
                assert before.pop(effect.mount.id) == effect.mount
            else:
                assert (effect.action == "attach") == (effect.mount.id not in before)
                before[effect.mount.id] = effect.mount
        assert {id: mount._replace(locked=False) for id, mount in before.items()} == {
            mount.id: mount._replace(locked=False) for mount in tables.mounts.values()
        }
        check_indexes(tables)
