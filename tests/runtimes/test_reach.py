# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What comes out of a real container, and what gets in, with each propagation of its volume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mnttrace.analysis.recording import Recording
from mnttrace.linux.mountinfo import parse
from tests.runtimes.runtimes import RUNTIMES, Container, own_cgroups, script

Run = Callable[..., CompletedProcess[str]]

# Mounts below its volume, shows its mounts, and waits until the host has mounted there, too.
INNER = """
mkdir -p /volume/out && mount -t tmpfs inside /volume/out
cat /proc/self/mountinfo >/volume/before; touch /volume/ready
read -r word </volume/gate
cat /proc/self/mountinfo >/volume/after
"""
BODY = """
mkfifo volume/gate; mkdir volume/in
$MNTTRACE record -o run.mnttrace -- sh -ec '
    sh -ec "$CONTAINER" >container.log 2>&1 & container=$!
    until [ -e volume/ready ]; do
        kill -0 $container || { cat container.log; exit 1; }
        sleep .02
    done
    mount -t tmpfs outside volume/in
    echo go >volume/gate
    wait $container'
cat /proc/self/mountinfo >host
"""
# Whether the container's mounts reach the host, and the host's the container.
REACH = {"rprivate": (False, False), "rslave": (False, True), "rshared": (True, True)}

# Move their root over the old one, where others enter it and unmount the old one.
COVERS = {"nspawn"}

EVERY = [
    pytest.param(name, propagation, marks=pytest.mark.kernel(*runtime.commands))
    for name, runtime in RUNTIMES.items()
    for propagation in runtime.propagations
]


@pytest.mark.parametrize(("runtime", "propagation"), EVERY)
def test_the_recording_says_what_both_mount_tables_do(
    runtime: str, propagation: str, in_namespace: Run, tmp_path: Path
) -> None:
    out, into = REACH[propagation]
    with own_cgroups() as cgroups:
        text = script(runtime, tmp_path, Container(INNER, propagation=propagation), BODY)
        in_namespace(text, CGROUPS=cgroups, timeout=120)
    host = parse((tmp_path / "host").read_text(), "host")
    assert ("inside" in {line.source for line in host}) == out
    run = Recording(tmp_path / "run.mnttrace")
    losses = {kind: n for kind, n in run.meta["losses"].items() if n}
    assert not [kind for kind in losses if kind.startswith(("lost", "cut", "torn"))]
    leaks = run.leaks.set_index("source")
    home = run.meta["home_ns_id"]
    escaped = leaks[(leaks.index == "inside") & (leaks["dst_ns_id"] == home)]
    assert len(escaped) == int(out)
    if out:
        [leak] = escaped.to_dict("records")
        assert leak["direction"] == "container→host"
        assert leak["kind"] in ("escape", "residue")
        assert leak["mountpoint"] == f"{tmp_path}/volume/out"
        assert leak["present"] == 1
        assert leak["src_name"] == ("web" if runtime != "bwrap" else leak["src_name"])
    reached = leaks[(leaks.index == "outside") & (leaks["src_ns_id"] == home)]
    containers = set(run.namespaces.loc[run.namespaces["kind"] == "container", "ns_id"])
    assert bool(set(reached["dst_ns_id"]) & containers) == into


@pytest.mark.parametrize(
    "runtime",
    [
        pytest.param(name, marks=pytest.mark.kernel(*runtime.commands))
        for name, runtime in RUNTIMES.items()
    ],
)
def test_how_its_root_was_prepared_is_told(runtime: str, in_namespace: Run, tmp_path: Path) -> None:
    """Namespace made, propagation cut, root entered, the old root gone."""
    with own_cgroups() as cgroups:
        body = '$MNTTRACE record -o run.mnttrace -- sh -ec "$CONTAINER" >container.log 2>&1'
        text = script(runtime, tmp_path, Container("sleep .3"), body)
        in_namespace(text, CGROUPS=cgroups, timeout=120)
    run = Recording(tmp_path / "run.mnttrace")
    containers = run.namespaces.loc[run.namespaces["kind"] == "container", "ns_id"]
    # systemd-nspawn makes another one of the first, once that is prepared.
    made = run.births[run.births["ns_id"].isin(containers)]
    assert len(made) == (2 if runtime == "nspawn" else 1)
    assert set(containers) == set(made["ns_id"])
    effects = run.effects[run.effects["ns_id"] == made["ns_id"].iloc[0]]
    operations = run.operations.set_index("seq")
    steps = effects.dropna(subset=["seq"]).assign(
        call=effects["seq"].map(operations["syscall"].astype("string"))
    )
    birth = steps[steps["via"] == "namespace-copy"]
    assert set(birth["call"]) <= {"unshare", "clone", "clone3"}
    assert birth["seq"].nunique() == 1
    inherited = set(birth["mnt_id_unique"])
    changed = steps[(steps["action"] == "change") & steps["mnt_id_unique"].isin(inherited)]
    assert not changed.empty  # made slave or private
    assert birth["seq"].min() <= changed["seq"].min()
    gone = steps[(steps["action"] == "detach") & steps["mnt_id_unique"].isin(inherited)]
    if runtime in COVERS:
        moved = steps[steps["action"] == "move"]
        assert (moved["mountpoint"] == "/").any()
        assert gone.empty
    else:
        assert (steps["call"] == "pivot_root").any()
        assert changed["seq"].min() < gone["seq"].max()
