# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What commands would do, asked before they are given to a shell: the mounts of all namespaces are
those that were promised, and what would be refused is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnttrace.analysis.diagnosis.commands import carry_out
from mnttrace.analysis.recording import Recording
from mnttrace.linux.mountinfo import parse

# In turn, each on what the ones before it left; A is a process of a namespace with slaves, B one
# with peers, C one with private mounts.
COMMANDS = """
mount -t tmpfs one {d}/srv/x
mount -t tmpfs two {d}/srv/x
umount {d}/srv/x
mkdir {d}/srv/x/in && mount -t tmpfs in {d}/srv/x/in
umount {d}/srv/x
mount --bind {d}/srv/x {d}/srv/y
mount --rbind {d}/srv {d}/other
mount --move {d}/srv/y {d}/srv/z
mount --make-private {d}/srv/x
mount --make-unbindable {d}/srv/x
mount -o bind {d}/srv/x {d}/srv/y
mount --make-rshared {d}/srv
nsenter -t {C} -m umount -l {d}/srv
umount -N {A} -R {d}/srv/x
umount {d}/srv/x/in; umount {d}/srv/x
rmdir {d}/srv/q
mkdir {d}/srv/q && mount -t tmpfs q {d}/srv/q
umount -lR {d}/other
mount --bind --make-rslave {d}/srv {d}/other
mount -t tmpfs late {d}/srv/late
pivot_root {d}/srv {d}/srv/late
umount {d}/nowhere
nsenter -t {B} -m -- mount -t tmpfs b {d}/srv/late
mount -N {B} --make-private {d}/srv
nsenter -t {B} -m -- mount --move {d}/srv/late {d}/srv/z
umount -l {d}/srv
"""
NAMESPACES = ("host", "A", "B", "C")


def test_what_was_promised(in_namespace: Callable[..., Any], tmp_path: Path) -> None:
    lines = COMMANDS.strip().splitlines()
    script = [
        "mkdir srv other nowhere; mount -t tmpfs host srv; mount --make-shared srv",
        "mkdir srv/x srv/y srv/z srv/q srv/late",
        "mount -t tmpfs q srv/q; mount --make-private srv/q",
        *(
            f"unshare -m --propagation {how} sleep 1000 & {name}=$!"
            for name, how in (("A", "slave"), ("B", "unchanged"), ("C", "private"))
        ),
        "for pid in $A $B $C; do "
        "until [ $(readlink /proc/$pid/ns/mnt) != $(readlink /proc/self/ns/mnt) ] && "
        "[ $(cat /proc/$pid/comm) = sleep ]; do sleep .02; done; done",
        "umount srv/q",
    ]
    for number, line in enumerate(lines):
        shell = line.format(d=tmp_path, A="$A", B="$B", C="$C")
        script += [
            f'echo "{shell}" >{number}.command',
            f"$MNTTRACE snapshot -o {number}.mnttrace",
            f'sh -c "{shell}" 2>>errors && echo 0 >{number}.status || echo 1 >{number}.status',
            f"for pid in $$ $A $B $C; do cat /proc/$pid/mountinfo >{number}.$pid; done",
        ]
    script.append("echo $$ $A $B $C >pids")
    in_namespace("\n".join(script), timeout=300)
    pids = (tmp_path / "pids").read_text().split()
    refused = 0
    for number in range(len(lines)):
        refused += _is_as_promised(tmp_path, number, pids)
    assert refused == 6


def _is_as_promised(folder: Path, number: int, pids: list[str]) -> bool:
    """Compare what was promised with what one command did; whether it was refused."""
    text = (folder / f"{number}.command").read_text().strip()
    text = text.partition("&& ")[2] or text  # mkdir is no command for mounts
    run = Recording(folder / f"{number}.mnttrace")
    answer = run.what_if(text)
    is_refused = (folder / f"{number}.status").read_text().strip() != "0"
    assert (answer.refused is not None) == is_refused, text
    tables = run.diagnosis.now.tables.copy()
    for command in answer.commands if answer.refused is None else ():
        carry_out(tables, [command])
    of_pid = {row["pid"]: ns for ns, row in run.diagnosis.namespaces.items()}
    spaces = [run.meta["home_ns_id"], *(of_pid[int(pid)] for pid in pids[1:])]
    before, after = run.diagnosis.now.tables, {}
    for ns, pid in zip(spaces, pids, strict=True):
        found = parse((folder / f"{number}.{pid}").read_text(), pid)
        after[ns] = Counter((mount.mountpoint, mount.root) for mount in found)
        promised = Counter((tables.path(mount.id), mount.root) for mount in tables.in_namespace(ns))
        assert after[ns] == promised, text
    # The consequences say the same.
    mine = answer.frame[answer.frame["ns_id"].isin(spaces)]
    if not mine["action"].isin(["move"]).any() and answer.refused is None:
        counts = Counter(mine["action"])
        more = sum(after[ns].total() - len(before.in_namespace(ns)) for ns in spaces)
        assert counts["attach"] - counts["detach"] == more, text
    return is_refused


def test_it_is_said_in_words(in_namespace: Callable[..., Any], tmp_path: Path) -> None:
    done = in_namespace(
        """
        mkdir srv; mount -t tmpfs host srv; mkdir srv/x
        unshare -m --propagation private sh -c 'echo $$ >pid; exec sleep 1000' &
        until [ -s pid ]; do sleep .02; done
        there=$PWD/srv
        $MNTTRACE what-if --live "mount -t tmpfs new $there/x" "umount $there" >words
        $MNTTRACE what-if --live --in $(cat pid) --json "umount $there" >json
        $MNTTRACE what-if --live 'mount -o remount,ro /srv' && exit 1 || echo $? >status
        """
    )
    words = (tmp_path / "words").read_text().splitlines()
    path = tmp_path / "srv"
    assert words[:3] == [
        f"mount -t tmpfs new {path}/x",
        f"    + {path}/x (new), shared in host",
        f"umount {path}",
    ]
    assert words[3] == "    refused, EBUSY: there are mounts on it"
    assert words[4] == f"    in the way: {path}/x (new) in host"
    [one] = json.loads((tmp_path / "json").read_text())["consequences"]
    assert (one["action"], one["mountpoint"], one["via"]) == ("detach", str(path), "direct")
    assert (tmp_path / "status").read_text() == "2\n"
    assert "a remount changes options" in done.stderr


def test_a_namespace_that_gets_nothing_is_named(
    in_namespace: Callable[..., Any], tmp_path: Path
) -> None:
    in_namespace(
        """
        mkdir srv; mount -t tmpfs host srv; mount --make-shared srv; mkdir srv/x
        unshare -m --propagation private sh -c 'echo $$ >pid; exec sleep 1000' &
        until [ -s pid ]; do sleep .02; done
        $MNTTRACE snapshot -o run.mnttrace
        """
    )
    run = Recording(tmp_path / "run.mnttrace")
    answer = run.what_if(f"mount -t tmpfs new {tmp_path}/srv/x")
    pid = int((tmp_path / "pid").read_text())
    [absent] = [one for one in answer.absent if one.namespace["pid"] == pid]
    assert absent.stopped.barrier.kind == "receives-nothing"
    assert absent.stopped.mount.path == f"{tmp_path}/srv"
    for path, reason in (
        ("/no/mount", "not the root of a mount"),
        ("/", "it is the root directory"),
    ):
        refused = run.what_if(f"umount {path}").refused
        assert refused is not None
        assert refused.reason == reason


@pytest.mark.parametrize(
    ("text", "problem"),
    [("ls /", "no command"), ("umount x", "no path"), ("mount /dev/sda", "source and a target")],
)
def test_what_is_no_command(text: str, problem: str, tmp_path: Path, mnttrace: Any) -> None:
    mnttrace("snapshot", "-o", tmp_path / "run.mnttrace")
    done = mnttrace("what-if", tmp_path / "run.mnttrace", text)
    assert done.returncode == 2
    assert problem in done.stderr
