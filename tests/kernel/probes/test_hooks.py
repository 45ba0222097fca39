# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Kernel hooks, where the kernel accepts them: not on every machine that tests."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnttrace.errors import MissingPrerequisite
from mnttrace.linux import bpf
from mnttrace.linux.bpf import traceable
from mnttrace.linux.btf import Btf
from mnttrace.linux.fanotify import MountGroup
from mnttrace.linux.mount_events import FAN_MNT_ATTACH, FAN_MNT_DETACH, MountEvent, events
from mnttrace.linux.perf import takes_kprobe
from mnttrace.probes import facts
from mnttrace.probes.backends import Features
from mnttrace.probes.kernel import KernelProbes
from mnttrace.probes.records import RECORD_EVENT, EventRecord
from mnttrace.probes.ring import records
from tests.kernel.probes.no_fentry import refusing

OPERATIONS = """
mount --make-rshared /
mkdir -p a/x b; mount -t tmpfs one a; mkdir a/x a/y; mount -t tmpfs two a/x
unshare -m --propagation slave sh -ec 'touch ../ready; read -r go <../go' &
until [ -e ../ready ]; do sleep 0.02; done
mount --rbind a b; mount -t tmpfs three a/y; umount -l b; mount -t tmpfs four a/x; umount a/x
echo go >../go; wait
"""


@pytest.fixture(params=["fentry", "kprobes"])
def probes(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KernelProbes]:
    if request.param == "kprobes":
        monkeypatch.setattr(bpf, "_load", refusing(bpf._load))
    try:
        probes = KernelProbes(backend="kernel-hooks")
    except MissingPrerequisite as lacking:
        if os.environ.get("MNTTRACE_REQUIRE_HOOKS"):
            raise
        pytest.skip(f"{lacking}: {request.param} refused, or this kernel's functions are not known")
    if request.param == "fentry" and probes.uses_kprobes:
        probes.close()
        assert not os.environ.get("MNTTRACE_REQUIRE_HOOKS")
        pytest.skip("fentry is refused, and kprobes are taken instead")
    yield probes
    probes.close()


def test_what_is_not_there_cannot_be_traced() -> None:
    assert not traceable(0, at_exit=False)
    assert not traceable(1, at_exit=True)  # an integer, in any kernel's BTF
    assert not takes_kprobe("no_such_function", at_exit=False)


def test_what_a_kernel_has_is_among_what_its_btf_allows_for() -> None:
    known = facts.read()
    found = Features.tried(known)
    assert found in Features.possible(known)
    assert found.namespace_ids == known.namespaces_have_ids


def test_hooks_are_chosen_where_they_work() -> None:
    btf = Btf.load()
    number = btf.function_id("change_mnt_propagation")
    assert number is not None
    takes_programs = traceable(number, at_exit=False)
    takes_probes = takes_kprobe("change_mnt_propagation", at_exit=False)
    probes = KernelProbes()
    assert (probes.backend == "kernel-hooks") == (takes_programs or takes_probes)
    assert probes.uses_kprobes == (takes_probes and not takes_programs)
    probes.close()


def test_programs_that_would_never_run_are_not_relied_on() -> None:
    if _backend() != "kernel-hooks":
        if os.environ.get("MNTTRACE_REQUIRE_HOOKS"):
            pytest.fail("this kernel refuses hooks")
        pytest.skip("this kernel refuses hooks, so there is nothing to choose")
    switch = Path("/proc/sys/kernel/ftrace_enabled")
    before = switch.read_text()
    try:
        switch.write_text("0")
    except OSError as refused:
        if refused.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip("this kernel does not let it be switched off")  # 7.3
    try:
        assert _backend() != "kernel-hooks"
    finally:
        switch.write_text(before)
    assert _backend() == "kernel-hooks"


def _backend() -> str:
    probes = KernelProbes()
    probes.close()
    return probes.backend


def test_hooks_report_what_fanotify_reports(probes: KernelProbes, tmp_path) -> None:
    if not Btf.load().has("fanotify_mnt_event.mnt_id"):
        pytest.skip("this kernel's fanotify does not tell of mounts")
    group = MountGroup()
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "go")
    # It waits for its namespaces to be marked.
    script = f"read -r go\n{OPERATIONS}"
    doing = subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-ec", script],
        cwd=tmp_path / "in",
        stdin=subprocess.PIPE,
        text=True,
    )
    home = os.stat("/proc/self/ns/mnt").st_ino
    end = time.monotonic() + 60
    while os.stat(f"/proc/{doing.pid}/ns/mnt").st_ino == home and time.monotonic() < end:
        time.sleep(0.01)
    group.mark(f"/proc/{doing.pid}/ns/mnt")
    doing.communicate("go\n")
    assert doing.returncode == 0
    told = list(events(group.read()))
    group.close()
    found = [
        MountEvent(event.mask, event.tid, event.unique)
        for event in (
            EventRecord.unpack(raw) for raw in records(probes.ring.read()) if raw[0] == RECORD_EVENT
        )
    ]
    # Moved mounts are told of with both bits; clones are told of when they are made.
    detached = [event for event in told if event.mask == FAN_MNT_DETACH]
    attached = [event for event in told if event.mask == FAN_MNT_ATTACH]
    assert len(detached) >= 4
    assert len(attached) >= 5
    ours = {event.unique_id for event in detached}
    # Of one umount the kernel may tell in another order.
    told_within = [e for e in found if e.mask == FAN_MNT_DETACH and e.unique_id in ours]
    assert sorted(told_within) == sorted(detached)
    assert set(attached) <= set(found)
