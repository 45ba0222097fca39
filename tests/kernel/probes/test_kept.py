# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Programs that are kept between starts, or were compiled elsewhere, in the real kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mnttrace.analysis.recording import Recording
from mnttrace.probes.backends import BACKENDS
from mnttrace.probes.compiled import decode, encode
from mnttrace.probes.supply import write_file
from tests.unit.commands.complaints import one_line

NOBODY = 65534
CACHE = "cache"
# What a recorder has in its memory is written down while it records.
SCRIPT = 'grep -oE "lib(LLVM|clang|bcc)" /proc/$PPID/maps | sort -u >libraries; mount -t tmpfs it .'


@pytest.fixture
def start(in_namespace: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path):
    """`start(options="", before="", **env)` records a mount; what was said of programs."""

    def run(options: str = "", before: str = "", **env: str) -> list[str]:
        done = in_namespace(
            f"{before}\n$MNTTRACE record -v --force {options} -- sh -c '{SCRIPT}'",
            **{"MNTTRACE_CACHE": str(tmp_path / CACHE)} | env,
        )
        run = Recording(tmp_path / "run.mnttrace")
        (made,) = run.effects[run.effects["source"] == "it"].to_dict("records")
        assert made["action"] == "attach"
        assert run.operations.set_index("seq")["syscall"][made["seq"]] in ("mount", "fsmount")
        assert (tmp_path / "libraries").read_text() == ""
        said = [line.removeprefix("mnttrace: ") for line in done.stderr.splitlines()]
        return said[: said.index("recording")]

    return run


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of compiled programs for this kernel."""
    file = tmp_path_factory.mktemp("given") / "programs"
    write_file(file)
    return file


def without_bcc(folder: Path) -> str:
    """A PYTHONPATH with which bcc cannot be imported."""
    (folder / "none").mkdir()
    (folder / "none/bcc.py").write_text("raise ImportError('none here')")
    return os.pathsep.join([str(folder / "none"), os.environ.get("PYTHONPATH", "")])


def kept(folder: Path) -> Path:
    (file,) = (folder / CACHE).iterdir()
    return file


def test_the_second_start_compiles_nothing(start, tmp_path: Path) -> None:
    first = start()
    assert first == [
        "compiling the BPF programs",
        f"BPF programs: compiled, and kept in {tmp_path / CACHE}",
    ]
    assert start() == [f"BPF programs: kept in {tmp_path / CACHE}"]


def test_each_backend_is_kept(start, tmp_path: Path) -> None:
    start()
    found = Recording(tmp_path / "run.mnttrace").meta["backend"]
    others = BACKENDS[BACKENDS.index(found) + 1 :]
    for backend in others:
        assert start(f"--backend {backend}")[0] == "compiling the BPF programs"
        assert Recording(tmp_path / "run.mnttrace").meta["backend"] == backend
    for backend in (found, *others):
        assert start(f"--backend {backend}") == [f"BPF programs: kept in {tmp_path / CACHE}"]
        assert Recording(tmp_path / "run.mnttrace").meta["backend"] == backend
    assert len(decode(kept(tmp_path).read_bytes()).sets) == 1 + len(others)


def changed(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def rewritten(**facts: object) -> Callable[[Path], None]:
    def act(file: Path) -> None:
        bundle = decode(file.read_bytes())
        other = msgspec.structs.replace(bundle.facts, **facts)
        file.write_bytes(encode(msgspec.structs.replace(bundle, facts=other)))

    return act


def compiled_by_another(file: Path) -> None:
    bundle = decode(file.read_bytes())
    stamps = [msgspec.structs.replace(stamp, changed=1) for stamp in bundle.compiler]
    file.write_bytes(encode(msgspec.structs.replace(bundle, compiler=stamps)))


def without_the_end_of(name: str) -> Callable[[Path], None]:
    """The kernel refuses a program whose last instruction is missing."""

    def act(file: Path) -> None:
        bundle = decode(file.read_bytes())
        programs = [
            msgspec.structs.replace(one, code=one.code[:-8]) if one.name == name else one
            for one in bundle.sets[0].programs
        ]
        sets = [msgspec.structs.replace(bundle.sets[0], programs=programs)]
        file.write_bytes(encode(msgspec.structs.replace(bundle, sets=sets)))

    return act


def test_what_is_wrong_with_kept_programs_is_said_and_they_are_compiled(
    start, tmp_path: Path
) -> None:
    start()
    whole = kept(tmp_path).read_bytes()
    for harm, word in (
        (changed, "changed"),
        (cut, "not whole"),
        (lambda file: os.truncate(file, 0), "no compiled programs"),
        (lambda file: os.chown(file, NOBODY, 0), f"belongs to user {NOBODY}"),
        (lambda file: file.chmod(0o644), "open to others"),
        (rewritten(release="1.2.3"), "for Linux 1.2.3"),
        (rewritten(btf="00"), "another build"),
        (compiled_by_another, "another bcc"),
        (without_the_end_of("finish"), "the kernel refuses the BPF program finish"),
    ):
        harm(kept(tmp_path))
        said = start()
        assert word in said[0], (word, said)
        assert said[1:] == [
            "compiling the BPF programs",
            f"BPF programs: compiled, and kept in {tmp_path / CACHE}",
        ]
        assert kept(tmp_path).read_bytes() == whole


def test_what_is_refused_late_is_compiled_at_the_next_start(
    start, tmp_path: Path, mnttrace
) -> None:
    start()
    if Recording(tmp_path / "run.mnttrace").meta["backend"] == "syscalls":
        pytest.skip("there is no such program here")
    without_the_end_of("survey")(kept(tmp_path))
    done = mnttrace("record", "--force", "--", "true", MNTTRACE_CACHE=str(tmp_path / CACHE))
    if done.returncode:
        one_line(done, 7, "the kernel refuses the BPF program survey")
        assert start()[0] == "compiling the BPF programs"
    else:  # it was refused before the last of those that are needed at once was loaded
        assert start()[0].startswith("BPF programs: kept in ")


def test_a_store_of_somebody_else_is_left_alone(start, tmp_path: Path) -> None:
    (tmp_path / CACHE).mkdir()
    os.chown(tmp_path / CACHE, NOBODY, 0)
    said = start()
    assert [f"belongs to user {NOBODY}" in line for line in said] == [True, False, True, False]
    assert said[-1] == "BPF programs: compiled"
    assert not [*(tmp_path / CACHE).iterdir()]


def test_where_nothing_can_be_kept_they_are_compiled(start, tmp_path: Path) -> None:
    before = f"mkdir {CACHE}; mount -t tmpfs -o ro,mode=700 ro {CACHE}"
    assert "Read-only" in start(before=before)[1]
    shutil.rmtree(tmp_path / CACHE)
    # It is not made in a folder that is not there.
    assert "No such file" in start(MNTTRACE_CACHE=str(tmp_path / "none/here"))[1]


def test_many_that_start_at_once(tmp_path: Path) -> None:
    code = "from mnttrace.probes.kernel import KernelProbes as K; K().close()"
    environment = os.environ | {"MNTTRACE_CACHE": str(tmp_path / CACHE)}
    for _ in range(2):
        starts = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in "1234"]
        assert [one.wait() for one in starts] == [0] * 4
        assert len(decode(kept(tmp_path).read_bytes()).sets) == 1


def test_programs_from_elsewhere_need_no_compiler(start, given: Path, tmp_path: Path) -> None:
    path = without_bcc(tmp_path)
    start()
    best = Recording(tmp_path / "run.mnttrace").meta["backend"]
    for backend in ("", *BACKENDS[BACKENDS.index(best) :]):
        options = f"--programs {given} " + (f"--backend {backend}" if backend else "")
        assert start(options, PYTHONPATH=path)[-1] == f"BPF programs: from {given}"
        assert Recording(tmp_path / "run.mnttrace").meta["backend"] == backend or best


def test_a_file_is_the_same_for_the_same_kernel(given: Path, tmp_path: Path, mnttrace) -> None:
    shutil.copy("/sys/kernel/btf/vmlinux", tmp_path / "btf")
    release = os.uname().release
    done = mnttrace("compile", "--btf", "btf", "--release", release, "-o", "again", timeout=200)
    assert done.returncode == 0, done.stderr
    assert f"programs for Linux {release}" in done.stderr
    assert (tmp_path / "again").read_bytes() == given.read_bytes()


@pytest.mark.parametrize(
    ("harm", "word"),
    [
        (lambda file: os.chown(file, NOBODY, 0), f"belongs to user {NOBODY}"),
        (lambda file: file.chmod(0o666), "open to others"),
        (changed, "changed"),
        (cut, "not whole"),
        (lambda file: file.write_text("hello\n"), "no compiled programs"),
        (rewritten(release="1.2.3"), "for Linux 1.2.3"),
        (rewritten(machine="s390x"), "on s390x"),
        (rewritten(btf="00"), "another build"),
        (Path.unlink, "No such file"),
    ],
)
def test_a_file_that_is_not_to_be_loaded(
    harm: Callable[[Path], None], word: str, given: Path, tmp_path: Path, mnttrace
) -> None:
    shutil.copy(given, tmp_path / "programs")
    harm(tmp_path / "programs")
    done = mnttrace("record", "--programs", "programs", "--", "true")
    one_line(done, 2, "programs", word)
    assert not (tmp_path / "run.mnttrace").exists()


def test_mount_tables_alone_need_no_programs(given: Path, mnttrace) -> None:
    done = mnttrace("record", "--backend", "none", "--programs", given, "--", "true")
    one_line(done, 2, "--backend none", "--programs")


def test_half_of_what_another_kernel_is_known_by(mnttrace) -> None:
    one_line(mnttrace("compile", "--release", "6.1.0"), 2, "--btf")
    one_line(mnttrace("compile", "--btf", "none", "--release", "6.1.0"), 4, "no BTF at none")


def test_doctor_says_what_is_in_use(given: Path, tmp_path: Path, mnttrace) -> None:
    path = without_bcc(tmp_path)
    done = mnttrace("doctor", "--programs", given, PYTHONPATH=path)
    assert done.returncode == 0
    assert f"from {given}" in done.stdout
    assert "less    bcc" in done.stdout
    cache = str(tmp_path / CACHE)
    assert f"compiled, and kept in {cache}" in mnttrace("doctor", MNTTRACE_CACHE=cache).stdout
    assert f"; kept in {cache}" in mnttrace("doctor", MNTTRACE_CACHE=cache).stdout
