# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mount namespaces to measure in, with others that receive; and the facts of the machine."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
TRACEFS = "mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing"


def within(prepare: str, file: str, words: list[str]) -> str:
    """Run a benchmark's file with other words in a mount namespace, in a folder with a tmpfs.

    Args:
        prepare: shell text that makes there what is needed; its jobs are ended afterwards. There
            are the folders place, tree and bound; the root is shared, and tracefs is mounted.
        file: the benchmark's.
        words: its arguments.

    Returns:
        What it wrote to standard output.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = f"""
        mount -t tmpfs bench {folder}; cd {folder}; mkdir place tree bound
        {TRACEFS}
        trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
        {prepare}
        {again(file, words)}
        """
        return isolated(script, Path(folder), {})


def beside(runtime: str, file: str, words: list[str]) -> str:
    """Run a benchmark's file where `sh -ec "$CONTAINER"` starts a container that does nothing.

    Args:
        runtime: one of tests/runtimes.
        file, words: as for :func:`within`.
    """
    from tests.runtimes.runtimes import Container, own_cgroups, script

    with tempfile.TemporaryDirectory() as folder, own_cgroups() as cgroups:
        body = f"{TRACEFS}\n{again(file, words)}"
        text = script(runtime, Path(folder), Container("true"), body)
        return isolated(text, Path(folder), {"CGROUPS": cgroups})


def again(file: str, words: list[str]) -> str:
    return shlex.join([sys.executable, str(Path(file).resolve()), *words])


def isolated(script: str, folder: Path, environment: dict[str, str]) -> str:
    """Run shell text in a mount namespace of its own; what it wrote to standard output."""
    command = ["unshare", "--mount", "--propagation", "private", "bash", "-ec"]
    done = subprocess.run(
        [*command, f"mount --make-rshared /\n{script}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | environment | {"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT}/benchmarks"},
    )
    return done.stdout


def receivers(count: int) -> str:
    """A shared mount at `place`, and so many namespaces that receive from it, for `within`."""
    return f"mount -t tmpfs --make-shared place place; mkdir place/x\n{namespaces(count, 'slave')}"


def namespaces(count: int, propagation: str) -> str:
    """So many namespaces, each with one process, whose pid is in ready.NUMBER."""
    start = f"""
    for i in $(seq {count}); do
      unshare --mount --propagation {propagation} sh -c 'echo $$ >ready.$1; exec sleep 1000' sh $i &
    done
    for i in $(seq {count}); do until [ -s ready.$i ]; do sleep .01; done; done
    """
    return start if count else ""


def tree(count: int | str) -> str:
    """A private mount at `tree`, with so many others on it; or as many as shell text says."""
    return f"""
    for i in $(seq {count}); do mkdir -p tree/$i; done
    mount --bind --make-private tree tree
    for i in $(seq {count}); do mount -t tmpfs tree tree/$i; done
    """


def machine() -> dict[str, str | int]:
    """What is measured on."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "kernel": platform.release(),
        "processors": os.cpu_count() or 0,
        "model": model[0] if model else platform.machine(),
        "memory_gib": round(memory / 2**30),
        "python": platform.python_version(),
    }
