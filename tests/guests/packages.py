# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""QEMU, stock kernels and whole trees, fetched from Debian's archive by an apt of our own and only
unpacked.

The machine's own packages and lists stay as they are. What was fetched is kept in a folder, from
which a package is taken again as long as the archive has no newer version of it.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import time
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DAY = 86400  # seconds
SUITES = ("bullseye", "bookworm", "bookworm-updates", "bookworm-backports", "trixie-backports")


class Archive:
    """Debian's archive.

    Args:
        folder: where packages are kept; one for each choice of suites and architecture.
        suites: which of its parts.
        architecture: as Debian calls it.
    """

    def __init__(
        self, folder: Path, suites: tuple[str, ...] = SUITES, architecture: str = "amd64"
    ) -> None:
        self._folder = folder
        self._architecture = architecture
        self._suites = suites
        for name in ("lists/partial", "archives/partial", "unpacked"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        lines = [f"deb [signed-by={KEYRING}] {MIRROR} {suite} main" for suite in suites]
        (folder / "sources.list").write_text("\n".join(lines) + "\n")
        updated = folder / "updated"
        if not updated.exists() or time.time() - updated.stat().st_mtime > DAY:
            self._apt("apt-get", "-qq", "update")
            updated.touch()

    def qemu(self, package: str) -> Path:
        """A folder with QEMU, and with what it needs that this machine has not."""
        # bookworm's own QEMU crashes guests at random; it is the last one that has virtiofsd.
        new = self._with_what_it_needs(package, "bookworm-backports")
        return self._unpacked([*new, self._download("qemu-system-common", "bookworm")], package)

    def kernel(self, version: str) -> Path:
        """A folder with the newest stock kernel of a version such as "6.12", and its modules.

        Raises:
            LookupError: the archive has none.
        """
        # From 6.19 on what is called image only depends on what is called binary.
        flavour = f"cloud-{self._architecture}"
        pattern = re.compile(rf"linux-(binary|image)-{re.escape(version)}[.~]\S*-{flavour}")
        found = [name for name in self._names() if pattern.fullmatch(name)]
        for kind in ("linux-binary", "linux-image"):
            packages = [self._version(name) for name in found if name.startswith(kind)]
            if packages:
                _, name = max(packages)
                # Beside that are its modules, where they are not in it.
                parts = {name, name.replace(kind, "linux-modules")} & {*self._names()}
                return self._unpacked(list(map(self._download, sorted(parts))), name)
        raise LookupError(f"no cloud kernel {version} in {', '.join(self._suites)}")

    def tree(self, *names: str) -> Path:
        """A folder in which these packages are, with all that they need, to be used as a root.

        They are unpacked and no more: none of their scripts has run.
        """
        nothing = self._folder / "nothing"
        nothing.touch()
        words = ["install", "--no-install-recommends", "-qq", "-y", *names]
        options = ["-o", f"Dir::State::status={nothing}"]
        planned = self._apt("apt-get", *options, *words, "--simulate")
        self._apt("apt-get", *options, *words, "--download-only")
        return self._unpacked([self._file(*line) for line in _planned(planned)], "tree")

    @functools.cache  # noqa: B019  # as long as the process
    def _names(self) -> list[str]:
        return self._apt("apt-cache", "pkgnames", "linux-").split()

    def _version(self, name: str) -> tuple[list[int], str]:
        """What sorts kernels of one version by age."""
        shown = self._apt("apt-cache", "show", "--no-all-versions", name)
        version = re.search(r"^Version: (.+)$", shown, re.MULTILINE)
        return [int(n) for n in re.findall(r"\d+", version[1] if version else "")], name

    def _with_what_it_needs(self, name: str, suite: str) -> list[Path]:
        """A package, and those that it needs and this machine has not, or not in that version."""
        words = [
            "install",
            "--reinstall",
            "--no-install-recommends",
            "-qq",
            "-y",
            "-t",
            suite,
            name,
        ]
        planned = self._apt("apt-get", *words, "--simulate")
        self._apt("apt-get", *words, "--download-only")
        return [self._file(*line) for line in _planned(planned)]

    def _file(self, name: str, version: str) -> Path:
        escaped = version.replace(":", "%3a")
        [file] = (self._folder / "archives").glob(f"{name}_{escaped}_*.deb")
        return file

    def _download(self, name: str, suite: str | None = None) -> Path:
        wanted = f"{name}/{suite}" if suite else name
        [line] = self._apt("apt-get", "download", "--print-uris", "-qq", wanted).splitlines()
        file = self._folder / "archives" / line.split()[1]
        if not file.exists():
            self._apt("apt-get", "download", "-qq", wanted, cwd=file.parent)
        return file

    def _unpacked(self, packages: list[Path], name: str) -> Path:
        """These packages as one tree, in a folder of this name."""
        place = self._folder / "unpacked" / name
        mark = place / "packages"
        told = "\n".join(file.name for file in packages)
        if not mark.exists() or mark.read_text() != told:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for file in packages:
                subprocess.run(["dpkg-deb", "-x", file, place], check=True)
            mark.write_text(told)
        return place

    def _apt(self, *command: str, cwd: Path | None = None) -> str:
        settings = {
            "Dir::Etc::sourcelist": self._folder / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": self._folder / "lists",
            "Dir::Cache::archives": self._folder / "archives",
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "APT::Architecture": self._architecture,
            "APT::Architectures": self._architecture,
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        done = subprocess.run(
            [command[0], *options, *command[1:]],
            cwd=cwd,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout


def _planned(said: str) -> list[tuple[str, str]]:
    """Names and versions of what apt-get says that it would install."""
    return re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+) ", said, re.MULTILINE)
