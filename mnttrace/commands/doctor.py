# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace doctor`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from mnttrace.commands._common import PROGRAMS


@click.command("doctor")
@PROGRAMS
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def command(as_json: bool, programs: Path | None) -> None:
    """Show what this kernel and machine offer, what is missing, and how to fix it.

    Ends with status 4 if something is missing that `mnttrace record` needs.
    """
    from mnttrace.capture.doctor import examine
    from mnttrace.errors import MissingPrerequisite

    checks = examine(programs)
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        for check in checks:
            state = "ok" if check.ok else "MISSING" if check.needed else "less"
            click.echo(f"{state:8}{check.name:16}{check.found}")
            if not check.ok and check.blocks:
                click.echo(f"{'':24}without it: {check.blocks}")
            if check.mend:
                click.echo(f"{'':24}mend: {check.mend}")
    if any(check.needed and not check.ok for check in checks):
        sys.exit(MissingPrerequisite.exit_status)
