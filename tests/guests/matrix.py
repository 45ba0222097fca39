# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The tests on stock kernels: each is booted by QEMU, and judged by what ran inside.

    sudo .venv/bin/python -m tests.guests.matrix [--suites doctor,seeds] [--at-once 2] [KERNEL …]

A KERNEL is a version that Debian has, such as 6.1; without any, all that are supported. What was
fetched is in ~/.cache/mnttrace-kernels, and what was said in .kernels/KERNEL. Prints a table; ends
with status 1 if a suite failed or a kernel could not be judged.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import CHECKOUT
from tests.guests.guest import X86, Guest, Outcome, in_own_mounts
from tests.guests.packages import Archive

KERNELS = ("5.10", "6.1", "6.12", "6.18", "7.3")
PYTEST = ".venv/bin/python -m pytest -p no:cacheprovider -q"
SUITES = {
    "doctor": ".venv/bin/python -m mnttrace doctor",
    "seeds": f"{PYTEST} tests/kernel/test_seeds.py",
    "hooks": f"{PYTEST} tests/kernel/probes/test_hooks.py tests/kernel/linux/test_bpf.py "
    "-k 'not kprobes'",
    "lists": f"{PYTEST} tests/kernel/capture/survey/test_long_lists.py",
    "kprobes": f"{PYTEST} tests/kernel/probes/test_hooks.py -k kprobes && "
    f"PYTHONPATH=tests/guests/kprobes:$PYTHONPATH {PYTEST} tests/kernel/test_seeds.py",
    "tables": f"{PYTEST} tests/kernel/analysis/test_moments.py",
    "concurrency": f"{PYTEST} tests/truth/test_concurrency.py",
    "fresh": f"MNTTRACE_SHORT=1 {PYTEST} tests/truth/test_fresh.py tests/truth/test_uncalled.py "
    "tests/truth/test_compat.py",
    "truth": f"{PYTEST} -s tests/truth/test_matrix.py",
    "model": f"{PYTEST} -s tests/truth/test_model.py",
    "scale": f"{PYTEST} tests/truth/test_scale.py",
    "random": f"MNTTRACE_MODEL_OPERATIONS=400 {PYTEST} -rA tests/truth/test_recording_at_random.py",
    "runc": f"{PYTEST} tests/runtimes/test_reach.py -k runc",
    "wheel": f"{PYTEST} tests/kernel/house/test_wheel.py",
}
# What is run only if it is asked for: it takes the path of the checkout away, which would be in the
# logs, so that other suites cannot follow it.
RAW_LOGS = (
    'cd /media && umount -l "$OLDPWD" && '
    "PYTHONPATH=/media .venv/bin/python -m tests.replay.make_logs /mnt/raw-logs"
)
ON_REQUEST = {
    "raw-logs": RAW_LOGS,
    "raw-logs-backends": f"{RAW_LOGS} --backends walk,syscalls,none",
}
# Emulated processors are slow: what a test waits for may take so many times as long.
# All of these kernels take programs on their functions.
ENVIRONMENT = (
    "export PYTHONPATH=$PWD MNTTRACE_REQUIRE_KERNEL=1 MNTTRACE_REQUIRE_HOOKS=1 MNTTRACE_PATIENCE=20"
)
TIMEOUT = 3600  # seconds for each suite, as one may take what another leaves


def cell(outcome: Outcome) -> str:
    if outcome.status is None:
        return "not judged"
    return f"{'passed' if outcome.status == 0 else 'failed'}, {outcome.seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kernels", nargs="*", default=KERNELS)
    parser.add_argument("--suites", default=",".join(SUITES))
    parser.add_argument("--at-once", type=int, default=1, help="guests that run at a time")
    asked = parser.parse_args()
    in_own_mounts()
    known = SUITES | ON_REQUEST
    suites = {name: known[name] for name in asked.suites.split(",")}
    archive = Archive(Path.home() / ".cache/mnttrace-kernels")
    qemu = archive.qemu(X86.package)
    print("| kernel | " + " | ".join(suites) + " |\n|---|" + "---|" * len(suites), flush=True)
    is_good = True
    commands = {name: f"{ENVIRONMENT}; {command}" for name, command in suites.items()}
    guests = [Guest(X86, qemu, archive.kernel(version)) for version in asked.kernels]

    def run(version: str, guest: Guest) -> list[Outcome]:
        return guest.run(commands, CHECKOUT / ".kernels" / version, TIMEOUT * len(suites))

    with ThreadPoolExecutor(asked.at_once) as pool:
        for guest, found in zip(guests, pool.map(run, asked.kernels, guests), strict=True):
            is_good &= all(outcome.status == 0 for outcome in found)
            print(f"| {guest.release} | {' | '.join(map(cell, found))} |", flush=True)
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
