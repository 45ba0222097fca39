# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Namespaces all of whose processes are in a chroot: no mountinfo shows all of their mounts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

# It goes there before the recording, and mounts in it.
JAILED = """
import ctypes, os
libc = ctypes.CDLL(None)
go, done = (os.open(name, os.O_RDWR) for name in ("go", "done"))
os.chroot("jail/deep")
os.chdir("/")
os.write(done, b".")
os.read(go, 1)
assert libc.mount(b"inside", b"/place", b"tmpfs", 0, None) == 0
assert libc.mount(b"inside", b"other", b"tmpfs", 0, None) == 0
assert libc.umount2(b"/place", 0) == 0
os.write(done, b".")
os.read(go, 1)
"""


@pytest.mark.parametrize("backend", ["", "syscalls", "none"])
def test_mounts_of_a_namespace_in_a_chroot_are_where_the_namespace_has_them(
    record, tmp_path: Path, backend: str
) -> None:
    (tmp_path / "jailed").write_text(JAILED)
    recorded = record(
        "echo -n . >go; head -c 1 done",
        before="""
        mkfifo go done; exec 3<>go 4<>done
        mkdir jail outside; mount -t tmpfs jail jail; mkdir -p jail/deep/place jail/deep/other
        mount -t tmpfs below jail/deep/other; mount -t tmpfs outside outside
        unshare -m --propagation private python3 jailed & head -c 1 done
        umount -l jail; umount outside
        """,
        options=f"--backend {backend}" if backend else "",
    )
    run = recorded.run
    inside = run.effects[(run.effects["source"] == "inside") & (run.effects["action"] == "attach")]
    told = set(inside["mountpoint"])
    places = {f"{tmp_path}/jail/deep/other", f"{tmp_path}/jail/deep/place"}
    assert told == places if not backend else told == {f"{tmp_path}/jail/deep/other"}
    [jailed] = set(inside["ns_id"])
    table = run.at(pd.Timestamp(run.meta["stopped"], tz="UTC"))
    here = table[table["ns_id"] == jailed].set_index("mountpoint")["source"].to_dict()
    assert here[f"{tmp_path}/outside"] == "outside"
    assert here[f"{tmp_path}/jail"] == "jail"
    assert here[f"{tmp_path}/jail/deep/other"] == "inside"
    if backend != "none":
        calls = run.operations[run.operations["ns_id"] == jailed]
        assert calls["path"].tolist() == [
            f"{tmp_path}/jail/deep/{name}" for name in ("place", "other", "place")
        ]
        assert set(calls["root_path"]) == {f"{tmp_path}/jail/deep"}
