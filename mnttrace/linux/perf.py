# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Events that BPF programs are attached to, by perf_event_open(2)."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mnttrace.errors import CaptureError

_TRACEPOINT = 2
_CLOEXEC = 8
_SET_BPF = 0x40042408
_ENABLE, _DISABLE = 0x2400, 0x2401
_SYS_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
_KPROBES = Path("/sys/bus/event_source/devices/kprobe")


class _Attr(ctypes.Structure):
    """struct perf_event_attr of include/uapi/linux/perf_event.h"""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup", ctypes.c_uint64),
        ("kprobe_func", ctypes.c_char_p),
        ("probe_offset", ctypes.c_uint64),
        ("rest", ctypes.c_uint64 * 7),
    )


def attach_tracepoint(tracepoint: int, program: int) -> int:
    """Attach a program by the tracepoint's id.

    Args:
        tracepoint: its id, as tracefs has it.
        program: descriptor of a BPF program.

    Returns:
        A descriptor that keeps it attached.

    Raises:
        CaptureError: the kernel refuses.
    """
    attr = _Attr(type=_TRACEPOINT, config=tracepoint, sample_period=1)
    return _attach(_open(attr), program, f"tracepoint {tracepoint}")


def attach_kprobe(function: str, at_exit: bool, program: int) -> int:
    """Attach a program to a function of the kernel, by a kprobe or with `at_exit` a kretprobe.

    Args:
        function: its name.
        at_exit: where it returns.
        program: descriptor of a BPF program.

    Returns:
        A descriptor that keeps it attached.

    Raises:
        CaptureError: the kernel refuses.
    """
    return _attach(_open_kprobe(function, at_exit), program, f"kprobe {function}")


def takes_kprobe(function: str, at_exit: bool) -> bool:
    """Whether a kprobe, or with `at_exit` a kretprobe, can be put on a function of the kernel: one
    is put there, and removed."""
    event = _open_kprobe(function, at_exit)
    if event >= 0:
        os.close(event)
    return event >= 0


def close(events: Iterable[int]) -> None:
    """Disable events at once, and leave it to the kernel to close them.

    Closing one waits for a grace period of RCU, 2 s for all of them (perf_trace_event_unreg() in
    kernel/trace/trace_event_perf.c). So the descriptors are sent over a socket that nobody can read
    any more, and the kernel's collector of such sockets closes them. The sockets are closed last:
    else the collector could be first, and the close here the one that waits.
    """
    libc = ctypes.CDLL(None)
    descriptors = list(events)
    for event in descriptors:
        libc.ioctl(event, ctypes.c_ulong(_DISABLE), 0)
    one, other = socket.socketpair()
    with one, other:
        with suppress(OSError):
            socket.send_fds(one, [b"\0"], [*descriptors, other.fileno()])
        for descriptor in descriptors:
            os.close(descriptor)


def _attach(event: int, program: int, what: str) -> int:
    """Attach a program to an event, negative if that could not be opened, and enable it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if event >= 0 and libc.ioctl(event, ctypes.c_ulong(_SET_BPF), program) == 0:
        libc.ioctl(event, ctypes.c_ulong(_ENABLE), 0)
        return event
    error = ctypes.get_errno()
    if event >= 0:
        os.close(event)
    raise CaptureError(
        f"{what} cannot be attached: {os.strerror(error)}", "is perf_event_open allowed here?"
    )


def _open_kprobe(function: str, at_exit: bool) -> int:
    """The descriptor of a probe, negative if there can be none."""
    try:
        kind = int((_KPROBES / "type").read_text())
        [bit] = (_KPROBES / "format/retprobe").read_text().strip().split("config:")[1:]
    except (OSError, ValueError):
        return -1
    return _open(_Attr(type=kind, config=at_exit << int(bit), kprobe_func=function.encode()))


def _open(attr: _Attr) -> int:
    attr.size = ctypes.sizeof(_Attr)
    libc = ctypes.CDLL(None, use_errno=True)
    number = _SYS_PERF_EVENT_OPEN[os.uname().machine]
    return int(libc.syscall(number, ctypes.byref(attr), -1, 0, -1, _CLOEXEC))
