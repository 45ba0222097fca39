# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The files of a folder, tar or zip, of which somebody else decided what is in it.

Nothing is written to disk, links are not followed, and each file is read up to a limit. Names in an
archive are text, never paths that are opened.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from mnttrace.errors import BadInput

LARGEST = 1 << 26  # bytes of one table: 300,000 mounts
_UNPACKED = 1 << 36  # bytes of all that a tar has in it
_FILES = 1 << 20  # of a zip
_HEADER = 1 << 20  # bytes of the headers of one file in a tar
_PIECE = 1 << 20
_MAGIC = 262  # bytes, up to the end of a tar's "ustar"
_ZIP = (b"PK\3\4", b"PK\5\6")
_COMPRESSED: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
# What readers of damaged and of forged archives raise.
DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # also NotImplementedError
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


class BundledFile(NamedTuple):
    """A regular file.

    Attributes:
        path: within the folder or archive, "/" between its parts.
        read: reads up to so many bytes from where the last read ended; raises DAMAGE.
    """

    path: str
    read: Callable[[int], bytes]


def is_archive(path: Path) -> bool:
    """Whether a file is a tar, compressed or not, or a zip, by its first bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_MAGIC)
    return head.startswith((*_COMPRESSED, *_ZIP)) or head[257:] == b"ustar"


def files_of(path: Path) -> Iterator[BundledFile]:
    """The regular files of a folder or archive, each to be read before the next one is asked for.

    Raises:
        BadInput: it cannot be read, is damaged, or has more in it than any bundle.
    """
    try:
        if path.is_dir():
            yield from _of_folder(path)
        elif zipfile.is_zipfile(path):
            yield from _of_zip(path)
        else:
            yield from _of_tar(path)
    except DAMAGE as error:
        raise BadInput(f"{path} cannot be read: {error}", "is it there, and whole?") from error


def _of_folder(folder: Path) -> Iterator[BundledFile]:
    def unreadable(error: OSError) -> None:
        if error.filename == str(folder):
            raise error

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        for name in sorted(names):
            file = Path(place, name)
            try:
                found = file.lstat()
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode):
                yield from _opened(file, file.relative_to(folder).as_posix())


def _opened(file: Path, path: str) -> Iterator[BundledFile]:
    try:
        stream = file.open("rb")
    except OSError as error:
        # Its reader is told, and goes on with the next file.
        yield BundledFile(path, _failing(error))
        return
    with stream:
        yield BundledFile(path, stream.read)


def _failing(error: OSError) -> Callable[[int], bytes]:
    def read(_: int) -> bytes:
        raise error

    return read


class _Unpacked:
    """The bytes of a tar, forwards only, of which at most `left` are read at once.

    tarfile itself would read names, extended headers and maps of sparse files of any size.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._at = 0
        self.left = 0

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise tarfile.ReadError("it has headers that are larger than any file's")
        data = self._stream.read(size)
        self.left -= len(data)
        self._at += len(data)
        return data

    def seek(self, to: int) -> None:
        if not self._at <= to <= _UNPACKED:
            raise tarfile.ReadError("it has more in it than any support bundle")
        while self._at < to:
            data = self._stream.read(min(to - self._at, _PIECE))
            if not data:
                return
            self._at += len(data)


def _of_tar(path: Path) -> Iterator[BundledFile]:
    with _decompressed(path) as stream:
        unpacked = _Unpacked(stream)
        unpacked.left = _HEADER
        # It has all that tarfile uses of a file.
        tar = tarfile.TarFile(fileobj=cast(IO[bytes], unpacked), errorlevel=1)
        while (member := tar.next()) is not None:
            if member.isreg() and (file := tar.extractfile(member)) is not None:
                unpacked.left = 2 * LARGEST
                yield BundledFile(member.name, file.read)
            tar.members.clear()  # type: ignore[attr-defined]  # it keeps them all
            unpacked.left = _HEADER


def _decompressed(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        head = file.read(_MAGIC)
    for magic, opened in _COMPRESSED.items():
        if head.startswith(magic):
            return cast(IO[bytes], opened(path))
    return path.open("rb")


def _of_zip(path: Path) -> Iterator[BundledFile]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist()[:_FILES]:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir() or kind not in (0, stat.S_IFREG):
                continue
            if member.flag_bits & 1:
                continue  # encrypted
            with archive.open(member) as stream:
                yield BundledFile(member.filename, stream.read)
