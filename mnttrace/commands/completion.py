# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace completion`."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Write the script that completes commands and options in a shell.

    For bash: mnttrace completion bash >~/.local/share/bash-completion/completions/mnttrace
    """
    from click.shell_completion import get_completion_class

    group = click.get_current_context().find_root().command
    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(group, {}, "mnttrace", "_MNTTRACE_COMPLETE").source())
