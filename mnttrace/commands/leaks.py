"""`mnttrace leaks`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mnttrace.commands._common import RECORDING, safe, warn_of_losses


@click.command("leaks")
@RECORDING
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def command(recording: Path, as_json: bool) -> None:
    """Show which mounts reached other mount namespaces, and who did it."""
    from mnttrace.analysis.leaks import leaks
    from mnttrace.recording.reader import read_meta

    found = leaks(recording)
    warn_of_losses(read_meta(recording))
    if as_json:
        click.echo(json.dumps(found, default=str, indent=1))
        return
    if not found:
        click.echo("No mount reached another mount namespace.")
    for row in found:
        state = "still there" if row["present"] else "gone at the end"
        doubt = " (ambiguous: other operations fit too)" if row["evidence"] == "ambiguous" else ""
        click.echo(
            f"{row['direction']}: {safe(row['fstype'])} at {safe(row['mountpoint'])}, {state}\n"
            f"  made by    {safe(row['comm'])}[{row['pid']}] in {safe(row['src_name'])} "
            f"mnt:[{row['src_ns']}]: {row['syscall']} on {safe(row['copy_of'])} "
            f"(operation {row['seq']}){doubt}\n"
            f"  arrived in {safe(row['dst_name'])} mnt:[{row['dst_ns']}] as mount "
            f"{row['mount_id']}\n"
            f"  carried by peer group {row['group']} of {safe(row['origin'])}, "
            f"reached as a {row['via']}"
        )
