# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Retry levels, for kernels that skip a program while the same one is preempted."""

from __future__ import annotations

from typing import Any

from mnttrace.capture.join.selection import Filter
from mnttrace.capture.session import Session
from mnttrace.probes import backends
from mnttrace.probes.kernel import KernelProbes

ALL = (0, 1, 2, 3)
SCRIPT = """
mount -t tmpfs base "$PWD"; cd "$PWD"; mount --make-private .
mkdir -p a b; mount -t tmpfs one a; mount --make-shared a; mkdir a/x
mount -t tmpfs two a/x; mount --rbind a b
unshare -m --propagation slave sh -c 'mount -t tmpfs three b/x; umount b/x'
umount -R b; mkdir c; mount --move a c; mount -o remount,ro c; umount -R c; ! umount c
"""


def recorded(script: str, run: Any) -> tuple[list[Any], list[Any], dict[str, int]]:
    """Operations in a folder and their effects, without what differs from run to run; losses."""
    rows: dict[str, list[dict[str, Any]]] = {}
    armed = KernelProbes()
    session = Session(armed, lambda table, row: rows.setdefault(table, []).append(row), 0, Filter())
    session.begin()
    run(f"mkdir -p folder; cd folder\n{script}")
    losses = session.end()
    session.close()
    armed.close()
    calls = {row["seq"]: row for row in rows["operations"] if row["comm"] in ("mount", "umount")}
    order = {seq: number for number, seq in enumerate(calls)}
    operations = [
        (
            *(row["syscall"], row["source"], row["flags"], row["error"], row["comm"]),
            row["path"].partition("/folder")[2],
        )
        for row in calls.values()
    ]
    effects = sorted(
        (
            order[row["seq"]],
            *(row["action"], row["via"], row["evidence"], row["propagation"], row["source"]),
            row["mountpoint"].partition("/folder")[2],
        )
        for row in rows["effects"]
        if row["seq"] in order and "/folder" in row["mountpoint"]
    )
    return operations, effects, losses


def test_what_some_levels_are_skipped_for_others_send_and_all_send_it_once(
    in_namespace, monkeypatch
) -> None:
    told = {}
    # As if this kernel were one of those: a function that any has.
    monkeypatch.setattr(backends, "PREEMPTIBLE_IF", "change_mnt_propagation")
    # The last level is always attached: it forgets what the ones before it have done.
    for levels in (ALL, ALL[:1], ALL[1:], ALL[3:]):
        monkeypatch.setattr(
            KernelProbes, "_retry_levels", property(lambda _, levels=levels: levels)
        )
        operations, effects, losses = recorded(SCRIPT, in_namespace)
        told[levels] = operations, effects
        assert not [kind for kind, n in losses.items() if n and not kind.startswith("sent")]
    whole = told[ALL]
    assert len(whole[0]) >= 11
    assert len(whole[1]) > 11
    for found in told.values():
        assert found == whole
