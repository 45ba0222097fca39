# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What holds of the core whatever it gets.

MNTTRACE_EXAMPLES says how many times as many examples are tried as usual.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mnttrace.capture.join.events import AnyEvent, RoundBegan, RoundEnded
from mnttrace.capture.join.selection import Filter
from mnttrace.capture.join.setting import Setting
from mnttrace.recording import rows as kinds
from tests.replay.build import M, entry, listed, table
from tests.replay.generated import EVENTS, SETTING, WANTED
from tests.replay.logs import NAMES, Log, Rows, load
from tests.replay.mutated import MISTAKES, mutate

TIMES = int(os.environ.get("MNTTRACE_EXAMPLES", "1"))
SECONDS = 20  # that the core may take for what one example gives it

KINDS: dict[str, Any] = {
    "operations": kinds.OperationRow,
    "effects": kinds.EffectRow,
    "processes": kinds.ProcessRow,
    "snapshots": kinds.SnapshotRow,
    "mounts": kinds.MountRow,
    "namespaces": kinds.NamespaceRow,
    "users": kinds.UserRow,
    "losses": kinds.LossRow,
}


def examples(number: int) -> settings:
    """The same ones each time, unless there are to be more than usual."""
    return settings(
        max_examples=number * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )


def fewer(name: str, number: int) -> int:
    """That many examples, fewer of a log that takes long."""
    return max(2, number * 500 // max(500, len(load(name).bodies)))


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the core goes on for more than {SECONDS} s")

    old = signal.signal(signal.SIGALRM, stop)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


def check(rows: Rows) -> None:
    """Each row has the columns of its table, with values of their types."""
    for name, row in rows:
        assert msgspec.convert(row, KINDS[name]) == row, name


def rows_of(log: Log, events: Iterable[AnyEvent]) -> Rows:
    signal.alarm(SECONDS)
    rows = log.rows(events)
    signal.alarm(0)
    return rows


def world() -> list[AnyEvent]:
    """Two namespaces with mounts of the ids and dentries that are generated."""
    root, other = M(1, ns=1, group=1), M(4, ns=2, master=1)
    above = M(2, root, "/a", ns=1, group=2)
    mounts = [root, above, M(3, above, "/a/b", ns=1)], [other, M(5, other, "/a", ns=2, group=2)]
    dentries = {"/": 1, "/a": 2, "/b": 3}
    lists = [
        [entry(mount, root=1, mountpoint=dentries[mount.place]) for mount in namespace]
        for namespace in mounts
    ]
    return [
        RoundBegan(1, "start"),
        *(table(*namespace, reason="start") for namespace in mounts),
        *(listed(*entries, ns=ns) for ns, entries in enumerate(lists, 1)),
        RoundEnded(2, "start", [1, 2]),
    ]


# ---- no input makes it raise


@examples(400)
@given(SETTING, WANTED, st.sampled_from([0, 3, 99, 99]), EVENTS)
def test_no_events_make_the_core_raise(
    setting: Setting, wanted: Filter, start: int, events: list[AnyEvent]
) -> None:
    check(rows_of(Log(setting, wanted, []), [*world()[:start], *events]))


@pytest.mark.parametrize("name", NAMES)
@examples(8)
@given(MISTAKES)
def test_no_mistake_in_a_raw_log_makes_the_core_raise(name: str, numbers: list[int]) -> None:
    log = load(name)
    changed = log._replace(bodies=mutate(log.bodies, numbers))
    check(rows_of(changed, changed.events()))
