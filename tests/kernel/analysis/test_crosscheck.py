# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The model of shared subtrees held against recordings of real operations."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from mnttrace.analysis.recording import Recording

SCRIPT = """
mount -t tmpfs one a; mkdir -p a/x a/y b/z
mount -t tmpfs two a/x; mkdir a/x/in; mount --bind b a/x/in
mount --rbind a/x a/y
umount -l a/y; umount a/x
mount --make-rslave b; mount -t tmpfs three b/z; umount b/z
"""
# Each reader takes one line; that the fifo has a writer all along keeps them from an end of file.
RECEIVERS = """
mkdir a b; mount -t tmpfs b b; mkfifo end; exec 9<>end
for kind in unchanged slave private; do
    unshare -m --propagation $kind sh -c "touch $kind; read end <end" &
done
until [ -e unchanged -a -e slave -a -e private ]; do sleep 0.02; done
"""


@pytest.fixture
def recording(record) -> Recording:
    return record(SCRIPT, before=RECEIVERS, after="for n in 1 2 3; do echo >&9; done; wait").run


def test_the_model_agrees_with_what_was_recorded(recording: Recording, mnttrace) -> None:
    found = recording.crosscheck
    assert found.disagreements.empty
    assert found.checked == 8
    said = mnttrace("info", "--check", recording.directory).stdout
    assert "the model agrees with 8 operations, 0 could not be checked" in said
    effects = recording.effects
    assert (effects["via"] == "peer").sum() >= 10


def test_what_is_missing_or_too_much_is_told_and_nothing_is_put_right(
    recording: Recording,
) -> None:
    path = recording.directory / "effects.parquet"
    effects = recording.effects
    copies = effects[(effects["via"] == "slave") & (effects["action"] == "attach")]
    lost = copies.iloc[-1]
    table = pq.read_table(path)
    keep = [at for at in range(table.num_rows) if at != copies.index[-1]]
    pq.write_table(table.take(keep), path)
    told = Recording(recording.directory).crosscheck.disagreements
    assert set(zip(told["ns_id"], told["mountpoint"], strict=True)) == {
        (lost["ns_id"], lost["mountpoint"])
    }
    # The model knows that it came, and not of what went later.
    assert list(zip(told["seq"], told["action"], told["only_in"], strict=True)) == [
        (lost["seq"], "attach", "model"),
        (told["seq"].iloc[-1], "detach", "recording"),
    ]
    assert told["seq"].iloc[-1] > lost["seq"]
