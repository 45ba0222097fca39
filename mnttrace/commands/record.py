"""`mnttrace record`."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("record", context_settings={"ignore_unknown_options": False})
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("run.mnttrace"))
@click.option("--force", is_flag=True, help="Replace a recording that exists.")
@click.option("--duration", type=float, metavar="S", help="Stop after S seconds.")
@click.option("--keep-secrets", is_flag=True, help="Do not redact passwords in mount data.")
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED)
def command(
    output: Path, force: bool, duration: float | None, keep_secrets: bool, cmd: tuple[str, ...]
) -> None:
    """Record mount operations and mount tables until CMD ends, or Ctrl-C."""
    from mnttrace.capture.recorder import Recorder

    recorder = Recorder(output, force, keep_secrets)
    click.echo("mnttrace: recording" + ("" if cmd else "; Ctrl-C stops"), err=True)
    status = recorder.run(cmd, duration)
    losses = recorder.writer.meta["losses"]
    lost = sum(count for kind, count in losses.items() if kind.startswith("lost"))
    click.echo(
        f"mnttrace: {recorder.operations} operations in {recorder.namespaces} mount "
        f"namespaces, {lost} lost\nmnttrace: next: mnttrace leaks {output}",
        err=True,
    )
    sys.exit(status)
