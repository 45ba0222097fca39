# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""One name for each namespace, in every answer."""

from __future__ import annotations

import os
from pathlib import Path

from tests.kernel.analysis.situations import BEFORE, DISK, hold
from tests.kernel.recordings import Record


def _of_pid_1() -> str:
    """The mount namespace of pid 1; where that may not be seen, that of the kernel's threads."""
    for pid in (1, 2):
        try:
            return os.readlink(f"/proc/{pid}/ns/mnt")
        except OSError:
            continue
    raise AssertionError("neither pid 1 nor kthreadd can be looked at")


def test_two_hosts_are_told_apart_in_the_same_words(record: Record, mnttrace) -> None:
    """The recorder is in a mount namespace of its own, as in a container."""
    recorded = record(
        hold("unchanged", "mount -t tmpfs inner srv/x") + "umount srv/in-use || true",
        before=BEFORE,
    )
    first = f"host ({_of_pid_1()})"
    namespaces = recorded.run.namespaces.set_index("ns_id")
    home = namespaces.loc[recorded.home]
    assert home["name"] != "host"
    answers = {
        name: mnttrace(*arguments).stdout
        for name, arguments in {
            "timeline": ("timeline", "run.mnttrace"),
            "tree": ("tree", "run.mnttrace"),
            "leaks": ("leaks", "run.mnttrace"),
            "why": ("why", "run.mnttrace", "inner"),
            "dot": ("export", "run.mnttrace", "--format", "dot"),
            "sql": ("query", "run.mnttrace", "select label from namespaces", "--csv"),
        }.items()
    }
    mnttrace("report", "run.mnttrace", "-o", "report.html")
    answers["report"] = (recorded.folder / "report.html").read_text()
    for name, text in answers.items():
        assert "host" in text, name
        assert f"host (mnt:[{home['ns']}])" not in text, name  # that is the other one's
        assert f"{home['comm']}[{home['pid']}] (" not in text, name
    for name in ("tree", "sql", "report"):
        assert first in answers[name], name
    assert f"\n{first}: " in f"\n{answers['tree']}"
    assert "\nhost: " in answers["tree"]
    assert " host: mount(" not in answers["timeline"]  # nothing was mounted from there
    assert " host: unshare(" in answers["timeline"]
    assert f"\nhost: {recorded.folder}/srv/x as mount" in answers["why"]
    assert mnttrace("why", "run.mnttrace", first).stdout.startswith(f"{first}: what it has")


def test_a_namespace_is_called_by_what_runs_in_it_now(record: Record, mnttrace) -> None:
    recorded = record(DISK + hold("private"), before=BEFORE)
    pid = (recorded.folder / "pid").read_text().strip()
    [birth] = recorded.rows("births")
    assert birth["name"] == f"sleep[{pid}]"
    for command in ("timeline", "tree", "leaks"):
        told = mnttrace(command, "run.mnttrace").stdout
        assert f"sleep[{pid}]" in told
        assert f"unshare[{pid}]:" not in told
        assert f"sh[{pid}]:" not in told


def test_one_that_has_ended_is_called_by_the_shell_that_ran_in_it(record: Record) -> None:
    recorded = record("unshare -m sh -ec 'mount -t tmpfs a srv/x; :'", before=BEFORE)
    [birth] = recorded.rows("births")
    [made] = recorded.rows("operations", syscall="unshare")
    assert birth["name"] == f"sh[{made['pid']}]"


def test_births_share_nothing_where_they_only_receive(record: Record, mnttrace) -> None:
    """A slave that is shared again is in a peer group of its own."""
    recorded = record(
        hold("unchanged", "mount --make-slave srv; mount --make-shared srv"), before=BEFORE
    )
    slave, _ = recorded.rows("operations", syscall="mount")
    [birth] = recorded.rows("births")
    assert (birth["became"], birth["isolated_by"]) == ("slave", slave["seq"])
    told = mnttrace("leaks", "run.mnttrace").stdout
    assert "of its" in told
    assert (
        f"made slave at its birth, by operation {slave['seq']}: mount srv slave;"
        in told.replace(f"{recorded.folder}/", "")
    )
    assert "so it receives from host, and sends nothing back." in told


def test_one_mount_is_not_some_mounts(record: Record, mnttrace) -> None:
    record(
        hold("unchanged", "mount -t tmpfs a b"),
        before="mount --make-rprivate /; " + BEFORE + "mkdir b; ",
    )
    told = mnttrace("leaks", "run.mnttrace").stdout
    assert "shares 1 mount with host, which it was made from." in told


def test_commands_of_several_lines_are_told_line_by_line(
    record: Record, mnttrace, tmp_path: Path
) -> None:
    record(DISK + hold("private") + "umount srv/x", before=BEFORE)
    lines = mnttrace("leaks", "run.mnttrace").stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("1. held"))
    assert not any("\\n" in line for line in lines)
    shown = [line.strip() for line in lines[at : at + 8]]
    assert "unshare -m --propagation private sh -ec :" in shown
    assert "echo $$ >pid; exec sleep 1000" in shown
