# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Beside others that use BPF: what a call did is told in any case, and each call, or that it is
missing.

While a processor is in a bpf(2) call on a map, the kernel runs no program on tracepoints there
(trace_call_bpf() in kernel/trace/bpf_trace.c).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mnttrace.analysis.recording import Recording

LOOPS, POLLER = (Path(__file__).with_name(name) for name in ("loops.py", "poller.py"))
RECEIVERS = 2

SCRIPT = f"""
mkdir shared; mount -t tmpfs shared shared
for n in $(seq {RECEIVERS}); do
    mkfifo fifo$n
    unshare -m --propagation slave sh -c "touch ready$n; read -r end <fifo$n" &
done
until [ "$(ls ready* 2>/dev/null | wc -l)" = {RECEIVERS} ]; do sleep 0.02; done
{{neighbours}}
$MNTTRACE record --keep-raw -o run.mnttrace -- python3 {LOOPS} "$PWD/shared" 2 1 processes >made
"""
RECORDER = """
$MNTTRACE record -o beside{n}.mnttrace --duration 60 &
until [ -e beside{n}.mnttrace/meta.json ]; do sleep 0.1; done
"""


@pytest.mark.parametrize("neighbours", ["one recorder", "three recorders", "a poller"])
def test_each_call_is_told_or_counted_and_each_effect_has_its_thread(
    in_namespace, tmp_path: Path, neighbours: str
) -> None:
    number = {"one recorder": 1, "three recorders": 3}.get(neighbours, 0)
    lines = [RECORDER.format(n=n) for n in range(number)] or [f"python3 {POLLER} &"]
    in_namespace(SCRIPT.format(neighbours="\n".join(lines)), timeout=240)
    run = Recording(tmp_path / "run.mnttrace")
    made = dict(map(int, line.split()) for line in (tmp_path / "made").read_text().splitlines())
    losses = {kind: n for kind, n in run.meta["losses"].items() if not kind.startswith("sent")}
    lost = losses.pop("lost_runs") + losses.pop("torn_operation")
    unlisted = losses.pop("lost_made")
    assert not any(losses.values()), losses

    calls = run.operations
    # What other recorders ask their programs is nobody's operation.
    assert set(calls[calls["syscall"] == "setns"]["flags_value"]) <= {0, 0x20000}
    ours = calls[calls["tid"].isin(made) & calls["syscall"].isin(["mount", "umount2"])]
    pairs = sum(made.values())
    print(f"{pairs} pairs, {len(ours)} calls told, {lost} missing, {unlisted} mounts not listed")
    assert len(ours) + lost == 2 * pairs

    effects = run.effects[run.effects["source"].str.startswith("loop", na=False)]
    attached = effects[effects["action"] == "attach"]
    assert len(attached) + unlisted == pairs * (1 + RECEIVERS)
    assert len(effects) == 2 * len(attached)
    wrong = effects[~effects["tid"].isin(made)]
    assert wrong.empty, wrong[["action", "via", "evidence", "seq", "tid", "mountpoint"]]
    known = effects[effects["seq"].notna()]
    assert (known["tid"] == known["seq"].map(calls.set_index("seq")["tid"])).all()
