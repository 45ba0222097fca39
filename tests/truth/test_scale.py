# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Many receivers, many mounts at once, namespaces that live for milliseconds.

The kernel's tables before and after each operation are the truth, as in the other tests here.
"""

from __future__ import annotations

import resource
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mnttrace.linux.bpf import takes_may_goto
from mnttrace.probes import backends
from tests.truth.harness import Kernel, tells_unique_ids
from tests.truth.witness import Witness


@pytest.fixture
def older_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for older kernels: loops need a counter, and the kernel's memory is read by calls."""
    monkeypatch.setattr(backends, "takes_may_goto", lambda: False)
    monkeypatch.setattr(backends, "takes_cast", lambda function, to: False)


@pytest.fixture
def long_walks() -> None:
    """Skip where loops need a counter: tests/kernel/linux/test_bpf.py says on which kernels."""
    if not takes_may_goto():
        pytest.skip("walks of so many turns are of Linux 6.14")


@pytest.fixture
def witness() -> Iterator[Witness]:
    """A recorder for each test: what it loses is the test's own."""
    with Witness() as witness:
        yield witness
    print(f"\n{witness.score}")


@pytest.fixture
def kernel(tmp_path: Path, witness: Witness) -> Iterator[Kernel]:
    """A first namespace whose root is shared; each of its receivers takes a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 16), hard))
    with Kernel(tmp_path) as kernel:
        kernel.first("host").do("change", path="/", to="shared", recursive=False)
        yield kernel
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def receivers(kernel: Kernel, count: int) -> None:
    """Namespaces of which every other one is a slave."""
    for number in range(count):
        process = kernel.copy("host", f"receiver {number}")
        if number % 2:
            process.do("change", path="/", to="slave", recursive=False)


class Steps:
    """Operations in "host", each checked."""

    def __init__(self, kernel: Kernel, witness: Witness) -> None:
        self.kernel, self.witness = kernel, witness
        witness.begin(kernel)

    def do(self, command: str, **arguments: Any) -> None:
        """Do it; fails unless what is recorded of it is what the kernel did."""
        self.kernel["host"].do(command, **arguments)
        self.witness.step(self.kernel, command)


def test_two_hundred_receivers(kernel: Kernel, witness: Witness) -> None:
    receivers(kernel, 200)
    steps = Steps(kernel, witness)
    steps.do("mount", path="/a", fstype="tmpfs")
    steps.do("umount", path="/a", lazy=False)
    assert witness.score.by_action == {"attach": 201, "detach": 201}
    assert witness.score.caused == 402
    assert not witness.probes.losses()["cut_walk"]


def stack(kernel: Kernel, height: int) -> None:
    """A tree of mounts at /a."""
    host = kernel["host"]
    host.do("mount", path="/a", fstype="tmpfs")
    host.do("furnish", path="/a", device=host.do("device", path="/a"))
    for _ in range(height - 1):
        host.do("mount", path="/a/a", fstype="tmpfs")


def test_four_hundred_mounts_in_one_recursive_bind(kernel: Kernel, witness: Witness) -> None:
    stack(kernel, 400)
    receivers(kernel, 1)
    steps = Steps(kernel, witness)
    steps.do("bind", source="/a", target="/b", recursive=True)
    steps.do("umount", path="/b", lazy=True)
    assert witness.score.by_action["attach"] == 800
    assert witness.score.caused == witness.score.told
    assert not witness.probes.losses()["cut_walk"]


def test_a_thousand_receivers(kernel: Kernel, witness: Witness) -> None:
    receivers(kernel, 1000)
    steps = Steps(kernel, witness)
    steps.do("mount", path="/a", fstype="tmpfs")
    steps.do("umount", path="/a", lazy=False)
    assert witness.score.by_action == {"attach": 1001, "detach": 1001}
    assert witness.score.caused == 2002
    assert not witness.probes.losses()["cut_walk"]


def evidence_for(witness: Witness, action: str) -> Counter[str]:
    """That for the effects of what was just done, which are still to be compared."""
    witness.session.poll()
    witness.session.drain()
    effects = witness.rows["effects"]
    return Counter(row["evidence"] for row in effects if row["action"] == action)


def bind_for_nine(kernel: Kernel, witness: Witness) -> Counter[str]:
    """Bind a tree of 400 mounts recursively, for 8 receivers; the evidence for the copies."""
    stack(kernel, 400)
    receivers(kernel, 8)
    witness.begin(kernel)
    kernel["host"].do("bind", source="/a", target="/b", recursive=True)
    evidence = evidence_for(witness, "attach")
    witness.step(kernel, "bind")
    assert witness.score.by_action == {"attach": 9 * 400}
    assert witness.score.caused == 9 * 400
    return evidence


@pytest.mark.usefixtures("long_walks")
def test_four_hundred_mounts_and_eight_receivers(kernel: Kernel, witness: Witness) -> None:
    assert bind_for_nine(kernel, witness) == {"kernel": 9 * 400}
    assert not witness.probes.losses()["cut_walk"]


@pytest.mark.usefixtures("older_programs")
def test_more_mounts_than_the_kernel_can_list(kernel: Kernel, witness: Witness) -> None:
    """The rest is taken from snapshots, and the recording says so."""
    evidence = bind_for_nine(kernel, witness)
    print(evidence)
    assert evidence["kernel"]
    assert evidence["snapshot"]
    assert witness.probes.losses()["cut_walk"] == 1
    kernel["host"].do("umount", path="/b", lazy=True)
    witness.step(kernel, "umount")


@pytest.mark.usefixtures("long_walks")
def test_two_thousand_mounts_are_changed(kernel: Kernel, witness: Witness) -> None:
    stack(kernel, 2000)
    receivers(kernel, 1)
    witness.begin(kernel)
    kernel["host"].do("change", path="/", to="private", recursive=True)
    assert evidence_for(witness, "change").keys() == {"kernel"}
    witness.step(kernel, "change")
    assert witness.score.by_action == {"change": 2001}


def test_a_namespace_of_two_thousand_mounts_is_listed_whole(tmp_path: Path) -> None:
    with Kernel(tmp_path) as kernel:
        kernel.first("host")
        stack(kernel, 2000)
        with Witness() as witness:
            pass
        table = kernel.table("host")
        host = kernel["host"].namespace_id
    assert len(table) == 2001
    [snapshot] = [
        row["snapshot"]
        for row in witness.rows["snapshots"]
        if (row["ns_id"], row["reason"]) == (host, "start")
    ]
    listed = [row for row in witness.rows["mounts"] if row["snapshot"] == snapshot]
    id = "mnt_id_unique" if tells_unique_ids() else "mount_id"
    assert {row[id] for row in listed} == {line.id for line in table}
    assert not witness.losses["cut_walk"]


def test_namespaces_that_live_for_milliseconds(
    kernel: Kernel, witness: Witness, patience: float
) -> None:
    receivers(kernel, 2)
    witness.begin(kernel)
    lived = []  # (namespace, how long), of which the first may be used again
    for _ in range(50):
        begun = time.monotonic()
        short = kernel.copy("host", "short")
        short.do("mount", path="/a", fstype="tmpfs")
        short.do("umount", path="/a", lazy=False)
        kernel.end("short")
        lived.append((short.namespace_id, time.monotonic() - begun))
    witness.session.poll()
    witness.session.drain()
    assert min(seconds for _, seconds in lived) < 0.005 * patience
    effects = [row for row in witness.rows["effects"] if row["ns_id"] in dict(lived)]
    assert Counter((row["ns_id"], row["action"], row["via"]) for row in effects) == Counter(
        (namespace, *what)
        for namespace, _ in lived
        for what in [
            ("attach", "namespace-copy"),
            ("attach", "direct"),
            ("detach", "direct"),
            ("detach", "namespace-death"),
        ]
    )
    # When a namespace went that nobody watched yet only the next survey tells.
    assert {row["evidence"] for row in effects if row["via"] != "namespace-death"} == {"kernel"}


def test_what_is_told_of_a_namespace_is_written_when_it_ends(witness: Witness) -> None:
    """Not at the end of all: a recording may be long, and nothing is kept of what is gone."""
    if not tells_unique_ids():
        pytest.skip("this kernel gives namespaces the numbers of those that ended")
    script = (
        "for i in $(seq 25); do unshare -m --propagation slave sleep 0.05; unshare -m true; done"
    )
    rows = witness.rows

    def snapshots(reason: str) -> set[int]:
        return {row["ns_id"] for row in rows["snapshots"] if row["reason"] == reason}

    def mounts(change: str) -> Counter[int]:
        return Counter(row["ns_id"] for row in rows["mounts"] if row["change"] == change)

    with subprocess.Popen(["sh", "-ec", script]) as process:
        while process.poll() is None:
            witness.session.poll(0.01)
    calls = (row for row in rows["operations"] if row["syscall"] == "unshare")
    born = {row["ns_target_id"] for row in calls}
    seen = born & snapshots("birth")
    assert len(seen) >= 20
    assert len(born) >= 50

    def left() -> set[int]:
        counts = Counter(
            (row["ns_id"], row["action"]) for row in rows["effects"] if row["ns_id"] in born
        )
        return {one for one in born if counts[one, "attach"] != counts[one, "detach"]}

    end = time.monotonic() + 30
    while (left() or not seen <= snapshots("gone")) and time.monotonic() < end:
        witness.session.poll(0.01)
    assert not left()
    assert seen <= snapshots("gone")
    made, removed = mounts("initial"), mounts("removed")
    assert {key: removed[key] for key in seen} == {key: made[key] for key in seen}
