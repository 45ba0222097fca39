# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The commands on a real recording: what a person sees, and what a program reads."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.kernel.recordings import Record

MNTTRACE = [sys.executable, "-m", "mnttrace"]
PROPAGATIONS = {
    *("seq", "ts", "pid", "tid", "syscall", "src_ns", "dst_ns", "action", "mount_id"),
    *("mnt_id_unique", "mountpoint", "root", "source", "fstype", "via", "evidence", "copy_of"),
}

# Copies at another place of the same namespace, and in another one; then both are unmounted.
SCRIPT = """
mount -t tmpfs two pool/x
unshare -m --propagation unchanged sh -ec 'mount -t tmpfs three copy/y; umount copy/y'
umount pool/x
"""
BEFORE = "mkdir pool copy; mount -t tmpfs pool pool; mkdir pool/x pool/y; mount --bind pool copy"


def test_propagations_are_copies_and_nothing_else(record: Record, mnttrace, tmp_path: Path) -> None:
    recorded = record(SCRIPT, before=BEFORE)
    text = mnttrace("export", "run.mnttrace", "--table", "propagations", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert set(rows[0]) >= PROPAGATIONS
    rows = [row for row in rows if row["mountpoint"].startswith(str(tmp_path))]
    namespaces = recorded.run.namespaces
    inside = set(namespaces.loc[namespaces["ns_id"].isin(recorded.namespaces), "ns"].astype(str))
    assert {row["src_ns"] for row in rows} <= inside
    told = [
        (row["syscall"], row["action"], row["mountpoint"].removeprefix(f"{tmp_path}/"))
        for row in rows
    ]
    # mount: copy/x here; in the namespace, copy/y was asked for: pool/y there, and both here.
    assert sorted(told) == sorted(
        [
            ("mount", "attach", "copy/x"),
            ("umount2", "detach", "copy/x"),
            *[("mount", "attach", place) for place in ("pool/y", "pool/y", "copy/y")],
            *[("umount2", "detach", place) for place in ("pool/y", "pool/y", "copy/y")],
        ]
    )
    same = [row for row in rows if row["src_ns"] == row["dst_ns"]]
    assert len(same) == 4


@pytest.mark.parametrize(
    "table",
    [
        "operations",
        "effects",
        "propagations",
        "leaks",
        "births",
        "processes",
        "namespaces",
        "snapshots",
        "mounts",
        "losses",
    ],
)
def test_every_table_is_exported_in_every_format(record, mnttrace, tmp_path, table) -> None:
    recorded = record(SCRIPT, before=BEFORE)
    frame = recorded.frame(table)
    as_csv = mnttrace("export", "run.mnttrace", "--table", table, "--format", "csv").stdout
    assert len(pd.read_csv(io.StringIO(as_csv))) == len(frame)
    as_json = mnttrace("export", "run.mnttrace", "--table", table, "--format", "json").stdout
    assert len(json.loads(as_json)) == len(frame)
    with open(tmp_path / "table.parquet", "wb") as out:
        subprocess.run(
            [*MNTTRACE, "export", "run.mnttrace", "--table", table, "--format", "parquet"],
            stdout=out,
            cwd=tmp_path,
            check=True,
        )
    assert list(pd.read_parquet(tmp_path / "table.parquet").columns) == list(frame.columns)
    assert not [name for name, kind in frame.dtypes.items() if kind == object]  # noqa: E721


def test_the_tables_need_no_mnttrace(record: Record) -> None:
    recorded = record(SCRIPT, before=BEFORE)
    read = pd.read_parquet(recorded.folder / "run.mnttrace" / "operations.parquet")
    assert {"mount", "umount2", "unshare"} <= set(read["syscall"])


def test_leaks_say_what_is_still_there(record: Record, mnttrace, tmp_path: Path) -> None:
    record(
        """unshare -m --propagation unchanged sh -ec '
            mount -t tmpfs stays copy/x; mount -t tmpfs goes copy/y; umount copy/y'""",
        before=BEFORE,
    )
    leaks = json.loads(mnttrace("leaks", "--json", "run.mnttrace").stdout)
    (leak,) = [row for row in leaks if row["receiver_path"] == f"{tmp_path}/pool"]
    # Each of the two came to both places.
    assert (leak["mounts"], leak["present"]) == (4, 2)
    assert leak["mountpoint"] == f"{tmp_path}/pool/x"
    text = mnttrace("leaks", "run.mnttrace").stdout
    assert f"{tmp_path}/pool/x and 3 more, 2 still there" in text


def test_no_leak_is_said_plainly(record: Record, mnttrace) -> None:
    recorded = record("mkdir -p x; mount -t tmpfs x x; umount x")
    if recorded.run.leaks.empty:
        assert (
            "No mount reached another mount namespace." in mnttrace("leaks", "run.mnttrace").stdout
        )


def test_what_is_counted_is_what_is_recorded(record: Record) -> None:
    """Not what the filter leaves out, nor removals that took no mount along."""
    recorded = record(
        """mount -t tmpfs other other
        python3 - <<'END'
import ctypes, os
libc = ctypes.CDLL(None)
assert libc.umount2(b"own", 0) == 0
for n in range(50):
    os.unlink(f"{n}")
END""",
        before="mkdir own other; mount -t tmpfs own own; touch $(seq 0 49)",
        options='--path "$PWD/own"',
    )
    counts = [len(recorded.frame(table)) for table in ("operations", "effects")]
    assert counts == [1, 1]
    assert "mnttrace: 1 operation with 1 effect in " in recorded.output


def test_info_and_tree(record: Record, mnttrace, tmp_path: Path) -> None:
    recorded = record(SCRIPT, before=BEFORE, after="cat /proc/self/mountinfo >outside")
    info = json.loads(mnttrace("info", "--json", "run.mnttrace").stdout)
    assert info["rows"]["operations"] == len(recorded.run.operations)
    assert info["command"] == ["sh", "script"]
    assert info["losses"]["lost_operation"] == 0
    told = mnttrace("info", "run.mnttrace").stdout
    assert f"{len(recorded.run.operations)} operations" in told
    mounts = json.loads(mnttrace("tree", "--json", "run.mnttrace").stdout)
    own = [row for row in mounts if row["ns_id"] == recorded.home]
    assert [row["mount_id"] for row in own] == [m.mount_id for m in recorded.table("outside")]
    tree = mnttrace("tree", "run.mnttrace").stdout
    assert f"{tmp_path}/pool  tmpfs pool" in tree
    assert "\x1b" not in tree
    group = next(m.shared for m in recorded.table("outside") if m.mountpoint == f"{tmp_path}/pool")
    assert f"group {group}\n" in tree


def test_snapshot_has_every_namespace_as_the_kernel_has_it(in_namespace, tmp_path: Path) -> None:
    # Kept by a process, and by a bind mount alone. On one CPU: a namespace can be bound only into
    # one with a lower id, and each CPU gives out ids of its own (mnt_ns_loop() in fs/namespace.c).
    (tmp_path / "script").write_text(
        """
        mkfifo fifo
        unshare -m sh -c 'mount -t tmpfs here /mnt; cat /proc/self/mountinfo >inside
            touch ready; read x <fifo' &
        until [ -e ready ]; do sleep 0.05; done
        mkdir private; mount -t tmpfs --make-private private private; touch private/ns
        unshare --mount=private/ns mount -t tmpfs bound /mnt
        $MNTTRACE snapshot -o run.mnttrace
        nsenter --mount=private/ns cat /proc/self/mountinfo >kept
        """
    )
    in_namespace("taskset -c 0 unshare -m sh -e script")
    from mnttrace.analysis.recording import Recording
    from mnttrace.analysis.state.mount_tables import last_tables

    mounts = last_tables(Recording(tmp_path / "run.mnttrace"))
    tables = [set(table["mountpoint"]) for _, table in mounts.groupby("ns_id")]
    for name in ("inside", "kept"):
        wanted = {line.split()[4] for line in (tmp_path / name).read_text().splitlines()}
        assert wanted in tables, name
    assert {"here", "bound"} <= set(mounts.loc[mounts["mountpoint"] == "/mnt", "source"])


def test_doctor_says_what_is_here(mnttrace) -> None:
    done = mnttrace("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert done.returncode == 0
    assert all(check["ok"] for check in checks.values() if check["needed"])
    assert checks["calls"]["found"].startswith("16, seen by their ")
    lines = mnttrace("doctor").stdout.splitlines()
    assert len([line for line in lines if line.startswith("ok")]) == len(checks)


def test_doctor_names_what_is_missing_and_what_mends_it(tmp_path: Path) -> None:
    (tmp_path / "bcc.py").write_text("raise ImportError('none')")
    done = subprocess.run(
        [*MNTTRACE, "doctor"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 4
    assert "MISSING bcc" in done.stdout
    assert "mend: apt-get install python3-bpfcc" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(mnttrace, shell: str) -> None:
    assert "_MNTTRACE_COMPLETE" in mnttrace("completion", shell).stdout


def test_completion_of_commands(mnttrace) -> None:
    done = mnttrace(_MNTTRACE_COMPLETE="bash_complete", COMP_WORDS="mnttrace le", COMP_CWORD="1")
    assert "leaks" in done.stdout


def test_counts_are_shown_on_a_terminal_while_recording(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*MNTTRACE, "record", "--", "sh", "-c", "unshare -m true; sleep 1.5; unshare -m true"],
        stderr=theirs,
        cwd=tmp_path,
    )
    os.close(theirs)
    text = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            text += os.read(ours, 65536)
        except OSError:  # the terminal's other end is closed
            break
    assert process.wait(30) == 0
    live = [line for line in text.decode().split("\r\x1b[K") if "operations" in line]
    assert len(live) >= 2
    assert "0 lost" in live[0]
    os.close(ours)


def test_what_recording_took_is_said_when_asked(in_namespace) -> None:
    told = in_namespace("$MNTTRACE record -v -- sh -ec 'mount -t tmpfs it .; umount .'")
    *_, last = told.stderr.splitlines()
    took = r"mnttrace: the recorder took [\d.]+ s of processor time in [\d.]+ s, [\d.]+ ms an "
    assert re.fullmatch(took + r"operation, and \d+ MB of memory", last), last
    told = in_namespace("$MNTTRACE record --force -- true")
    assert "processor time" not in told.stderr


def test_recording_leaves_no_trace(in_namespace, tmp_path: Path) -> None:
    """Also right after a namespace has died while recording goes on."""
    (tmp_path / "count.py").write_text(
        "from mnttrace.linux.namespaces import kernel_namespaces\n"
        "print(sorted((ns, seen.mounts) for ns, seen in kernel_namespaces().items()))\n"
    )
    in_namespace(
        """
        $PYTHON count.py >before
        $MNTTRACE record -o run.mnttrace -- sh -c '
            unshare -m sh -c "mount -t tmpfs x /mnt"
            for try in $(seq 100); do
                $PYTHON count.py >during; ! cmp -s before during || break
            done'
        $PYTHON count.py >after
        """,
        PYTHON=sys.executable,
    )
    before, during, after = (
        (tmp_path / name).read_text() for name in ("before", "during", "after")
    )
    assert before == during == after
