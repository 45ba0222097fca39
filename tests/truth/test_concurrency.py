"""Several threads and processes mount under one shared mount at once, with six receivers.

MNTTRACE_LOOP_SECONDS says how long, 3 s if it does not.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from mnttrace.analysis.recording import Recording

pytestmark = pytest.mark.kernel

LOOPS = Path(__file__).with_name("loops.py")
SECONDS = os.environ.get("MNTTRACE_LOOP_SECONDS", "3")
RECEIVERS = 6


@pytest.mark.parametrize("kind", ["processes", "threads"])
@pytest.mark.parametrize("loops", [3, 8])
def test_nothing_is_missing_nothing_is_there_twice_and_every_owner_is_right(
    in_namespace, tmp_path: Path, kind: str, loops: int
) -> None:
    in_namespace(
        f"""
        mkdir shared; mount -t tmpfs shared shared
        for n in $(seq {RECEIVERS}); do
            unshare -m --propagation $([ $((n % 2)) = 0 ] && echo unchanged || echo slave) \
                sh -c "touch ready$n; read end <fifo$n" &
            mkfifo fifo$n
        done
        until [ $(ls ready* | wc -l) = {RECEIVERS} ]; do sleep 0.05; done
        $MNTTRACE record -o run.mnttrace -- \
            python3 {LOOPS} $PWD/shared {loops} {SECONDS} {kind} >made
        """,
        timeout=240,
    )
    run = Recording(tmp_path / "run.mnttrace")
    made = dict(map(int, line.split()) for line in (tmp_path / "made").read_text().splitlines())
    assert len(made) == loops
    assert not [kind for kind, n in run.meta["losses"].items() if n and not kind.startswith("sent")]
    effects = run.effects[run.effects["source"].str.startswith("loop", na=False)]
    print(f"{sum(made.values())} mounts by {loops} {kind}, {len(effects)} effects")
    # Each mount came to the seven namespaces, and went from each.
    assert len(effects) == 2 * (1 + RECEIVERS) * sum(made.values())
    for action in ("attach", "detach"):
        told = effects[effects["action"] == action]
        assert told["mnt_id_unique"].is_unique
    operations = run.operations.set_index("seq")
    told = effects.assign(
        made_by=effects["seq"].map(operations["tid"]),
        place=effects["seq"].map(operations["path"]).str.rpartition("/")[2],
        call=effects["seq"].map(operations["syscall"].astype("string")),
    )
    ambiguous = (told["evidence"] == "ambiguous").sum()
    print(f"ambiguous: {ambiguous} of {len(told)}")
    assert ambiguous * 1000 <= len(told)
    certain = told[told["evidence"] != "ambiguous"]
    assert (certain["place"] == certain["source"].str.removeprefix("loop")).all()
    assert (
        certain["call"] == certain["action"].map({"attach": "mount", "detach": "umount2"})
    ).all()
    assert (certain["tid"] == certain["made_by"]).all()
    # Each operation has its seven effects: not six of its own and one of the next.
    sizes = certain.groupby("seq").size()
    assert set(sizes) == {1 + RECEIVERS}
    by_thread = certain[certain["action"] == "attach"].groupby("made_by").size() / (1 + RECEIVERS)
    assert by_thread.astype(int).to_dict() == made
    assert isinstance(by_thread, pd.Series)
