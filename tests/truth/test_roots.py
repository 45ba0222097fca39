# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Where the caller's root directory is not that of its namespace, paths are the namespace's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mnttrace.analysis.recording import Recording
from tests.truth.busy import LOOPS, saturated
from tests.truth.roots import ROOTS, WAYS, Done

LOAD = Path(__file__).with_name("roots.py")
ROUNDS = 20

# A peer and a slave receive what is mounted in the folder, if it is shared.
SCRIPT = f"""
mkdir folder; mount -t tmpfs --make-{{kind}} folder folder
unshare -m --propagation unchanged sleep 1000 &
unshare -m --propagation slave sleep 1000 &
for pid in $(jobs -p); do
    until [ "$(readlink /proc/$pid/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ]; do :; done
    until grep -q sleep /proc/$pid/comm; do :; done
done
$MNTTRACE record --keep-raw -o run.mnttrace -- python3 {LOAD} "$PWD/folder" {ROUNDS} {{root}}
"""


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("kind", ["private", "shared"])
@pytest.mark.parametrize("root", ROOTS)
def test_paths_and_effects_in_a_chroot_are_those_of_the_namespace(
    in_namespace, tmp_path: Path, root: str, kind: str, loops: int
) -> None:
    with saturated(loops):
        printed = in_namespace(SCRIPT.format(kind=kind, root=root), timeout=240).stdout
    [told] = [line for line in printed.splitlines() if line.startswith("told ")]
    _, tid, truth = told.split(" ")
    expected = _Expected(tmp_path / "folder", root, kind == "shared")
    assert expected.path("/truth") == truth
    _compare(Recording(tmp_path / "run.mnttrace"), int(tid), expected)


class _Expected:
    """What is known of a run, by its arguments."""

    def __init__(self, folder: Path, root: str, is_shared: bool) -> None:
        self.folder, self.root = str(folder), ROOTS[root]
        self.calls = [one for way in WAYS.values() for _ in range(ROUNDS) for one in way.calls]
        self.calls.append(Done("mount", "/truth", "attach"))
        self.receives = self.root.receives if is_shared else 0

    def path(self, path: str) -> str:
        """A path of a call, from the root of the namespace."""
        return f"{self.root.begins}{self.elsewhere(path)}"

    def elsewhere(self, path: str) -> str:
        """The same in the receivers, where the root is as it was."""
        inside = (
            self.root.working if path.startswith("./") and self.root.working else self.root.path
        )
        return f"{self.folder}{inside}{path.removeprefix('.')}"

    def effects(self, call: Done) -> Counter[tuple[str, str]]:
        """What comes of a call: (action, mount point)."""
        found = Counter({(call.effect, self.path(call.path)): 1} if call.effect else {})
        if call.passes and self.receives:
            action = "attach" if call.effect == "move" else call.effect
            found[action, self.elsewhere(call.path)] += self.receives
        return found


def _compare(run: Recording, tid: int, expected: _Expected) -> None:
    # Others on this machine are recorded, too: what they cut, and what is not known of them.
    losses = {kind: n for kind, n in run.meta["losses"].items() if kind.startswith("lost")}
    assert not any(losses.values()), losses
    own = run.operations[run.operations["tid"] == tid]
    [begin] = own.loc[own["target"] == "/begin", "seq"]
    calls = own[(own["seq"] > begin) & (own["result"] >= 0)]
    calls = calls[calls["syscall"].isin({call.syscall for call in expected.calls})]
    assert set(calls["root_path"]) == {expected.path("")}
    assert calls["syscall"].tolist() == [call.syscall for call in expected.calls]
    assert calls["path"].tolist() == [expected.path(call.path) for call in expected.calls]
    by_call = {int(seq): rows for seq, rows in run.effects.groupby("seq")}
    wrong = []
    for call, seq, source in zip(expected.calls, calls["seq"], calls["source_path"], strict=True):
        if call.source:
            assert source == expected.path(call.source)
        here = by_call.get(int(seq), run.effects.head(0))
        if call.effect != "change":  # a mount that leaves its group changes by that, too
            here = here[here["action"] != "change"]
        found = Counter(zip(here["action"], here["mountpoint"], strict=True))
        if found != expected.effects(call) or "ambiguous" in set(here["evidence"]):
            wrong.append((call, here[["action", "via", "evidence", "ns_id", "mountpoint"]]))
    assert not wrong, f"{len(wrong)}:\n{wrong[0][0]}\n{wrong[0][1]}"
    doubtful = run.effects[run.effects["evidence"] == "ambiguous"]
    assert not doubtful["mountpoint"].str.contains(expected.folder, regex=False).any()
