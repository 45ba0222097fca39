# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Files that nobody but their owner can have written, since what is in them goes into the kernel.

The directory is this user's own, and may be read by nobody else; so are its files. A file is
written under another name first, so that there is the old one, or the new one, and never a part.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

_DEFAULT = "/var/cache/mnttrace"
_VARIABLE = "MNTTRACE_CACHE"
_FILES = 32  # how many there can be; a file has some 50 to 500 KB
_LARGEST = 1 << 24  # bytes of a file that is read
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Untrusted(Exception):
    """Somebody else can have written it."""


class Store:
    """A directory of such files.

    Args:
        directory: where; None: as the environment says, else in /var/cache.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or Path(os.environ.get(_VARIABLE) or _DEFAULT)

    def read(self, name: str) -> bytes | None:
        """What is in a file, None if there is none.

        Raises:
            Untrusted: the directory, or the file, is somebody else's, or open to others.
            OSError: it cannot be read.
        """
        try:
            directory = self._open()
        except FileNotFoundError:
            return None
        try:
            file = os.open(name, _FILE, dir_fd=directory)
        except FileNotFoundError:
            return None
        finally:
            os.close(directory)
        with os.fdopen(file, "rb") as stream:
            _check(file, f"{self.directory / name}", 0o077)
            with suppress(OSError):
                os.utime(file)  # the oldest go first
            return stream.read(_LARGEST)

    def write(self, name: str, data: bytes) -> None:
        """Make a file, or replace it. The oldest files go, if there are too many.

        Raises:
            Untrusted: the directory is somebody else's, or open to others.
            OSError: it cannot be written.
        """
        with suppress(FileExistsError):
            os.mkdir(self.directory, 0o700)
        directory = self._open()
        try:
            _replace(name, data, directory)
            _bound(directory, name)
        finally:
            os.close(directory)

    def remove(self, name: str) -> None:
        """Remove a file, if that can be done."""
        with suppress(OSError):
            (self.directory / name).unlink()

    def _open(self) -> int:
        directory = os.open(self.directory, _DIRECTORY)
        try:
            _check(directory, str(self.directory), 0o077)
        except Untrusted:
            os.close(directory)
            raise
        return directory


def read_trusted(path: Path) -> bytes:
    """What is in a file that root, or this user, has written and nobody else can change.

    Raises:
        Untrusted: somebody else can have written it.
        OSError: it cannot be read.
    """
    with os.fdopen(os.open(path, _FILE & ~os.O_NOFOLLOW), "rb") as stream:
        _check(stream.fileno(), str(path), 0o022)
        return stream.read(_LARGEST)


def _check(descriptor: int, path: str, closed: int) -> None:
    """See whose something is, and that the bits of its mode are not set that open it to others."""
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid():
        raise Untrusted(f"{path} belongs to user {found.st_uid}")
    if found.st_mode & closed:
        raise Untrusted(f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):o})")
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise Untrusted(f"{path} is no file")


def _replace(name: str, data: bytes, directory: int) -> None:
    new = f".{name}.{token_hex(8)}"
    file = os.open(
        new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory
    )
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
        os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            os.unlink(new, dir_fd=directory)
        raise


def _bound(directory: int, latest: str) -> None:
    """Remove the files that were not used for the longest time, unfinished ones among them."""
    found = []
    for name in os.listdir(directory):
        with suppress(FileNotFoundError):
            found.append((os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns, name))
    for _, name in sorted(found, reverse=True)[_FILES:]:
        if name != latest:
            with suppress(OSError):
                os.unlink(name, dir_fd=directory)
