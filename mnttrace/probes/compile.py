# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The BPF programs, compiled by bcc. The one importer of bcc."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from mnttrace.errors import CaptureError, MissingPrerequisite
from mnttrace.probes.sources import bpf_directory

# What bcc's headers call processors.
_PROCESSORS = {"x86_64": "x86", "aarch64": "arm64", "riscv64": "riscv64"}
_HINT = "apt-get install python3-bpfcc (PyPI's package of the name bcc is another thing)"


def bcc_version() -> str:
    """The version of bcc, and where it is.

    Raises:
        MissingPrerequisite: there is none, or it is another package of that name.
    """
    bcc = _bcc()
    return f"{bcc.__version__} in {os.path.dirname(bcc.__file__)}"


def compile_programs(definitions: Mapping[str, int]) -> Any:
    """The programs as a `bcc.BPF`, which has attached the kernel hooks.

    Args:
        definitions: name → value, for the compiler's command line.

    Raises:
        MissingPrerequisite: as of :func:`bcc_version`.
        CaptureError: they cannot be compiled, or the kernel refuses a hook.
    """
    flags = [
        *(f"-D{name}={value}" for name, value in definitions.items()),
        # Else clang compiles for the processor, which lacks the registers of BPF.
        "--target=bpf",
        # Newer versions of bcc ask for cf-protection, which BPF does not have.
        "-fcf-protection=none",
        f"-D__TARGET_ARCH_{_PROCESSORS.get(os.uname().machine)}",
    ]
    source, bcc = _source(), _bcc()
    try:
        return bcc.BPF(text=source.encode(), cflags=flags)
    except Exception as error:  # bcc raises Exception itself
        raise CaptureError(
            f"the BPF programs cannot be compiled: {error}", "what the compiler said is above"
        ) from error


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
