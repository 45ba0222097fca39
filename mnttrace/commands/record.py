# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace record`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnttrace.commands._common import COMPAT, PROGRAMS, VERBOSE, teller
from mnttrace.commands._filters import filters, wanted
from mnttrace.errors import BadInput
from mnttrace.probes.backends import BACKENDS

if TYPE_CHECKING:
    from mnttrace.capture.record import Recorder


@click.command("record", context_settings={"ignore_unknown_options": False})
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("run.mnttrace"),
    show_default=True,
    help="The recording to make.",
)
@click.option("--force", is_flag=True, help="Replace a recording that exists.")
@click.option("--duration", type=click.FloatRange(min=0), metavar="S", help="Stop after S seconds.")
@filters
@click.option(
    "--backend",
    type=click.Choice([*BACKENDS, "none"]),
    help="How mounts are seen: by hooks on the kernel's functions, by a walk over mounts when a "
    "call ends, or by mount tables between the calls; without it, the first of these that the "
    "kernel has. None: mount tables alone, ten times a second, also without root, BTF or bcc.",
)
@PROGRAMS
@COMPAT
@click.option(
    "--keep-raw",
    is_flag=True,
    help="Also keep all that the kernel reported, to attach to a bug report (mnttrace rejoin): of "
    "the whole system, whatever is filtered.",
)
@click.option(
    "--keep-secrets", is_flag=True, help="Do not redact passwords in mount data and commands."
)
@VERBOSE
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED)
def command(
    output: Path,
    force: bool,
    duration: float | None,
    backend: str | None,
    programs: Path | None,
    compat: bool,
    keep_raw: bool,
    keep_secrets: bool,
    verbose: bool,
    cmd: tuple[str, ...],
    **options: Any,
) -> None:
    """Record mount operations and mount tables until CMD ends, or Ctrl-C.

    The whole system is recorded, unless options choose a part. An option given more than once
    matches any of its values; different options must all match.
    """
    from mnttrace.capture.record import Recorder

    if programs and backend == "none":
        raise BadInput("--backend none loads no programs", "leave out --programs")
    if compat and backend == "none":
        raise BadInput("--backend none sees no calls", "leave out --compat")
    recorder = Recorder(
        output,
        force,
        keep_secrets,
        wanted(options),
        cmd,
        backend,
        keep_raw,
        programs,
        teller(verbose),
        compat,
    )
    if backend == "none":
        click.echo(
            "mnttrace: only mount tables are recorded: not who mounted what, nor mounts that come "
            "and go between two reads of a table",
            err=True,
        )
    click.echo("mnttrace: recording" + ("" if cmd else "; Ctrl-C stops"), err=True)
    is_terminal = sys.stderr.isatty()
    status = recorder.run(duration, _show if is_terminal else lambda _: None)
    if is_terminal:
        click.echo("\r\x1b[K", nl=False, err=True)
    losses = recorder.writer.meta["losses"]
    lost = sum(count for kind, count in losses.items() if kind.startswith("lost"))
    click.echo(
        f"mnttrace: {_counts(recorder)}, {lost} lost\nmnttrace: next: mnttrace leaks {output}",
        err=True,
    )
    teller(verbose)(_cost(recorder))
    sys.exit(status)


def _cost(recorder: Recorder) -> str:
    cost, operations = recorder.cost, recorder.session.join.counts.operations
    each = f", {cost.processor / operations * 1e3:.2f} ms an operation" if operations else ""
    return (
        f"the recorder took {cost.processor:.2f} s of processor time in {cost.seconds:.2f} s"
        f"{each}, and {cost.memory / 1e6:.0f} MB of memory"
    )


def _counts(recorder: Recorder) -> str:
    from mnttrace.report.text import count

    join = recorder.session.join
    done = (
        f"{count(join.counts.operations, 'operation')} with {count(join.counts.effects, 'effect')}"
    )
    return f"{done} in {count(join.namespaces, 'mount namespace')}"


def _show(recorder: Recorder) -> None:
    """The counts so far, on one line of a terminal."""
    click.echo(f"\r\x1b[K{_counts(recorder)}, {recorder.lost} lost", nl=False, err=True)
