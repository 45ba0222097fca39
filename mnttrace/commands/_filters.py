# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The options of record and watch that choose operations."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mnttrace.capture.join.selection import Filter

_OPTIONS = (
    click.option("--pid", type=int, multiple=True, help="Only this process and its children."),
    click.option("--ns", type=int, multiple=True, help="Only this mount namespace (inode number)."),
    click.option("--container", multiple=True, help="Only this container (name or id)."),
    click.option("--cgroup", multiple=True, help="Only processes in this cgroup or below."),
    click.option(
        "--path",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Only mounts at PATH or below.",
    ),
)


def filters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def wanted(options: dict[str, Any]) -> Filter:
    """The filter that the options' values make."""
    from mnttrace.capture.join.selection import Filter
    from mnttrace.linux.text import clean

    return Filter(
        pids=frozenset(options["pid"]),
        namespaces=frozenset(options["ns"]),
        containers=tuple(map(clean, options["container"])),
        cgroups=tuple(map(clean, options["cgroup"])),
        paths=tuple(clean(os.path.abspath(place)) for place in options["path"]),
    )
