# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Where compiled programs come from: they are kept from an earlier start, or were made elsewhere
and given as a file, or are compiled now.

They depend on the kernel (its release and its BTF) and the machine, on the sources and on what
chooses definitions by BTF, and on bcc and LLVM. All that is in the name under which they are kept,
but for the compiler, which their file names.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import msgspec

from mnttrace.errors import BadInput, OutputError
from mnttrace.linux.btf import KERNEL_BTF
from mnttrace.probes import facts
from mnttrace.probes.backends import Candidate, Features, candidates
from mnttrace.probes.compile import compile_programs, is_current
from mnttrace.probes.compiled import Bundle, Damaged, Facts, ProgramSet, decode, encode
from mnttrace.probes.sources import bpf_directory
from mnttrace.probes.store import Store, Untrusted, read_trusted

_SETS = 16  # of a kernel that are kept: backends with features that tests leave out

Say = Callable[[str], None]


class Supply(Protocol):
    """Where programs come from.

    Attributes:
        facts: of this kernel.
        origin: where the last set came from, in words.
        compiles: whether it can compile what there is not.
    """

    facts: Facts
    origin: str
    compiles: bool

    def find(self, definitions: dict[str, int]) -> ProgramSet | None:
        """What was compiled before with these definitions."""

    def compile(self, definitions: dict[str, int]) -> ProgramSet:
        """Compile with these definitions.

        Raises:
            MissingPrerequisite: no bcc.
            CaptureError: they cannot be compiled.
        """

    def forget(self) -> None:
        """Keep no more what the kernel has refused."""


class Kept:
    """Programs that are kept on this machine; what there is not is compiled, and kept then.

    Args:
        say: told what is wrong, and what is compiled.

    Attributes: as of :class:`Supply`.

    Raises:
        MissingPrerequisite: no BTF.
        BadInput: it is damaged.
    """

    compiles = True

    def __init__(self, say: Say) -> None:
        self._say = say
        self._store = Store()
        self._btf = facts.digest()
        self._source = source()
        self._bundle = self._read(say)
        self.facts = self._bundle.facts if self._bundle else facts.read()
        self.origin = ""

    def find(self, definitions: dict[str, int]) -> ProgramSet | None:
        """As of :class:`Supply`."""
        found = self._bundle.find(definitions) if self._bundle else None
        if found:
            self.origin = f"kept in {self._store.directory}"
        return found

    def compile(self, definitions: dict[str, int]) -> ProgramSet:
        """As of :class:`Supply`."""
        self._say("compiling the BPF programs")
        programs, compiler = compile_programs(definitions)
        self.origin = "compiled"
        # Others may have kept some meanwhile.
        before = self._read(lambda _: None)
        sets = before.sets if before and before.compiler == compiler else []
        others = [one for one in sets if one.definitions != definitions]
        bundle = Bundle(self._source, self.facts, compiler, [programs, *others[: _SETS - 1]])
        try:
            self._store.write(self._name, encode(bundle))
        except (OSError, Untrusted) as error:
            self._say(f"the programs cannot be kept: {error}")
        else:
            self.origin += f", and kept in {self._store.directory}"
        return programs

    def forget(self) -> None:
        """As of :class:`Supply`."""
        self._store.remove(self._name)

    @property
    def _name(self) -> str:
        system = os.uname()
        key = "\0".join((self._source, system.machine, system.release, self._btf))
        return sha256(key.encode()).hexdigest()

    def _read(self, say: Say) -> Bundle | None:
        try:
            data = self._store.read(self._name)
            if data is None:
                return None
            bundle = decode(data)
        except (OSError, Untrusted, Damaged) as error:
            say(f"kept programs are not used: {error}")
            return None
        wrong = _misfit(bundle, self._source, self._btf)
        if not wrong and not is_current(bundle.compiler):
            wrong = "they were compiled by another bcc or LLVM"
        if wrong:
            say(f"kept programs are not used: {wrong}")
            return None
        return bundle


class Given:
    """Programs in a file, made by `mnttrace compile`.

    Args:
        path: of it.

    Attributes: as of :class:`Supply`.

    Raises:
        BadInput: it is somebody else's, damaged, or for another kernel or mnttrace.
        MissingPrerequisite: no BTF.
    """

    compiles = False

    def __init__(self, path: Path) -> None:
        again = "make it anew: mnttrace compile"
        try:
            self._bundle = decode(read_trusted(path))
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}") from error
        except Untrusted as error:
            raise BadInput(
                f"{error}: its programs would run in the kernel", f"chown root {path}; chmod 600"
            ) from error
        except Damaged as error:
            raise BadInput(f"{path}: {error}", again) from error
        wrong = _misfit(self._bundle, source(), facts.digest())
        if wrong:
            raise BadInput(f"{path} cannot be used: {wrong}", again)
        self.facts = self._bundle.facts
        self.origin = f"from {path}"

    def find(self, definitions: dict[str, int]) -> ProgramSet | None:
        """As of :class:`Supply`."""
        return self._bundle.find(definitions)

    def compile(self, _definitions: dict[str, int]) -> ProgramSet:
        """There are those in the file alone."""
        raise NotImplementedError

    def forget(self) -> None:
        """The file is somebody's."""


def write_file(
    path: Path,
    btf: Path | None = None,
    release: str | None = None,
    say: Say = lambda _: None,
    compat: bool = False,
) -> int:
    """Compile programs, for all that a kernel may have besides what its BTF tells, into a file.

    Args:
        path: the file.
        btf: the kernel's; None: of the one that runs.
        release: the kernel's; None: of the one that runs.
        say: told what is compiled.
        compat: also those that trace 32-bit calls.

    Returns:
        How many sets of programs are in it.

    Raises:
        MissingPrerequisite: no bcc, or no BTF.
        BadInput: the BTF is damaged.
        CaptureError: they cannot be compiled.
        OutputError: the file cannot be written.
    """
    known = facts.read(btf or KERNEL_BTF, release)
    wanted: list[Candidate] = []
    for is_compat in (False, True) if compat else (False,):
        for features in Features.possible(known):
            best: dict[tuple[str, bool, bool], Candidate] = {}
            for candidate in candidates(None, known, features, is_compat):
                by_kprobes = candidate.hooks is not None and candidate.hooks.by_kprobes
                kind = candidate.backend, by_kprobes, candidate.calls_by_function
                best.setdefault(kind, candidate)
            # Backends do not differ by each feature.
            wanted += [one for one in best.values() if one not in wanted]
    bundle = Bundle(source(), known)
    for number, candidate in enumerate(wanted, 1):
        say(f"compiling {number} of {len(wanted)}: {candidate.backend}")
        programs, compiler = compile_programs(candidate.definitions)
        bundle = msgspec.structs.replace(bundle, compiler=compiler, sets=[*bundle.sets, programs])
    try:
        Path(path).write_bytes(encode(bundle))
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    return len(bundle.sets)


@cache
def source() -> str:
    """A digest of the programs' sources, and of what definitions are made by."""
    bpf, here = bpf_directory(), Path(__file__).parent
    files = {str(file.relative_to(bpf)): file for file in bpf.rglob("*.[ch]")}
    linux = [here.parent / "linux" / name for name in ("btf.py", "syscalls.py")]
    files |= {file.name: file for file in [*here.glob("*.py"), *linux]}
    whole = sha256()
    for name, file in sorted(files.items()):
        data = file.read_bytes()
        whole.update(f"{name} {len(data)}\n".encode() + data)
    return whole.hexdigest()


def _misfit(bundle: Bundle, source: str, btf: str) -> str:
    """Why programs are not for this kernel and this mnttrace, "" if they are."""
    system, made_for = os.uname(), bundle.facts
    if bundle.source != source:
        return "they are of another version of mnttrace"
    if (made_for.machine, made_for.release) != (system.machine, system.release):
        return (
            f"they are for Linux {made_for.release} on {made_for.machine}, and this is "
            f"{system.release} on {system.machine}"
        )
    if made_for.btf != btf:
        return "they are for another build of this kernel: its BTF differs"
    return ""
