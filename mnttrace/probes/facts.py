# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What programs have to know of a kernel, from its BTF."""

from __future__ import annotations

import os
from hashlib import file_digest
from pathlib import Path

from mnttrace.errors import MissingPrerequisite
from mnttrace.linux.btf import KERNEL_BTF, Btf
from mnttrace.probes import call_functions, kernel_functions, offsets
from mnttrace.probes.compiled import Facts, Function

# The function that runs programs on system calls where these can be preempted (7.x).
PREEMPTIBLE_IF = "trace_call_bpf_faultable"
CAST = "bpf_rdonly_cast"
# It begins with an array of 65 bytes, in which the kernel lets programs read numbers of any size at
# any place (btf_struct_walk() in kernel/bpf/btf.c).
_OF_BYTES = "new_utsname"
# From 6.11 on, where user space can learn the ids of mount namespaces, they are in a tree.
_HAVE_IDS_IF = ("mnt_namespace.ns.ns_id", "mnt_namespace.mnt_ns_tree_node")


def digest(path: str | Path = KERNEL_BTF) -> str:
    """What tells one kernel's BTF from another's.

    Raises:
        MissingPrerequisite: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MissingPrerequisite(
            f"no BTF at {path}: {error.strerror}",
            "it takes a kernel built with CONFIG_DEBUG_INFO_BTF=y, and sysfs mounted on /sys",
        ) from error


def read(path: str | Path = KERNEL_BTF, release: str | None = None) -> Facts:
    """The facts of a kernel.

    Args:
        path: its BTF.
        release: its release; None: it is the one that runs.

    Raises:
        MissingPrerequisite: there is no BTF, or a kernel without a member that no program can do
            without.
        BadInput: the BTF is damaged.
    """
    btf = Btf.load(path)
    functions = {}
    system = os.uname()
    of_calls = call_functions.names(system.machine) if btf.has(call_functions.LINK) else ()
    for name in sorted({*kernel_functions.NAMES, *of_calls, PREEMPTIBLE_IF, CAST}):
        arguments = btf.function_arguments(name)
        if arguments is not None:
            functions[name] = Function(btf.function_id(name) or 0, arguments)
    return Facts(
        system.machine,
        release or system.release,
        digest(path),
        offsets.definitions(btf),
        functions,
        btf.first(*_HAVE_IDS_IF) is not None,
        btf.struct_id(_OF_BYTES) or 0,
    )
