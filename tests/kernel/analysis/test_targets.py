# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What a question is about: paths on a mount, symbolic links, words that mean several things."""

from __future__ import annotations

import os
from pathlib import Path

from tests.kernel.analysis.situations import BEFORE, hold
from tests.kernel.recordings import Record


def test_a_path_is_answered_for_the_mount_that_it_lies_on(record: Record, mnttrace) -> None:
    recorded = record(
        "mount -t tmpfs under srv/x; mkdir srv/x/y; mount -t tmpfs hidden srv/x/y\n"
        "mount -t tmpfs over srv/x",
        before=BEFORE,
    )
    root = mnttrace("why", "run.mnttrace", "/etc/passwd").stdout.splitlines()
    assert root[0].startswith("nothing was mounted at /etc/passwd: it lies on the mount at / of ")
    assert "if no symbolic link leads elsewhere (a recording has none)" in root[0]
    assert any(line.startswith("host: / as mount ") for line in root)
    assert not any("a umount on the host" in line for line in root)  # of "/"
    # The topmost one has the path, not the one with the longest mount point.
    lines = mnttrace("why", "run.mnttrace", f"{recorded.folder}/srv/x/y/z").stdout.splitlines()
    assert f"it lies on the mount at {recorded.folder}/srv/x of the host" in lines[0]
    assert lines[1].startswith("tmpfs over, device ")


def test_a_misspelled_mount_point_is_asked_for(record: Record, mnttrace) -> None:
    recorded = record("mount -t tmpfs disk srv/x", before=BEFORE)
    told = mnttrace("why", "run.mnttrace", f"{recorded.folder}/sxv/x").stdout
    assert f"or is it '{recorded.folder}/srv/x'?" in told.splitlines()[0]


def test_live_symbolic_links_are_resolved(in_namespace, tmp_path: Path) -> None:
    in_namespace(
        "mkdir data; mount -t tmpfs disk data; ln -s data link\n"
        "$MNTTRACE why --live $PWD/link >answer"
    )
    answer = (tmp_path / "answer").read_text().splitlines()
    assert answer[0] == f"{tmp_path}/link is {tmp_path}/data, symbolic links resolved"
    assert answer[1].startswith("tmpfs disk, device ")


def test_what_a_word_could_mean_too_is_said(record: Record, mnttrace) -> None:
    recorded = record(hold("private") + 'mount -t tmpfs "sleep[$(cat pid)]" srv/x', before=BEFORE)
    pid = (recorded.folder / "pid").read_text().strip()
    told = mnttrace("why", "run.mnttrace", f"sleep[{pid}]").stdout.splitlines()
    name = f"sleep[{pid}]"
    assert told[0] == f"'{name}' is taken for a source; it is also a namespace ({name})"
    [ns] = recorded.run.namespaces.query("name == @name")["ns"]
    told = mnttrace("why", "run.mnttrace", f"mnt:[{ns}]").stdout
    assert told.startswith(f"{name}: what it has")


def test_host_is_the_recorders(record: Record, mnttrace) -> None:
    recorded = record("mount -t tmpfs disk srv/x", before=BEFORE)
    assert set(recorded.run.namespace("host").operations["ns_id"]) == {recorded.home}
    done = mnttrace("why", "run.mnttrace", "disk", "--in", "nobody")
    assert done.returncode == 2
    assert "'nobody' (there are 'host'" in done.stderr


def test_live_a_pid_is_a_process_even_where_a_mount_has_its_number(mnttrace) -> None:
    """Mount ids are small numbers, as those of the kernel's threads are."""
    ids = {int(line.split()[0]) for line in Path("/proc/2/mountinfo").read_text().splitlines()}
    both = [number for number in sorted(ids) if os.path.exists(f"/proc/{number}/ns/mnt")]
    assert both, "no process has the number of a mount"
    answer = mnttrace("why", "--live", str(both[0])).stdout.splitlines()
    assert answer[0].startswith(f"{both[0]} is the pid of a process in mnt:[")
    assert answer[0].endswith("; it is also a mount id")
