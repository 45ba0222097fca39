# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Recording with less than this kernel has to tell, as on older ones."""

from __future__ import annotations

BEFORE = """
mkdir one two; mkfifo end
unshare -m --propagation slave sh -c 'touch ready; read end <end' &
until [ -e ready ]; do sleep 0.02; done
"""
# Each step waits until the recorder has looked: it does every tenth of a second.
SCRIPT = """
mount -t tmpfs one one
sleep 0.4
unshare -m --propagation unchanged sh -c 'sleep 0.4; mount -t tmpfs two two; sleep 0.4'
"""


def test_calls_and_mount_tables_tell_what_copied_what_and_by_which_call(record) -> None:
    recorded = record(
        SCRIPT, before=BEFORE, after="echo end >end; wait", options="--backend syscalls"
    )
    effects = recorded.frame("effects")
    calls = recorded.frame("operations").set_index("seq")["syscall"]
    mine = effects[effects["source"].isin(["one", "two"]) & (effects["action"] == "attach")]
    told = zip(mine["source"], mine["via"], mine["evidence"], mine["seq"].map(calls), strict=True)
    assert sorted(told) == [
        ("one", "direct", "model", "mount"),
        ("one", "namespace-copy", "model", "unshare"),
        ("one", "slave", "model", "mount"),
        ("two", "direct", "model", "mount"),
        ("two", "peer", "model", "mount"),
        ("two", "slave", "model", "mount"),
    ]
    assert recorded.run.meta["sees"] == {"mounts made": False, "mounts detached": False}
    leaks = recorded.run.leaks
    ours = leaks[leaks["source"] == "two"]
    assert sorted(ours["via"]) == ["peer", "slave"]
    assert set(ours["evidence"]) == {"model"}
    assert (ours["direction"] == "other→host").sum() == 1
