# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Finding mount namespaces, and leaving them as they were, on the real kernel."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnttrace.linux import entered_mountinfo, namespaces
from mnttrace.linux.namespaces import mount_namespaces
from tests.kernel.linux.children import (
    KEEP_BIND,
    KEEP_DESCRIPTOR,
    child,
    descriptors,
    eventually,
    is_dead,
)


@pytest.fixture(autouse=True)
def _no_descriptor_stays_open() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() == before


def test_a_process_in_a_namespace_of_its_own_is_found() -> None:
    with child("unshare(); ready(inum())") as (pid, said):
        found = mount_namespaces()
        namespace = found.namespaces[int(said[0])]
        assert namespace.pids == [pid]
        assert namespace.kept_by == "process"
        assert os.stat(namespace.path).st_ino == namespace.inum
        own = found.namespaces[os.stat("/proc/self/ns/mnt").st_ino]
        assert os.getpid() in own.pids
        assert pid not in own.pids


def test_every_process_is_in_one_namespace_or_unreadable() -> None:
    with child("unshare(); ready(inum())"):
        found = mount_namespaces()
        seen = [pid for namespace in found.namespaces.values() for pid in namespace.pids]
        assert len(seen) == len(set(seen))
        assert not found.unreadable & set(seen)


def test_processes_that_may_not_be_looked_at_are_counted() -> None:
    code = """
from mnttrace.linux.namespaces import kernel_namespaces, mount_namespaces
os.setgid(65534); os.setuid(65534)
found = mount_namespaces(threads=True, descriptors=True, binds=True, kernel=True)
own = found.namespaces.get(inum())
listed = set(kernel_namespaces()) == {inum()}
ready(os.getppid() in found.unreadable, own and own.kept_by, listed)
"""
    with child(code) as (_, said):
        assert said == ["True", "process", "True"]


THREAD = """
def alone():
    unshare(0x20200)  # CLONE_NEWNS|CLONE_FS
    print(inum(), threading.get_native_id(), flush=True)
    entered.set()
    threading.Event().wait()
entered = threading.Event()
threading.Thread(target=alone, daemon=True).start()
entered.wait()
"""


def test_a_thread_alone_in_a_namespace_is_found_on_request() -> None:
    with child(THREAD + "sys.stdin.readline()") as (pid, said):
        inum, tid = map(int, said)
        assert inum not in mount_namespaces().namespaces
        namespace = mount_namespaces(threads=True).namespaces[inum]
        path = f"/proc/{pid}/task/{tid}/ns/mnt"
        assert (namespace.kept_by, namespace.path, namespace.pids) == ("thread", path, [])
        assert os.stat(path).st_ino == inum


def test_the_threads_of_a_dead_main_thread_are_found_unasked() -> None:
    # pthread_exit ends the main thread alone; the process stays, a zombie with a living thread.
    with child(THREAD + "libc.syscall({'x86_64': 60}.get(os.uname().machine, 93), 0)") as (
        pid,
        said,
    ):
        assert eventually(lambda: "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])
        namespace = mount_namespaces().namespaces[int(said[0])]
        assert namespace.kept_by == "thread"


def test_a_namespace_kept_by_a_descriptor_alone() -> None:
    with child(KEEP_DESCRIPTOR + "ready(there, kept)") as (pid, said):
        inum = int(said[0])
        assert inum not in mount_namespaces(threads=True, binds=True).namespaces
        namespace = mount_namespaces(descriptors=True).namespaces[inum]
        path = f"/proc/{pid}/fd/{said[1]}"
        assert namespace.others == [namespaces.Holder("descriptor", pid, path)]
        assert namespace.kept_by == "descriptor"
        identity = namespaces.namespace_id(namespace.path)
        assert not is_dead(identity)
        assert entered_mountinfo.read(namespace.path).count("\n") > 1
    assert eventually(lambda: is_dead(identity))


def test_a_namespace_kept_by_a_bind_mount_alone(tmp_path: Path) -> None:
    with child(KEEP_BIND + "ready(there)", tmp_path) as (pid, said):
        inum = int(said[0])
        assert inum not in mount_namespaces(threads=True, descriptors=True).namespaces
        namespace = mount_namespaces(binds=True).namespaces[inum]
        path = f"/proc/{pid}/root{tmp_path.resolve()}/kept here"
        assert namespace.others == [namespaces.Holder("bind", pid, path)]
        identity = namespaces.namespace_id(path)
        assert entered_mountinfo.read(path).count("\n") > 1
        assert not is_dead(identity)
    assert eventually(lambda: is_dead(identity))


def test_the_path_of_a_covered_bind_mount_is_not_told(tmp_path: Path) -> None:
    cover = 'mount(b"/dev/null", place.encode(), flags=0x1000)\nready(there)'
    with child(KEEP_BIND + cover, tmp_path) as (pid, said):
        namespace = mount_namespaces(binds=True).namespaces[int(said[0])]
        assert namespace.others == [namespaces.Holder("bind", pid, "")]
        assert (namespace.kept_by, namespace.path) == ("bind", "")


def test_the_kernel_lists_what_proc_does_not_show() -> None:
    # An open mountinfo of a dead process: its descriptor is no link to a namespace.
    code = """
gate, done = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    unshare()
    os.close(gate[1])
    os.write(done[1], b"x")
    os.read(gate[0], 1)  # or the end of file, when the parent is killed
    os._exit(0)
os.read(done[0], 1)
there = inum(f"/proc/{pid}/ns/mnt")
kept = open(f"/proc/{pid}/mountinfo")
os.write(gate[1], b"x")
os.waitpid(pid, 0)
ready(there)
"""
    with child(code) as (_, said):
        inum = int(said[0])
        everywhere = mount_namespaces(threads=True, descriptors=True, binds=True)
        assert inum not in everywhere.namespaces
        namespace = mount_namespaces(kernel=True).namespaces[inum]
        assert (namespace.kept_by, namespace.path) == ("kernel", "")
        assert namespace.mounts is not None
        assert namespace.mounts > 1
        identity = namespace.namespace_id
        assert not is_dead(identity)
    assert eventually(lambda: is_dead(identity))


def test_the_kernels_list_has_every_namespace_of_a_process_with_its_id() -> None:
    with child("unshare(); ready(inum())") as (_, said):
        found = mount_namespaces(kernel=True).namespaces
        assert int(said[0]) in found
        for namespace in found.values():
            if namespace.kept_by == "process" and namespace.pids != [os.getpid()]:
                with contextlib.suppress(FileNotFoundError):
                    assert namespaces.namespace_id(namespace.path) == namespace.namespace_id


def test_looking_keeps_no_namespace_alive() -> None:
    with child("unshare(); ready(inum())") as (_, said):
        found = mount_namespaces(
            threads=True, descriptors=True, binds=True, kernel=True
        ).namespaces[int(said[0])]
        identity = namespaces.namespace_id(found.path)
        assert identity == found.namespace_id
        namespaces.owner_user_namespace(found.path)
        entered_mountinfo.read(found.path)
    assert eventually(lambda: is_dead(identity))


def test_the_owner_is_the_user_namespace_that_it_was_made_in() -> None:
    with child("check(libc.unshare(0x10020000)); ready(inum())") as (pid, _):
        owner = namespaces.owner_user_namespace(f"/proc/{pid}/ns/mnt")
        assert owner == os.stat(f"/proc/{pid}/ns/user").st_ino
        assert owner != os.stat("/proc/self/ns/user").st_ino
    own = namespaces.owner_user_namespace("/proc/self/ns/mnt")
    assert own == os.stat("/proc/self/ns/user").st_ino


def test_the_owner_of_a_foreign_namespace_is_not_told() -> None:
    code = """
from mnttrace.linux.namespaces import owner_user_namespace
foreign = os.open("/proc/self/ns/mnt", os.O_RDONLY)
check(libc.unshare(0x10020000))  # CLONE_NEWUSER|CLONE_NEWNS
own = owner_user_namespace("/proc/self/ns/mnt") == inum("/proc/self/ns/user")
ready(owner_user_namespace(f"/proc/self/fd/{foreign}"), own)
"""
    with child(code) as (_, said):
        assert said == ["None", "True"]


def test_a_path_to_something_else_has_no_id(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert namespaces.namespace_id(str(tmp_path / "file")) is None
    assert namespaces.namespace_id("/proc/self/ns/net") is None
    assert namespaces.owner_user_namespace(str(tmp_path / "file")) is None
    with pytest.raises(FileNotFoundError):
        namespaces.namespace_id(str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError):
        entered_mountinfo.read(str(tmp_path / "nothing"))
    with pytest.raises(OSError, match="Invalid argument"):
        entered_mountinfo.read(str(tmp_path / "file"))


def test_reading_a_foreign_table_is_reading_it_from_inside(tmp_path: Path) -> None:
    code = """
unshare()
mount(b"none", os.getcwdb(), b"tmpfs")
ready(inum())
"""
    with child(code, tmp_path) as (pid, _):
        inside = Path(f"/proc/{pid}/mountinfo").read_text()
        before = os.stat("/proc/self/ns/mnt").st_ino, os.getcwd()
        assert entered_mountinfo.read(f"/proc/{pid}/ns/mnt") == inside
        assert f" {tmp_path} " in inside
        assert (os.stat("/proc/self/ns/mnt").st_ino, os.getcwd()) == before


def test_the_process_that_sees_most_represents_its_namespace(tmp_path: Path) -> None:
    code = """
unshare()
for depth in ("a", "a/b"):
    os.mkdir(depth)
pids = []
done = os.pipe()
for root in ("a/b", "a", "/"):
    pid = os.fork()
    if pid == 0:
        os.chroot(root)
        os.write(done[1], b"x")
        sys.stdin.readline()
        os._exit(0)
    os.read(done[0], 1)
    pids.append(pid)
ready(*pids)
"""
    with child(code, tmp_path) as (_, said):
        deep, shallow, whole = map(int, said)
        assert namespaces.representative([deep, shallow, whole]) == whole
        assert namespaces.representative([deep, shallow]) == shallow
        assert namespaces.representative([deep]) == deep
    assert eventually(lambda: not Path(f"/proc/{whole}").exists())
    assert namespaces.representative([whole]) == whole  # gone: any is as good
    assert namespaces.representative([]) is None
