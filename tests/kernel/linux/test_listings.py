# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Names of any bytes, as mount(8), findmnt(8) and /proc/PID/mounts print them, read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnttrace.linux.mountinfo import parse
from mnttrace.recording.table_forms import read_table
from tests.conftest import Run

SCRIPT = r"""
mkdir m; mount -t tmpfs base m; mount --make-private m; cd m
for name in 'sp ace' "$(printf 'new\nline')" "$(printf 'bad\377x')" 'back\slash' 'quo"te' \
    "$(printf 'tab\there')" 'ü' '日本' 'on x type y' "$(printf 'esc\033[1m')"; do
    mkdir -p "$name"
    mount -t tmpfs "a $(printf %s "$name" | tr '\n' n)" "$name"  # mount(8) splits lines there
done
mount -t tmpfs over 'sp ace'
cd ..
all=TARGET,SOURCE,FSTYPE,OPTIONS,ID,PARENT,MAJ:MIN,FSROOT,OPT-FIELDS
export LC_ALL=C.UTF-8
cat /proc/self/mountinfo >mountinfo; cat /proc/self/mounts >mounts; mount >mount; mount -l >mount-l
findmnt >tree; findmnt --ascii >ascii; findmnt -l >list; findmnt -P >pairs; findmnt -J >json
findmnt -r >raw; LC_ALL=C findmnt >posix
findmnt -o $all >all-tree; findmnt -o $all -P >all-pairs; findmnt -o $all -J >all-json
findmnt -o $all -r >all-raw; findmnt -o $all -l >all-list; findmnt -o $all -y -P >all-shell
"""
# mount(8) prints "?" for these; so does no other.
REPLACED = str.maketrans("\n\t\x1b", "???")
FORMS = ["mounts", "tree", "ascii", "list", "pairs", "json", "raw", "posix"]
FORMS += ["all-tree", "all-pairs", "all-json", "all-raw", "all-list", "all-shell"]


@pytest.mark.kernel("findmnt", "mount")
def test_names_are_read_back(in_namespace: Run, tmp_path: Path) -> None:
    in_namespace(SCRIPT)

    def text(name: str) -> str:
        return (tmp_path / name).read_bytes().decode("utf-8", "surrogateescape")

    mounts = parse(text("mountinfo"))
    wanted = sorted((one.mountpoint, one.fstype, one.source) for one in mounts)
    assert len({one for one in wanted if one[0].startswith(f"{tmp_path}/m/")}) == 11
    for name in FORMS:
        found = read_table(text(name), name).mounts
        assert sorted((one.mountpoint, one.fstype, one.source) for one in found) == wanted, name
    for name in ("mount", "mount-l"):
        found = read_table(text(name), name).mounts
        places = sorted(one.mountpoint for one in found)
        assert places == sorted(place.translate(REPLACED) for place, _, _ in wanted), name
    ids = {one.mount_id: one for one in mounts}
    for name in FORMS:
        table = read_table(text(name), name)
        numbers = {one.mount_id: one for one in table.mounts}
        [over] = [one for one in table.mounts if one.source == "over"]
        assert numbers[over.parent_id].source == "a sp ace", name
        if name.startswith("all"):
            assert not table.unknown, name
            assert {n: one.parent_id for n, one in numbers.items()} == {
                n: one.parent_id for n, one in ids.items()
            }, name
        else:
            assert table.unknown >= {"mount_id", "propagation", "shared", "device"}, name
