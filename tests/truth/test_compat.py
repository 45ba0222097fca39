# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`--compat`: calls of 32-bit programs are told as those of 64-bit ones."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from mnttrace.analysis.recording import Recording
from mnttrace.linux.syscalls import SYSCALLS
from mnttrace.probes import call_functions, facts
from tests.truth.busy import LOOPS, saturated

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="32-bit calls are traced on x86-64"
)
LOAD = Path(__file__).with_name("compat_calls.py")
# Not every kernel has open_tree_attr.
MADE = {call.name for call in SYSCALLS} - {"open_tree_attr"}

SCRIPT = f"""
mkdir shared; mount -t tmpfs --make-shared folder shared
mkdir shared/a shared/b shared/c shared/d
mkfifo go; exec 3<>go
unshare -m --propagation unchanged sh -c 'touch ready-peer; read -r end <go' &
unshare -m --propagation slave sh -c 'touch ready-slave; read -r end <go' &
until [ -e ready-peer ] && [ -e ready-slave ]; do sleep 0.02; done
$MNTTRACE record --compat --keep-raw -o run.mnttrace -- sh -ec '
    python3 {LOAD} 64 "$PWD/shared" {{removals}}
    python3 {LOAD} 32 "$PWD/shared" {{removals}}'
"""
OF_CALL = ["syscall", "error", "path", "source_path", "source", "target", "fstype"]
OF_CALL += ["flags", "flags_value", "propagation", "attributes", "data", "root_path"]
OF_EFFECT = ["action", "via", "evidence", "mountpoint", "source", "propagation"]


@pytest.mark.parametrize("loops", LOOPS)
def test_each_call_of_32_bits_is_told_as_that_of_64(
    in_namespace, tmp_path: Path, loops: int
) -> None:
    # By programs on all calls removals are not traced, only what goes with them.
    removals = ["rmdir"] if call_functions.can_be_used(facts.read()) else []
    with saturated(loops):
        in_namespace(SCRIPT.format(removals=" ".join(removals)), timeout=240)
    run = Recording(tmp_path / "run.mnttrace")
    assert (run.meta["calls_by"] == "functions") == bool(removals)
    losses = {kind: n for kind, n in run.meta["losses"].items() if not kind.startswith("sent")}
    assert not any(losses.values()), losses

    calls = run.operations[run.operations["comm"].str.startswith("python3")]
    firsts = calls.index[calls["source"] == "first"]
    assert len(firsts) == 2
    of_64 = calls[(calls.index >= firsts[0]) & (calls.index < firsts[1])]
    of_32 = calls[calls.index >= firsts[1]]
    assert set(of_32["syscall"]) == set(of_64["syscall"]) == MADE | set(removals)
    assert _told(of_32, OF_CALL) == _told(of_64, OF_CALL)

    # How long a namespace is kept after its last process by those that look at it is not the same.
    effects = run.effects
    there = set(effects[effects["source"] == "first"]["ns_id"])
    assert len(there) == 3
    effects = effects[
        effects["ns_id"].isin(there) | effects["via"].isin(["direct", "namespace-copy"])
    ]
    by_64, by_32 = (effects[effects["seq"].isin(some["seq"])] for some in (of_64, of_32))
    assert len(by_64) > 20
    assert _sorted(by_32) == _sorted(by_64)
    if removals:
        removed = run.effects[run.effects["via"] == "mountpoint-removed"]
        assert list(removed["source"]) == ["elsewhere", "elsewhere"]
        assert removed["seq"].nunique() == 2
    left = effects[effects["seq"].isna() & effects["source"].isin(["first", "second", "third"])]
    assert set(left["via"]) <= {"namespace-death"}


def _told(rows: pd.DataFrame, columns: list[str]) -> list[tuple[object, ...]]:
    texts = rows[columns].astype("string").fillna("")
    return list(texts.itertuples(index=False, name=None))


def _sorted(rows: pd.DataFrame) -> list[tuple[object, ...]]:
    return sorted(_told(rows, OF_EFFECT), key=str)
