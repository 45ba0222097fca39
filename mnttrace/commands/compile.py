# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace compile`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from mnttrace.errors import BadInput, MissingPrerequisite


@click.command("compile")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("mnttrace.programs"),
    show_default=True,
    help="The file to write.",
)
@click.option(
    "--btf",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The other kernel's /sys/kernel/btf/vmlinux.  [default: that of this kernel]",
)
@click.option("--release", metavar="R", help="The other kernel's release, as uname -r says it.")
@click.option("--compat", is_flag=True, help="Also those that record --compat needs.")
def command(output: Path, btf: Path | None, release: str | None, compat: bool) -> None:
    """Compile the BPF programs for a machine that has neither bcc nor clang.

    There, with the same version of mnttrace: mnttrace record --programs FILE. They are for one
    kernel: this one, or that of --btf and --release.
    """
    from mnttrace.probes.supply import write_file

    if (btf is None) != (release is None):
        raise BadInput("--btf and --release go together", "both are of the kernel to compile for")
    if os.geteuid() != 0:
        raise MissingPrerequisite("compiling needs root, since bcc makes maps", "run it with sudo")
    is_terminal = sys.stderr.isatty()

    def show(text: str) -> None:
        if is_terminal:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    sets = write_file(output, btf, release, show, compat)
    show("")
    click.echo(
        f"mnttrace: {sets} sets of programs for Linux {release or os.uname().release}\n"
        f"mnttrace: next, there: mnttrace record --programs {click.format_filename(output)}",
        err=True,
    )
