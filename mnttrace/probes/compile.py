# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The BPF programs, compiled by bcc. The one importer of bcc.

That is done in a process of its own, since LLVM would stay in this one's memory. What bcc has made
is taken from it before it loads or attaches anything; its maps are never used.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from mnttrace.errors import CaptureError, MissingPrerequisite
from mnttrace.probes.compiled import FileStamp, Kind, MapSpec, Program, ProgramSet
from mnttrace.probes.sources import bpf_directory

# What bcc's headers call processors.
_PROCESSORS = {"x86_64": "x86", "aarch64": "arm64", "riscv64": "riscv64"}
_HINT = "apt-get install python3-bpfcc (PyPI's package of the name bcc is another thing)"
_COMPILER = re.compile(r"/.*/lib(?:bcc|LLVM|clang)[^/\n]*$", re.MULTILINE)
_RAW_TRACEPOINTS = {"fork": "sched_process_fork", "end_thread": "sched_process_exit"}
_CHILD = "from mnttrace.probes.compile import main; main()"


class Compiled(msgspec.Struct):
    """What the compiling process says.

    Attributes:
        programs: what was compiled, None if that failed.
        compiler: the files of the compiler.
        missing: what is missing, if that is why it failed.
        failure: what went wrong else.
    """

    programs: ProgramSet | None = None
    compiler: list[FileStamp] = []
    missing: str = ""
    failure: str = ""


def bcc_version() -> str:
    """The version of bcc, and where it is.

    Raises:
        MissingPrerequisite: there is none, or it is another package of that name.
    """
    bcc = _bcc()
    return f"{bcc.__version__} in {os.path.dirname(bcc.__file__)}"


def compile_programs(definitions: Mapping[str, int]) -> tuple[ProgramSet, list[FileStamp]]:
    """The programs, and the files of the compiler.

    Args:
        definitions: name → value, for the compiler's command line.

    Raises:
        MissingPrerequisite: as of :func:`bcc_version`.
        CaptureError: they cannot be compiled.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=msgspec.json.encode(definitions),
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    try:
        compiled = msgspec.msgpack.decode(done.stdout, type=Compiled)
    except msgspec.MsgspecError:
        compiled = Compiled(failure=f"the compiling process ended with status {done.returncode}")
    if compiled.missing:
        raise MissingPrerequisite(compiled.missing, _HINT)
    if compiled.programs is None:
        raise CaptureError(
            f"the BPF programs cannot be compiled: {compiled.failure}",
            "what the compiler said is above",
        )
    return compiled.programs, compiled.compiler


def is_current(compiler: list[FileStamp]) -> bool:
    """Whether bcc and LLVM are still the same files, or gone, so that there are no others."""
    spec = find_spec("bcc")
    if spec is None:
        return True
    package = os.path.realpath(spec.origin or "")
    return package in {file.path for file in compiler} and all(
        _stamp(file.path) == file for file in compiler
    )


def main() -> None:
    """The compiling process: takes definitions, gives :class:`Compiled`."""
    definitions = msgspec.json.decode(sys.stdin.buffer.read(), type=dict[str, int])
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the compiler says
    with out:
        out.write(msgspec.msgpack.encode(_compile(definitions)))
    os._exit(0)  # what is in memory need not be taken apart


def _compile(definitions: Mapping[str, int]) -> Compiled:
    try:
        bcc = _bcc()
        module = _module(bcc, definitions)
    except MissingPrerequisite as error:
        return Compiled(missing=error.message)
    except Exception as error:  # bcc raises Exception itself
        return Compiled(failure=str(error))
    maps, descriptors = _maps(bcc.lib, module.module)
    names = [
        bcc.lib.bpf_function_name(module.module, number)
        for number in range(bcc.lib.bpf_num_functions(module.module))
    ]
    programs = [
        Program.of(
            name.decode(), *_target(name.decode(), definitions), module.dump_func(name), descriptors
        )
        for name in names
    ]
    return Compiled(ProgramSet(dict(definitions), maps, programs), _files_of_compiler(bcc))


def _module(bcc: Any, definitions: Mapping[str, int]) -> Any:
    """The programs as a `bcc.BPF`."""
    flags = [
        *(f"-D{name}={value}" for name, value in definitions.items()),
        # Else clang compiles for the processor, which lacks the registers of BPF.
        "--target=bpf",
        # Newer versions of bcc ask for cf-protection, which BPF does not have.
        "-fcf-protection=none",
        f"-D__TARGET_ARCH_{_PROCESSORS.get(os.uname().machine)}",
    ]
    return bcc.BPF(text=_source().encode(), cflags=flags)


def _maps(library: Any, module: Any) -> tuple[list[MapSpec], dict[int, int]]:
    """The maps, and descriptor → number of each that bcc has made."""
    for name in ("fd", "type", "key_size", "leaf_size", "max_entries", "flags"):
        getattr(library, f"bpf_table_{name}_id").argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    library.bpf_num_tables.argtypes = [ctypes.c_void_p]
    library.bpf_num_tables.restype = ctypes.c_size_t
    library.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    library.bpf_table_name.restype = ctypes.c_char_p
    numbers = range(library.bpf_num_tables(module))
    maps = [
        MapSpec(
            library.bpf_table_name(module, number).decode(),
            library.bpf_table_type_id(module, number),
            library.bpf_table_key_size_id(module, number),
            library.bpf_table_leaf_size_id(module, number),
            library.bpf_table_max_entries_id(module, number),
            library.bpf_table_flags_id(module, number),
        )
        for number in numbers
    ]
    return maps, {library.bpf_table_fd_id(module, number): number for number in numbers}


def _target(name: str, definitions: Mapping[str, int]) -> tuple[Kind, str]:
    """What a program is attached to, by its name in the source."""
    if name in _RAW_TRACEPOINTS:
        return "raw_tracepoint", _RAW_TRACEPOINTS[name]
    where, separator, function = name.partition("__")
    if not separator:
        return ("kprobe_multi" if "CALLS_BY_FUNCTION" in definitions else "tracepoint"), ""
    if "HOOK_KPROBES" in definitions:
        return ("kretprobe" if where == "at_exit" else "kprobe"), function
    return ("fexit" if where == "at_exit" else "fentry"), function


def _files_of_compiler(bcc: Any) -> list[FileStamp]:
    mapped = _COMPILER.findall(Path("/proc/self/maps").read_text())
    stamps = (_stamp(path) for path in sorted({*mapped, os.path.realpath(bcc.__file__)}))
    return [stamp for stamp in stamps if stamp]


def _stamp(path: str) -> FileStamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return FileStamp(path, found.st_size, found.st_mtime_ns)


def _bcc() -> Any:
    os.environ["BCC_KERNEL_SOURCE"] = str(bpf_directory() / "kheaders")
    try:
        import bcc
    except ImportError as error:
        raise MissingPrerequisite(f"bcc cannot be imported: {error}", _HINT) from error
    if not hasattr(bcc, "BPF"):
        raise MissingPrerequisite(f"{bcc.__file__} is not the BPF compiler bcc", _HINT)
    return bcc


def _source() -> str:
    """The main file with our headers in it: bcc rewrites accesses to maps in no other file."""
    directory = bpf_directory()

    def header(match: re.Match[str]) -> str:
        return (directory / match[1]).read_text()

    return re.sub(r'#include "(.+)"', header, (directory / "mnttrace.bpf.c").read_text())
