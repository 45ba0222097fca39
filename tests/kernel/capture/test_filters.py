# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which operations are recorded, where not all are wanted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnttrace.analysis.recording import Recording

TWO = "mkdir -p a b; mount -t tmpfs one a & mount -t tmpfs two b & wait"


def mounted(recorded) -> set[str]:
    rows = recorded.rows("operations", syscall="mount", error="")
    return {os.path.basename(row["path"]) for row in rows if row["fstype"]}


def test_all_of_the_system_by_default(record):
    recorded = record(
        "touch go; until [ -e done ]; do sleep 0.05; done",
        before=f"(until [ -e go ]; do sleep 0.05; done; {TWO}; touch done) &",
    )
    # Made by processes that are none of the command's.
    assert mounted(recorded) == {"a", "b"}


def test_a_process_and_its_children(record):
    recorded = record(
        "touch go; until [ -e done ]; do sleep 0.05; done",
        before=f"""mkdir -p a b c
            wanted() {{ until [ -e go ]; do sleep 0.05; done; {TWO}; touch done; }}
            wanted & pid=$!
            (until [ -e go ]; do sleep 0.05; done; mount -t tmpfs three c) &""",
        options="--pid $pid",
    )
    assert mounted(recorded) == {"a", "b"}
    effects = recorded.rows("effects", action="attach")
    assert {row["source"] for row in effects} == {"one", "two"}


def test_a_namespace(record):
    recorded = record(
        """exec 3<>fifo; echo go >&3; until [ -e done ]; do sleep 0.05; done
        mkdir c; mount -t tmpfs three c""",
        before=f"""mkfifo fifo; mkdir -p a b
            unshare -m sh -c 'readlink /proc/self/ns/mnt >name; read go <fifo; {TWO}; touch done' &
            until [ -s name ]; do sleep 0.05; done
            ns=$(tr -dc 0-9 <name)""",
        options="--ns $ns",
    )
    assert {os.path.basename(path) for path in recorded.run.operations["path"]} == {"a", "b"}


def test_a_path_wherever_it_is(record, tmp_path):
    recorded = record(
        f"""mkdir -p a b shared copy
        mount -t tmpfs one a; mount -t tmpfs two b; umount a
        mount -t tmpfs pool shared; mkdir shared/x; mount --bind shared copy
        unshare -m --propagation unchanged mount -t tmpfs three {tmp_path}/copy/x""",
        options="--path a --path shared/x",
    )
    told = recorded.rows("operations")
    assert [(row["syscall"], os.path.basename(row["path"])) for row in told] == [
        ("mount", "a"),
        ("umount2", "a"),
        # It is not at the path that is wanted itself, but its copy is.
        ("mount", "x"),
    ]


@pytest.mark.kernel("runc", "busybox")
@pytest.mark.parametrize("wanted", ["mnttrace-demo-", "no-such-container"])
def test_a_container(record, tmp_path, wanted):
    name = f"{wanted}$$" if wanted.endswith("-") else wanted
    recorded = record(
        "exec ./run",
        before=f"""mkdir c other; mount -t tmpfs c c
            printf '#!/bin/sh\\nmount -t tmpfs x other\\n' >run
            echo 'exec "$CHECKOUT"/scripts/container.sh {tmp_path}/c >&2' >>run; chmod +x run""",
        # The container's name has the number of the process that execs: the script's own.
        options=f"--container {name}" if wanted == "no-such-container" else "",
    )
    if wanted == "no-such-container":
        assert recorded.rows("operations") == []
        return
    (made,) = {row["ns_id"] for row in recorded.rows("namespaces") if row["kind"] == "container"}
    assert recorded.rows("operations", ns_id=made)


def test_different_options_all_have_to_fit(record):
    recorded = record(TWO, before="sleep 100 & pid=$!", options="--path a --pid $pid")
    assert recorded.rows("operations") == []


def test_of_one_process_the_ends_of_its_namespaces_are_recorded(
    in_namespace: Callable[..., Any], tmp_path: Path
) -> None:
    """No operation ends them."""
    in_namespace(
        """
        mkdir data
        $MNTTRACE record --pid $$ -o run.mnttrace -- \\
            unshare -m --propagation unchanged mount -t tmpfs left $PWD/data
        """
    )
    run = Recording(tmp_path / "run.mnttrace")
    [born] = run.operations.loc[run.operations["syscall"] == "unshare", "ns_target_id"]
    effects = run.effects[run.effects["ns_id"] == born]
    attached = set(effects.loc[effects["action"] == "attach", "mnt_id_unique"])
    ended = effects[effects["via"] == "namespace-death"]
    assert attached == set(ended["mnt_id_unique"])
    assert [one.kind for one in run.why("left").holders if one.mount["present"]] == ["residue"]
