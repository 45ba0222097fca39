# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How mounts are seen on this kernel, and what the BPF programs are to define for that.

Features of the kernel are probed: a program that does nothing is loaded and attached.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mnttrace.errors import MissingPrerequisite
from mnttrace.linux.bpf import takes_cast, takes_may_goto
from mnttrace.linux.btf import Btf
from mnttrace.linux.namespaces import namespace_id
from mnttrace.probes import kernel_functions, offsets

# The best one first. The functions of the kernel that attach and detach mounts are hooked; or a
# walk over mounts at the end of each call lists those that it made, and fanotify reports what is
# detached; or there are the calls, and mount tables between them.
BACKENDS: Final = ("kernel-hooks", "walk", "syscalls")

# What each backend leaves undefined.
_UNUSED = {
    "kernel-hooks": {"FANOTIFY_MNT_ID"},
    "walk": set(),
    "syscalls": {"CAN_WALK", "FANOTIFY_MNT_ID"},
}
# The function that runs programs on system calls where these can be preempted (7.x); how many
# copies of each program are attached then: see bpf/calls.h.
_PREEMPTIBLE_IF = "trace_call_bpf_faultable"
_RETRY_LEVELS = 4


class Choice(NamedTuple):
    """What was chosen.

    Attributes:
        backend: one of :data:`BACKENDS`.
        definitions: name → value, for the compiler.
        features: what makes the programs faster, of what this kernel has, in words.
    """

    backend: str
    definitions: dict[str, int]
    features: list[str]


def choose(backend: str | None, btf: Btf) -> Choice:
    """Choose how mounts are seen.

    Args:
        backend: one of :data:`BACKENDS`; None: the first one that this kernel has.

    Raises:
        MissingPrerequisite: this kernel does not have that.
        NoSuchMember: of BTF, what no program can do without.
    """
    definitions = offsets.definitions(btf)
    if namespace_id("/proc/self/ns/mnt") is None:
        # Before 6.11 user space cannot learn the ids, so namespaces are known by their inodes.
        definitions.pop("MNT_NS_ID", None)
    can_walk = "CAN_WALK" in definitions
    can_list = can_walk or definitions.keys() >= offsets.LISTS
    hooks: list[str] = []
    if can_list and backend in (None, "kernel-hooks"):
        hooks = kernel_functions.definitions(btf)
    if hooks:
        chosen = "kernel-hooks"
    else:
        chosen = "walk" if can_walk and backend != "syscalls" else "syscalls"
    if backend not in (None, chosen):
        raise MissingPrerequisite(
            f"this kernel cannot do --backend {backend}", "without it, the best that it can is done"
        )
    for name in _UNUSED[chosen]:
        definitions.pop(name, None)
    if hooks:
        definitions |= dict.fromkeys([*hooks, "CAN_WALK"], 1)
    is_preemptible = btf.function_arguments(_PREEMPTIBLE_IF) is not None
    definitions["RETRY_LEVELS"] = _RETRY_LEVELS if is_preemptible else 1
    features = []
    if takes_may_goto():
        definitions["MAY_GOTO"] = 1
        features.append("may_goto")
    cast = btf.function_id("bpf_rdonly_cast")
    if cast is not None and takes_cast(cast):
        definitions["RDONLY_CAST"] = cast
        features.append("bpf_rdonly_cast to void")
    return Choice(chosen, definitions, features)
