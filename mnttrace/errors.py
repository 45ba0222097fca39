# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The errors that end a command: each has a message, a hint and an exit status.

Every error that a user can meet is a :class:`MnttraceError`. `cli` is the one place that turns it
into a line on stderr and an exit status; nothing else prints errors or exits.
"""


class MnttraceError(Exception):
    """Something that the user can act on.

    Args:
        message: what happened and where, one line.
        hint: what to do about it, one line, or "" where nothing can be done.
    """

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadInput(MnttraceError):
    """A wrong argument or input (status 2, as click's usage errors)."""

    exit_status = 2


class MissingPrerequisite(MnttraceError):
    """This machine lacks what the command needs: root, BTF, bcc, tracefs (status 4)."""

    exit_status = 4


class RecordingError(MnttraceError):
    """A recording that is truncated, of another version, or not one (status 5)."""

    exit_status = 5


class OutputError(MnttraceError):
    """The output exists already, or cannot be written (status 6)."""

    exit_status = 6


class CaptureError(MnttraceError):
    """The kernel refused a probe that it was expected to take (status 7)."""

    exit_status = 7


class ParseError(BadInput):
    """A line of a mount table that is malformed (status 2).

    Args:
        where: the file or stream.
        line: its number, counted from 1.
        problem: what is wrong with it.
    """

    def __init__(self, where: str, line: int, problem: str) -> None:
        super().__init__(f"{where}, line {line}: {problem}", "the table may be cut or edited")
        self.line = line
