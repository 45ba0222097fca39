# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The command line. Only here does an error become a line on stderr and an exit status."""

from __future__ import annotations

import importlib
import sys

import click

from mnttrace import __version__
from mnttrace.errors import MnttraceError

# Command → description. A command is imported only when it is run, so that --help is quick.
_COMMANDS = {
    "compile": "Compile the BPF programs for a machine without bcc.",
    "completion": "Write the script that completes commands in a shell.",
    "doctor": "Show what this machine offers, what is missing, and how to fix it.",
    "export": "Write a recording as CSV, JSON, Parquet, a Perfetto trace or a graph.",
    "import": "Make a recording of mountinfo files from a report.",
    "info": "Show what a recording contains, and what it lost.",
    "leaks": "Show which mounts reached other mount namespaces, and who made them.",
    "query": "Query a recording in SQL.",
    "record": "Record mount operations and mount tables, system-wide.",
    "rejoin": "Make a recording of a raw log again, to see what another version makes of it.",
    "report": "Write one HTML page with leaks, remedies, pictures and tables.",
    "snapshot": "Record all mount tables as they are now (no eBPF).",
    "timeline": "List the operations in order, with their effects on mounts.",
    "tree": "Show the mounts and peer groups of every namespace as a tree.",
    "watch": "Show each mount operation as it happens, with its effects.",
    "what-if": "Say what commands would do to the mounts of all namespaces.",
    "why": "Explain a mount: who has it, how it came there, and what to do.",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"mnttrace.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def group() -> None:
    """Trace mount propagation: which mounts leaked across mount namespaces, and who made them."""


def main() -> None:
    """Run the command; errors become one line on stderr and their exit status."""
    try:
        group(prog_name="mnttrace")
    except MnttraceError as error:
        hint = f" ({error.hint})" if error.hint else ""
        click.echo(f"mnttrace: {error.message}{hint}", err=True)
        sys.exit(error.exit_status)
