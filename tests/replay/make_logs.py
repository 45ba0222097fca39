# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Records the scenarios, and keeps the raw logs: KERNEL-BACKEND/NAME.arrows.

    sudo python -m tests.replay.make_logs FOLDER [--backends walk,none] [--only NAME …]
    python -m tests.replay.make_logs --rows

Without --backends the recorder takes the one that it takes by itself. With --rows no log is made:
the rows that those in tests/replay/logs give now become those that they must give.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mnttrace.capture.stream.raw_log import Header, RawLog
from tests.rejoined import joined
from tests.replay.readable import readable
from tests.replay.scenarios import FUNCTIONS, NONE, SCENARIOS, SYSCALLS, Scenario

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
LOGS = HERE / "logs"
CONTAINER = HERE.parent.parent / "scripts/container.sh"
SIZE = 200_000  # bytes that a log may have
PAUSES = {NONE: 1, SYSCALLS: 0.5}  # seconds
# Runs in a mount namespace of its own, with few mounts; bcc needs /sys/kernel/tracing for kprobes.
# `end` is what receivers wait for.
PREPARE = """
for place in /sys/fs/bpf /dev/shm /dev/pts /var/tmp; do
    umount -l $place 2>/dev/null || true
done
mount --make-rshared /
mount -t tmpfs srv-1 /srv
cd /srv
cp "$PROGRAMS"/*.py "$SCRIPTS"/* .
mkfifo end
exec sh -e outside.sh
"""
OUTSIDE = """
. ./functions
{before}
$PYTHON -m mnttrace record --keep-raw -o run.mnttrace {options} -- sh -e recorded.sh >&2
cp run.mnttrace/raw.arrows "$RESULT"
: >end
wait
"""


def record(scenario: Scenario, backend: str | None, result: Path) -> None:
    """Record a scenario; its raw log becomes `result`."""
    options = f"--backend {backend}" if backend else ""
    with tempfile.TemporaryDirectory() as folder:
        scripts = {
            "functions": FUNCTIONS,
            "outside.sh": OUTSIDE.format(before=scenario.before, options=options),
            "recorded.sh": f". ./functions\n{scenario.recorded}",
        }
        for name, text in scripts.items():
            (Path(folder) / name).write_text(text)
        environment = os.environ | {
            "CONTAINER": str(CONTAINER),
            "LIBMOUNT_FORCE_MOUNT2": "always",
            "PAUSE": str(PAUSES.get(backend or "", 0)),
            "PROGRAMS": str(PROGRAMS),
            "PYTHON": sys.executable,
            "RESULT": str(result),
            "SCRIPTS": folder,
        }
        own = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", PREPARE]
        subprocess.run(own, env=environment, stdin=subprocess.DEVNULL, check=True)


def kind(header: Header) -> str:
    """What a log was recorded with, such as 6.18-walk or 6.1-arm64-kernel-hooks."""
    kernel = ".".join(header.meta["kernel"].split(".")[:2])
    machine = "" if header.meta["machine"] == "x86_64" else "-arm64"
    return f"{kernel}{machine}-{header.setting.backend}"


def make(folder: Path, backends: list[str | None], names: list[str]) -> bool:
    """Record scenarios into a folder; whether all went well."""
    is_good = True
    for backend in backends:
        for name in names or SCENARIOS:
            scenario = SCENARIOS[name]
            if not all(map(shutil.which, scenario.needs)):
                continue
            if backend and backend not in scenario.backends:
                continue
            with tempfile.TemporaryDirectory() as temporary:
                result = Path(temporary) / f"{name}.arrows"
                try:
                    record(scenario, backend, result)
                except subprocess.CalledProcessError as error:
                    print(f"{name}, {backend}: status {error.returncode}", flush=True)
                    is_good = False
                    continue
                size = result.stat().st_size
                is_good &= size <= SIZE
                place = folder / kind(RawLog(result).header)
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(result, place)
                print(f"{place.name}/{result.name}: {size} bytes", flush=True)
    return is_good


def write_rows() -> None:
    """What the logs give now is what they must give."""
    for path in sorted(LOGS.glob("*/*.arrows")):
        rows = readable(joined(RawLog(path)))
        path.with_suffix(".rows").write_text("".join(f"{line}\n" for line in rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--backends", default="")
    parser.add_argument("--only", nargs="*", default=[], choices=SCENARIOS)
    parser.add_argument("--rows", action="store_true")
    asked = parser.parse_args()
    if asked.rows:
        write_rows()
        return
    if asked.folder is None:
        parser.error("FOLDER, or --rows")
    backends = asked.backends.split(",") if asked.backends else [None]
    sys.exit(not make(asked.folder.resolve(), backends, asked.only))


if __name__ == "__main__":
    main()
