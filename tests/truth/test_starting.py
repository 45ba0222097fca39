# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A recorder that starts while mounts come and go: it knows the paths of all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnttrace.analysis.recording import Recording

LOAD = Path(__file__).with_name("starting.py")
RECEIVERS = 2
SECONDS = 1.5

# The folder lies on a mount that shows a part of its file system, below another one: its paths are
# not those within the file system.
SCRIPT = """
mkdir top shared; mount -t tmpfs before-1 top; mkdir -p top/part/below
mount --bind top/part/below shared; mount --make-private shared; mount --make-shared shared
mkdir shared/place shared/old; mount -t tmpfs before-2 shared/old
for n in $(seq {receivers}); do
    mkfifo fifo$n
    unshare -m --propagation slave sh -c "touch ready$n; read -r end <fifo$n" &
done
until [ "$(ls ready* 2>/dev/null | wc -l)" = {receivers} ]; do sleep 0.02; done
mkfifo go; exec 3<>go
python3 {load} "$PWD/shared" {rate} <go >goes-on &
load=$!
until [ -s goes-on ]; do sleep 0.02; done
$MNTTRACE record --keep-raw -o run.mnttrace --duration {seconds} {options}
kill $load
"""


@pytest.mark.parametrize("rate", [1, 3, 10, 45, 300, 1000, 3000])
def test_what_goes_on_while_it_starts_has_right_paths(
    in_namespace, tmp_path: Path, rate: int
) -> None:
    seconds = max(SECONDS, 4 / rate)
    in_namespace(
        SCRIPT.format(receivers=RECEIVERS, load=LOAD, rate=rate, seconds=seconds, options=""),
        timeout=120,
    )
    run = Recording(tmp_path / "run.mnttrace")
    effects, calls = run.effects, run.operations
    told_again = effects[effects["source"].str.startswith("before-", na=False)]
    assert told_again.empty, "what was there before is told as if it came"

    ours = effects[effects["source"].str.startswith("pair-", na=False)]
    assert set(ours["mountpoint"]) == {f"{tmp_path}/shared/place"}
    assert set(ours["parent_path"]) == {f"{tmp_path}/shared"}
    assert "ambiguous" not in set(ours["evidence"])

    # From the first lists on nothing is missing. (At the end a pair can be half over.)
    begun = run.snapshots[run.snapshots["reason"] == "start"]["ended"].max()
    mounts = calls[(calls["syscall"] == "mount") & calls["source"].str.startswith("pair-")]
    pairs = mounts[mounts["monotonic"] > begun]["source"].iloc[:-1]
    assert len(pairs) >= min(rate, 10) * SECONDS / 10
    per_pair = ours[ours["source"].isin(pairs)].groupby(["source", "action", "via"]).size()
    for source in pairs:
        for action in ("attach", "detach"):
            assert per_pair.get((source, action, "direct")) == 1, (source, action)
            assert per_pair.get((source, action, "slave")) == RECEIVERS, (source, action)
