# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What is said of a process when it is asked whose its new namespace is."""

from __future__ import annotations

import pytest

from mnttrace.capture.identity.hints import hint_of_command
from mnttrace.capture.join.events import Answered, ThreadIdentified
from mnttrace.capture.join.requests import IdentifyNamespace
from tests.replay.build import (
    ME,
    OTHER,
    Core,
    M,
    birth,
    call,
    detached,
    everything,
    process,
)

ROOT, BORN = M(1001), M(9001, ns=OTHER)
LXC = ("[lxc monitor] /var/lib/lxc web",)
RUNC = ("runc", "run", "--bundle", "/srv/my app", "c1")


def asked(core: Core) -> tuple[str, ...]:
    """The command line of the process that makes a namespace, as it is asked about."""
    core.take(call("unshare", birth(BORN), flags_value=0x20000, ns_after=OTHER, ns_target=OTHER))
    core.take(Answered(0))
    [request] = [one for one in core.ask(IdentifyNamespace) if one.key == OTHER]
    return request.hints.command


@pytest.mark.parametrize("argv", [LXC, RUNC], ids=["lxc", "runc"])
def test_the_words_of_a_command_stay_apart(argv: tuple[str, ...]) -> None:
    core = Core()
    core.take(everything([ROOT]), process(ME, argv, command=" ".join(argv)))
    assert asked(core) == argv
    assert hint_of_command(argv)


def test_of_a_thread_that_was_asked_about() -> None:
    core = Core("kernel-hooks", uses_fanotify=False)
    gone = M(2002, ROOT, "/gone")
    core.take(everything([ROOT, gone]), detached(ME, gone), everything([ROOT], reason="end"))
    row = process(ME, command=" ".join(RUNC)).row
    core.answer(ThreadIdentified(0, ME, row, RUNC))
    assert asked(core) == RUNC


@pytest.mark.parametrize(("command", "words"), [("test one", ("test", "one")), ("", ())])
def test_a_log_without_words_has_the_command_alone(command: str, words: tuple[str, ...]) -> None:
    core = Core()
    core.take(everything([ROOT]), process(ME, command=command))
    assert asked(core) == words
