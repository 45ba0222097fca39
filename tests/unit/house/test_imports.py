# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Imports point one way, form no circle and are lazy, and only the capture needs bcc."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import mnttrace

PACKAGE = Path(mnttrace.__file__).parent
# Room → the rooms that it may import from, beside itself and `errors`.
MAY_IMPORT = {
    "linux": set(),
    "recording": {"linux"},
    "probes": {"linux"},
    "capture": {"linux", "recording", "probes"},
    "analysis": {"linux", "recording"},
    "report": {"linux", "recording", "analysis"},
    "commands": {"linux", "recording", "probes", "capture", "analysis", "report"},
}
FOREIGN = {
    "linux": {"pandas", "pyarrow", "click", "rich", "bcc"},
    "recording": {"pandas", "click", "rich", "bcc"},
    "probes": {"pandas", "pyarrow", "click", "rich"},
    "capture": {"pandas", "click", "rich", "bcc"},
    "analysis": {"click", "rich", "bcc"},
    "report": {"click", "bcc"},
    "commands": {"bcc"},
}
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", [m for m in MODULES if len(m.parts) > 1], ids=str)
def test_imports_point_one_way(path: Path) -> None:
    room = path.parts[0]
    for name in imported(path):
        top, _, rest = name.partition(".")
        if top == "mnttrace" and rest:
            to = rest.partition(".")[0]
            allowed = {room, "errors", "__version__"} | MAY_IMPORT[room]
            assert to in allowed, f"{path} imports {name}"
        else:
            assert top not in FOREIGN[room], f"{path} imports {name}"


NAMES = {
    ".".join(["mnttrace", *path.with_suffix("").parts]).removesuffix(".__init__"): path
    for path in MODULES
}


def needed(path: Path) -> set[str]:
    """The package's modules that one imports: at once, later, or for types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside & NAMES.keys() or {node.module}
    return found & NAMES.keys()


def test_no_module_needs_itself_by_way_of_others() -> None:
    graph = {name: needed(path) for name, path in NAMES.items()}
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_bcc_is_imported_in_one_place() -> None:
    importers = [path for path in MODULES if "bcc" in {n.split(".")[0] for n in imported(path)}]
    assert importers == [Path("probes/compile.py")]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_is_imported_without_bcc() -> None:
    names = [name for name in NAMES if not name.endswith("__main__")]
    python(
        "import sys, importlib\n"
        "sys.modules['bcc'] = None\n"
        f"for name in {names!r}: importlib.import_module(name)"
    )


def test_help_imports_nothing_that_is_slow() -> None:
    loaded = python(
        "import sys\nsys.argv = ['mnttrace', '--help']\n"
        "from mnttrace.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )
    modules = set(loaded.rpartition("LOADED")[2].split())
    assert not modules & {"pandas", "pyarrow", "numpy", "rich", "bcc"}


def test_a_recorder_leaves_pandas_alone(tmp_path: Path) -> None:
    loaded = python(
        "import sys\nfrom pathlib import Path\nfrom mnttrace.recording.writer import Writer\n"
        f"writer = Writer(Path({str(tmp_path / 'run.mnttrace')!r}))\n"
        "writer.add('losses', {'kind': 'lost', 'count': 1})\nwriter.close()\n"
        "print('pandas' in sys.modules)\n"
        "from mnttrace.analysis.recording import Recording\n"
        f"print(Recording({str(tmp_path / 'run.mnttrace')!r}).losses['count'].sum())"
    )
    assert loaded.split() == ["False", "1"]
