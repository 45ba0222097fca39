# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace why`: from a symptom to who holds what, how it came there, and a remedy that works."""

from __future__ import annotations

import json
from pathlib import Path

# A namespace that was made with private copies keeps what the host unmounts (moby#34672, #27381).
HELD = """
unshare -m --propagation private sh -c 'echo $$ >pid; exec sleep 1000' &
until [ -s pid ]; do sleep 0.02; done
umount data
"""
REMEDY = """
sh -ec "$(grep -o 'umount -N .*' answer)"
! grep disk /proc/$(cat pid)/mountinfo
"""


def test_a_private_copy_is_held_and_the_remedy_frees_it(record, tmp_path: Path) -> None:
    recorded = record(
        HELD,
        before="mkdir data; mount -t tmpfs disk data",
        after=f"$MNTTRACE why run.mnttrace $PWD/data >answer; {REMEDY}",
    )
    answer = (tmp_path / "answer").read_text()
    assert answer.startswith("tmpfs disk, device ")
    assert "1 mount in 1 mount namespace; 1 more was there and is gone" in answer
    assert "HELD: inherited when the namespace was made; the original is gone" in answer
    [birth] = recorded.rows("operations", syscall="unshare")
    assert f"(operation {birth['seq']})" in answer
    assert f"umount -N {(tmp_path / 'pid').read_text().strip()} {tmp_path}/data" in answer
    assert "in place of operation" in answer.partition("To keep it from happening again")[2]


def test_what_a_namespace_carried_to_the_host(record, tmp_path: Path) -> None:
    """As a container with Bidirectional mount propagation does (kubernetes#115054)."""
    recorded = record(
        """
        unshare -m --propagation unchanged sh -ec '
            mount -t tmpfs inner volume/x; echo $$ >pid; exec sleep 1000' &
        until [ -s pid ]; do sleep 0.02; done
        """,
        before="mkdir volume; mount -t tmpfs volume volume; mkdir volume/x",
        after="""
        $MNTTRACE why run.mnttrace inner >answer
        $MNTTRACE why --json run.mnttrace $PWD/volume/x >json
        sed -n '/^What to do now/,/^[^W ]/{s/^    //p}' answer | sh -e
        grep -c ' inner ' /proc/self/mountinfo >here || true
        grep -c ' inner ' /proc/$(cat pid)/mountinfo >there || true
        """,
    )
    answer = (tmp_path / "answer").read_text()
    [mount] = recorded.rows("operations", syscall="mount")
    carried, made = answer.split("mounted at ")[0], answer.split("mounted at ")[1]
    assert "propagated there from another namespace" in carried
    assert f"(operation {mount['seq']})" in made
    assert f"umount {tmp_path}/volume/x" in answer
    assert "mount --make-rslave" in answer.partition("To keep it from happening again")[2]
    told = json.loads((tmp_path / "json").read_text())
    assert [one["kind"] for one in told["holders"]] == ["other", ""]
    assert [step["how"] for step in told["holders"][0]["steps"]] == ["propagated", "mounted"]
    # The volume there was shared from the birth of its namespace on.
    assert told["holders"][0]["steps"][0]["shared_since"]["syscall"] == "unshare"
    # The two are peers: without the first command the second would take both.
    assert f"--make-private {tmp_path}/volume\n    umount {tmp_path}/volume/x\n" in answer
    assert f"cut off from their peers: tmpfs volume at {tmp_path}/volume in sleep[" in answer
    assert [(tmp_path / "here").read_text(), (tmp_path / "there").read_text()] == ["0\n", "1\n"]


def test_what_is_covered_needs_more_than_one_umount(record, tmp_path: Path) -> None:
    """A umount gets the topmost mount at a place."""
    record(
        """
        unshare -m --propagation unchanged sh -ec '
            for one in under middle over; do mount -t tmpfs $one volume/x; done; echo $$ >pid
            exec sleep 1000' &
        until [ -s pid ]; do sleep 0.02; done
        """,
        before="mkdir volume; mount -t tmpfs volume volume; mkdir volume/x",
        after="""
        for one in under middle over; do $MNTTRACE why run.mnttrace $one >$one; done
        $MNTTRACE why run.mnttrace $PWD/volume/x >all
        $MNTTRACE report run.mnttrace -o report.html
        sed -n '/^What to do now/,/^[^W ]/{s/^    //p}' all >commands
        sh -e commands
        grep -c " $PWD/volume/x " /proc/self/mountinfo >here || true
        grep -c " $PWD/volume/x " /proc/$(cat pid)/mountinfo >there || true
        """,
    )
    place = f"{tmp_path}/volume/x"
    assert [(tmp_path / "here").read_text(), (tmp_path / "there").read_text()] == ["0\n", "3\n"]
    for name, number in (("under", 3), ("middle", 2), ("over", 1)):
        answer = (tmp_path / name).read_text()
        assert f"    umount {' '.join([place] * number)}\n" in answer
        # What is above it goes, and of the uppermost the peer, whose parent has no path there.
        assert "    # it also takes tmpfs over at " in answer
    assert f"umount {place} {place} {place}\n" in (tmp_path / "report.html").read_text()


def test_by_device_mount_id_namespace_and_process(record, mnttrace, tmp_path: Path) -> None:
    recorded = record(
        HELD,
        before="mkdir data; mount -t tmpfs disk data",
        after="cat /proc/$(cat pid)/mountinfo >held",
    )
    run = recorded.folder / "run.mnttrace"
    [line] = [line for line in recorded.table("held") if line.source == "disk"]
    pid = (tmp_path / "pid").read_text().strip()
    for target in (line.device, "disk", str(line.mount_id), pid):
        answer = mnttrace("why", run, target).stdout
        assert "HELD" in answer, target
        assert f"as mount {line.mount_id}, private" in answer, target


def test_an_unknown_target_gets_what_is_most_like_it(record, mnttrace) -> None:
    recorded = record("mount -t tmpfs disk data", before="mkdir data")
    done = mnttrace("why", recorded.folder / "run.mnttrace", "dusk")
    assert done.returncode == 2
    assert "is it 'disk'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_was_asked_for_and_is_gone_is_told_beside_what_is_left(record, mnttrace) -> None:
    recorded = record(
        "umount data/a",
        before="""
        mkdir -p data; mount -t tmpfs base data; mkdir data/a data/b
        mount -t tmpfs disk data/a; mount --bind data/a data/b
        """,
    )
    [umount] = recorded.rows("operations", syscall="umount2")
    place = umount["path"].removesuffix("/a")

    def told(target: str) -> list[str]:
        lines = mnttrace("why", "run.mnttrace", target).stdout.splitlines()
        return [line for line in lines if line.startswith("host: ") or "unmounted by" in line]

    left, gone, by = told(f"{place}/a")
    assert left.startswith(f"host: {place}/b as mount ")
    assert gone.startswith(f"host: {place}/a as mount ")
    assert gone.endswith(", gone")
    assert f"(operation {umount['seq']})" in by
    # Who asks for the other one is told that alone.
    assert told(f"{place}/b") == [left]


def test_live_needs_no_recording(in_namespace, tmp_path: Path) -> None:
    in_namespace(
        """
        mkdir data; mount -t tmpfs disk data
        unshare -m --propagation slave sh -c 'echo $$ >pid; exec sleep 1000' &
        until [ -s pid ]; do sleep 0.02; done
        $MNTTRACE why --live $PWD/data >answer
        """
    )
    answer = (tmp_path / "answer").read_text()
    assert "2 mounts in 2 mount namespaces" in answer
    assert "a umount on the host propagates to it" in answer
    assert "only mount tables: mnttrace record shows who mounted what" in answer


def test_leaks_name_what_is_held_and_a_pipeline_can_fail_on_it(record, mnttrace) -> None:
    recorded = record(HELD, before="mkdir data; mount -t tmpfs disk data", after=":")
    run = recorded.folder / "run.mnttrace"
    leaks = recorded.run.leaks
    [row] = leaks[leaks["source"] == "disk"].to_dict("records")
    assert (row["kind"], row["via"], row["syscall"]) == ("held", "namespace-copy", "unshare")
    assert row["direction"] == "host→other"
    done = mnttrace("leaks", run, "--fail-on", "escape,held")
    assert done.returncode == 3
    assert "held, host→other: tmpfs at" in done.stdout
    assert f"inherited from {row['copy_of_path']} when the namespace was made" in done.stdout
    [umount] = recorded.rows("operations", syscall="umount2")
    assert (row["orphaned_seq"], row["orphaned"]) == (umount["seq"], umount["ts"])
    assert f"by umount[{umount['pid']}], operation {umount['seq']}: umount2(" in done.stdout
    assert mnttrace("leaks", run, "--fail-on", "container-to-container").returncode == 0
    assert mnttrace("leaks", run, "--fail-on", "any", "--json").returncode == 3
    wrong = mnttrace("leaks", run, "--fail-on", "spill")
    assert wrong.returncode == 2
    assert (
        "there is no kind of leak called spill (there are doubling, held, residue" in wrong.stderr
    )


def test_a_race_is_told_to_the_microsecond(record, mnttrace) -> None:
    """A namespace had a private copy for a while, in which the device was busy (moby#33846)."""
    recorded = record(
        """
        mkfifo gate
        unshare -m --propagation private sh -ec 'echo >ready; read -r go <gate; umount data' &
        until [ -s ready ]; do sleep 0.02; done
        umount data; echo go >gate; wait
        """,
        before="mkdir data; mount -t tmpfs disk data",
    )
    leaks = recorded.run.leaks
    [row] = leaks[leaks["source"] == "disk"].to_dict("records")
    host, other = recorded.rows("operations", syscall="umount2")
    assert row["kind"] == "race"
    assert (row["orphaned_seq"], row["freed_seq"]) == (host["seq"], other["seq"])
    assert row["freed"] - row["orphaned"] == other["ts"] - host["ts"]
    done = mnttrace("leaks", "run.mnttrace", "--fail-on", "race")
    assert done.returncode == 3
    window = (other["ts"] - host["ts"]).total_seconds() * 1e3
    assert f"busy {window:,.3f} ms longer" in done.stdout


def test_what_ended_before_the_umount_has_held_nothing(record) -> None:
    """The end of a namespace is told a little late, after a umount that came after it."""
    recorded = record(
        """
        unshare -m --propagation private true; umount data
        """,
        before="mkdir data; mount -t tmpfs disk data",
    )
    gone = [row for row in recorded.rows("effects", source="disk") if row["action"] == "detach"]
    assert {row["via"] for row in gone} == {"direct", "namespace-death"}
    leaks = recorded.run.leaks
    assert leaks[leaks["source"] == "disk"].empty
