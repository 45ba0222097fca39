# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Folders and archives of strangers: what is read of them, and what is not."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from mnttrace.errors import BadInput
from mnttrace.recording import bundles
from mnttrace.recording.bundles import files_of, is_archive

FILES = {
    "proc/1/mountinfo": b"one\n",
    "var/log/x": b"\0\1",
    "proc/1/empty": b"",
    "big": b"x" * 2048,
}


def content(path: Path) -> dict[str, bytes]:
    return {file.path: file.read(1 << 20) for file in files_of(path)}


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "fifo")
    return folder


@pytest.mark.parametrize("kind", ["", "w", "w:gz", "w:xz", "w:bz2"])
def test_regular_files_are_read_and_links_are_not_followed(folder: Path, kind: str) -> None:
    path = folder
    if kind:
        path = folder.parent / "name.says.nothing"
        with tarfile.open(path, kind) as tar:
            tar.add(folder, ".")
        assert is_archive(path)
    found = {name.removeprefix("./"): data for name, data in content(path).items()}
    assert found == FILES


def test_a_zip(folder: Path) -> None:
    path = folder.parent / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert is_archive(path)
    assert content(path) == FILES


def test_a_file_that_is_not_read_whole_does_not_hide_the_next_one(folder: Path) -> None:
    path = folder.parent / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, ".")
    seen = [file.path for file in files_of(path) if file.read(3) is not None]
    assert len(seen) == len(FILES)


def test_names_are_text_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("../../outside", "/etc/passwd", "a/../../b"):
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"mine"))
    before = sorted(os.walk(tmp_path))
    assert set(content(path).values()) == {b"mine"}
    assert sorted(os.walk(tmp_path)) == before


def test_headers_of_any_size_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("x")
        info.type = tarfile.GNUTYPE_LONGNAME
        info.size = 1 << 24
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(BadInput, match="headers that are larger"):
        content(path)


def test_more_than_any_bundle_is_not_unpacked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(bundles, "_UNPACKED", 1 << 20)
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("x", "y"):
            info = tarfile.TarInfo(name)
            info.size = 1 << 21
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(BadInput, match="more in it than any support bundle"):
        content(path)


@pytest.mark.parametrize("kind", ["w:gz", "w:xz", "w:bz2", "zip"])
def test_damage_is_an_error_of_the_input(folder: Path, kind: str) -> None:
    path = folder.parent / "damaged"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x", os.urandom(4096))
        path.write_bytes(path.read_bytes()[:-30])
    else:
        with tarfile.open(path, kind) as tar:
            info = tarfile.TarInfo("x")
            info.size = 4096
            tar.addfile(info, io.BytesIO(os.urandom(4096)))
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BadInput, match="damaged cannot be read"):
        list(files_of(path))
