# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What others can have written is not read; what is written is there as a whole."""

from __future__ import annotations

import os
import resource
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mnttrace.probes import store
from mnttrace.probes.store import Store, Untrusted, read_trusted

NOBODY = 65534


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    made = Store(tmp_path / "cache")
    made.write("one", b"first")
    return made


def test_what_is_written_is_read_again(kept: Store) -> None:
    assert kept.read("one") == b"first"
    kept.write("one", b"second")
    assert kept.read("one") == b"second"
    assert kept.read("two") is None
    assert os.listdir(kept.directory) == ["one"]


def test_nobody_else_may_look(kept: Store) -> None:
    assert stat.S_IMODE(kept.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((kept.directory / "one").stat().st_mode) == 0o600


def test_what_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    assert Store(tmp_path / "cache").read("one") is None
    assert not (tmp_path / "cache").exists()


def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Store().directory == Path(os.environ.get("MNTTRACE_CACHE", "/var/cache/mnttrace"))
    monkeypatch.setenv("MNTTRACE_CACHE", str(tmp_path))
    assert Store().directory == tmp_path


@pytest.mark.parametrize("mode", [0o755, 0o701, 0o770])
def test_a_directory_that_is_open_to_others(kept: Store, mode: int) -> None:
    kept.directory.chmod(mode)
    with pytest.raises(Untrusted, match="open to others"):
        kept.read("one")
    with pytest.raises(Untrusted, match="open to others"):
        kept.write("one", b"")


@pytest.mark.parametrize("mode", [0o644, 0o602, 0o660])
def test_a_file_that_is_open_to_others(kept: Store, mode: int) -> None:
    (kept.directory / "one").chmod(mode)
    with pytest.raises(Untrusted, match="open to others"):
        kept.read("one")
    kept.write("one", b"own")
    assert kept.read("one") == b"own"


def test_what_belongs_to_somebody_else(kept: Store) -> None:
    if os.geteuid() != 0:
        with pytest.raises(Untrusted, match="belongs to user 0"):
            Store(Path("/etc")).read("passwd")
        return
    os.chown(kept.directory / "one", NOBODY, 0)
    with pytest.raises(Untrusted, match=f"belongs to user {NOBODY}"):
        kept.read("one")
    os.chown(kept.directory, NOBODY, 0)
    for act in (lambda: kept.read("one"), lambda: kept.write("one", b"")):
        with pytest.raises(Untrusted, match=f"cache belongs to user {NOBODY}"):
            act()


def test_links_are_not_followed(kept: Store, tmp_path: Path) -> None:
    (kept.directory / "two").symlink_to("one")
    with pytest.raises(OSError, match="symbolic links"):
        kept.read("two")
    (tmp_path / "link").symlink_to(kept.directory)
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        Store(tmp_path / "link").read("one")


def test_what_is_no_file(kept: Store) -> None:
    os.mkfifo(kept.directory / "two", 0o600)
    with pytest.raises(Untrusted, match="no file"):
        kept.read("two")


def test_the_oldest_files_go(kept: Store) -> None:
    for number in range(store._FILES):
        (kept.directory / f".unfinished{number}").touch(0o600)
        os.utime(kept.directory / f".unfinished{number}", ns=(number, number))
    kept.write("two", b"")
    assert len(os.listdir(kept.directory)) == store._FILES
    assert not (kept.directory / ".unfinished1").exists()
    os.utime(kept.directory / "one", ns=(2, 2))
    assert kept.read("one") == b"first"  # which makes it one of the newest
    kept.write("three", b"")
    assert {"one", "two", "three"} < set(os.listdir(kept.directory))


def test_who_reads_meanwhile_has_one_or_the_other(kept: Store) -> None:
    texts = [bytes([number]) * 100_000 for number in range(8)]
    kept.write("one", texts[0])
    with ThreadPoolExecutor(8) as pool:
        written = [pool.submit(kept.write, "one", text) for text in texts * 5]
        read = [pool.submit(kept.read, "one") for _ in range(100)]
        for done in written:
            done.result()
        assert {done.result() for done in read} <= set(texts)
    assert os.listdir(kept.directory) == ["one"]


def test_a_full_disk_leaves_what_was_there(kept: Store) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="large"):
            kept.write("one", b"x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(kept.directory) == ["one"]
    assert kept.read("one") == b"first"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_a_given_file_may_be_read_by_others(tmp_path: Path, mode: int) -> None:
    (tmp_path / "file").write_bytes(b"given")
    (tmp_path / "file").chmod(mode)
    (tmp_path / "link").symlink_to("file")
    assert read_trusted(tmp_path / "link") == b"given"


@pytest.mark.parametrize("mode", [0o622, 0o664, 0o602])
def test_a_given_file_may_not_be_written_by_others(tmp_path: Path, mode: int) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(mode)
    with pytest.raises(Untrusted, match="open to others"):
        read_trusted(tmp_path / "file")
