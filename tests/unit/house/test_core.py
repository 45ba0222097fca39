# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The core does no I/O, and can be read: its files and its classes are small.

The core is mnttrace/capture/join; what it imports of the package does no I/O either, or the core
could do some by way of that.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

import pytest

import mnttrace
from tests.unit.house.test_imports import NAMES, PACKAGE, python

CORE = sorted((PACKAGE / "capture" / "join").glob("*.py"))
LINES = 300
ATTRIBUTES = 12
# All that may be imported from outside the package: values, types and their encoding.
MAY_IMPORT = {
    "__future__",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "errno",
    "functools",
    "itertools",
    "math",
    "msgspec",
    "operator",
    "re",
    "struct",
    "typing",
}
MAY_NOT_CALL = {"open", "print", "input", "exec", "eval", "compile", "breakpoint", "__import__"}
# The package's front door, which is imported before whatever is in it; it loads nothing by itself.
DOOR = Path(mnttrace.__file__)
# Where the fields are those of a struct of the kernel, of a row of a table or of a file's line,
# they are a value, however many there are. What has a state is none of these.
VALUES = {"mountinfo.Mount", "identity.Identity"}
VALUES_IN = {"records.py", "rows.py"}  # generated from records.h and from the schema


def modules() -> list[Path]:
    """The files of all modules of the package that are there once the core was imported."""
    names = [name for name, path in NAMES.items() if PACKAGE / path in CORE]
    loaded = python(
        "import sys, importlib\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(*(name for name in sys.modules if name.split('.')[0] == 'mnttrace'))"
    )
    return [PACKAGE / NAMES[name] for name in loaded.split()]


MODULES = [path for path in modules() if path != DOOR]
every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: "/".join(path.parts[-2:]))
every_file = pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_the_core_is_among_what_is_looked_at() -> None:
    assert set(CORE) <= set(MODULES)
    assert set(dir(builtins)) >= MAY_NOT_CALL


@every_module
def test_no_module_of_the_core_imports_what_does_io(path: Path) -> None:
    for node in ast.walk(tree(path)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            assert top in MAY_IMPORT | {"mnttrace"}, f"line {node.lineno}: {name}"


@every_module
def test_no_module_of_the_core_opens_or_prints(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name):
            assert node.id not in MAY_NOT_CALL, f"line {node.lineno}"


@every_file
def test_the_core_has_types(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name):
            assert node.id != "Any", f"line {node.lineno}"
        elif isinstance(node, ast.ImportFrom):
            assert "Any" not in {alias.name for alias in node.names}, f"line {node.lineno}"


@every_file
def test_the_files_of_the_core_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES


def attributes(node: ast.ClassDef) -> set[str]:
    """What a class keeps: fields, and what its methods assign to `self`."""
    found = {
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    for one in ast.walk(node):
        targets: list[ast.expr] = []
        if isinstance(one, ast.Assign):
            targets = one.targets
        elif isinstance(one, ast.AnnAssign | ast.AugAssign):
            targets = [one.target]
        for target in targets:
            for leaf in ast.walk(target):
                if not isinstance(leaf, ast.Attribute) or not isinstance(leaf.ctx, ast.Store):
                    continue
                if isinstance(leaf.value, ast.Name) and leaf.value.id == "self":
                    found.add(leaf.attr)
    return found


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                yield path, node


def is_value(path: Path, node: ast.ClassDef) -> bool:
    return path.name in VALUES_IN or f"{path.stem}.{node.name}" in VALUES


def test_no_class_of_the_core_has_more_than_a_dozen_attributes() -> None:
    large = {
        node.name: sorted(attributes(node))
        for path, node in classes()
        if not is_value(path, node) and len(attributes(node)) > ATTRIBUTES
    }
    assert large == {}


def test_attributes_are_counted() -> None:
    code = "class A:\n x: int\n def f(self):\n  self.a = self.b = 1\n  self.c, (self.d, e) = f()\n"
    code += "  self.e: int = 0\n  self.g += 1\n  self.h.i = 1\n"
    [node] = ast.parse(code).body
    assert isinstance(node, ast.ClassDef)
    assert attributes(node) == {"x", "a", "b", "c", "d", "e", "g"}
