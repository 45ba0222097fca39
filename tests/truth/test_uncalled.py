# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts that come and go without a call that is traced: by the kernel itself, by 32-bit calls."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mnttrace.analysis.recording import Recording
from tests.truth.busy import LOOPS, saturated

COMPAT = Path(__file__).with_name("compat.py")

# A peer, a slave, and a slave of that; `before` is there before the recording.
SCRIPT = f"""
mkdir shared; mount -t tmpfs folder shared; mkdir shared/debug shared/new shared/old
mount -t debugfs debug shared/debug
mount -t tmpfs before shared/old
mkfifo go; exec 3<>go
unshare -m --propagation unchanged sh -c 'touch ready-peer; read -r end <go' &
unshare -m --propagation slave sh -c '
    mount --make-rshared /
    unshare -m --propagation slave sh -c "touch ready-third; read -r end <go" & wait' &
until [ -e ready-peer ] && [ -e ready-third ]; do sleep 0.02; done
$MNTTRACE record --keep-raw -o run.mnttrace -- sh -ec '
    ls shared/debug/tracing >/dev/null
    python3 {COMPAT} mount compat "$PWD/shared/new" tmpfs
    python3 {COMPAT} umount "$PWD/shared/old" {{flags}}'
"""


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("flags", [0, 2])
def test_what_no_traced_call_did_is_told_with_its_thread(
    in_namespace, mnttrace, tmp_path: Path, flags: int, loops: int
) -> None:
    with saturated(loops):
        in_namespace(SCRIPT.format(flags=flags), timeout=240)
    run = Recording(tmp_path / "run.mnttrace")
    # Programs on the functions of calls see 32-bit ones, too.
    calls = 1 if run.meta["calls_by"] == "functions" else 0
    effects = run.effects

    automounts = effects[effects["mountpoint"] == f"{tmp_path}/shared/debug/tracing"]
    _check(automounts, "automount")
    _check(effects[effects["source"] == "compat"], "direct" if calls else "", calls)
    gone = effects[effects["source"] == "before"]
    assert set(gone["action"]) == {"detach"}
    assert gone["seq"].nunique() == calls
    assert len(gone) == gone["ns_id"].nunique() == 4
    assert gone["tid"].nunique() == 1
    losses = {kind: n for kind, n in run.meta["losses"].items() if not kind.startswith("sent")}
    assert not any(losses.values()), losses

    told = mnttrace("timeline", "run.mnttrace").stdout
    assert "no call was seen: the kernel mounted this on a look-up by it" in told
    place = f"{tmp_path}/shared/debug/tracing"
    told = mnttrace("why", "run.mnttrace", place).stdout
    # The process is gone long since; what it was called was seen as it ended.
    assert f"the kernel mounted it at {place} on a look-up by ls[" in told
    told = mnttrace("leaks", "run.mnttrace").stdout
    assert "made by    the kernel, on a look-up by ls[" in told


def _check(came: pd.DataFrame, via: str, calls: int = 0) -> None:
    """One mount, which a thread attached by so many calls that are told, and its copies in the
    three other namespaces."""
    assert set(came["action"]) == {"attach"}
    assert set(came["evidence"]) == {"kernel"}
    assert len(came) == came["ns_id"].nunique() == 4
    assert came["tid"].nunique() == 1
    assert came["seq"].nunique() == calls
    assert sorted(came["via"]) == sorted([via, "peer", "slave", "slave"])
    first = came[came["via"] == via].iloc[0]
    copies = came[came["via"] != via]
    assert set(copies["copy_of_unique"]) == {first["mnt_id_unique"]}
