"""What the commands that read a recording share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

RECORDING = click.argument("recording", type=click.Path(path_type=Path))


def warn_of_losses(meta: dict[str, Any]) -> None:
    """Say on stderr what a recording lacks."""
    losses = meta.get("losses", {})
    lost = {kind: n for kind, n in losses.items() if n and not kind.startswith("sent")}
    if lost:
        text = ", ".join(f"{kind} {n}" for kind, n in lost.items())
        click.echo(f"mnttrace: incomplete: {text}", err=True)
    if not meta.get("complete"):
        click.echo("mnttrace: the recording was not closed; its end is missing", err=True)
