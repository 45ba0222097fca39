# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What is generated is what its source says: the types of the kernel's records."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from mnttrace.linux.syscalls import ArgKind, SyscallKind
from mnttrace.probes import records

SCRIPT = Path(__file__).parents[3] / "scripts" / "generate_records.py"


@pytest.fixture(name="module")
def _module() -> Callable[[str], str]:
    made: Callable[[str], str] = runpy.run_path(str(SCRIPT))["module"]
    return made


def test_the_records_are_those_of_the_header(module: Callable[[str], str]) -> None:
    header = SCRIPT.parents[1] / "bpf" / "records.h"
    now = Path(records.__file__).read_text()
    assert now == module(header.read_text()), "run scripts/generate_records.py"


@pytest.mark.parametrize("members", ["u8 a;\n\tu32 b;", "u64 a;\n\tu8 b;", "u32 a;\n\tu64 b[2];"])
def test_a_struct_with_padding_is_refused(module: Callable[[str], str], members: str) -> None:
    with pytest.raises(ValueError, match="struct made has padding"):
        module(f"{HEADER}struct made {{\n\t{members}\n}};\n")


@pytest.mark.parametrize("member", ["char a;", "struct path b;", "u64 *c;", "u32 d : 3;"])
def test_a_member_that_is_no_integer_is_refused(module: Callable[[str], str], member: str) -> None:
    with pytest.raises(ValueError, match="struct made has members that are no integers"):
        module(f"{HEADER}struct made {{\n\tu64 first;\n\t{member}\n}};\n")


def test_structs_are_unpacked(module: Callable[[str], str]) -> None:
    names: dict[str, object] = {}
    exec(
        module(f"{HEADER}/* Two. */\nstruct pair {{\n\tu16 a;\n\tu16 b[3];\n\tu8 c[4];\n}};\n"),
        names,
    )
    pair = names["Pair"]
    one = pair.unpack(b"..\1\0\2\0\3\0\4\0text", 2)
    assert (one.a, one.b, one.c, pair.__doc__) == (1, (2, 3, 4), b"text", "Two.")
    data = b"." + bytes(24) + b"rest"
    assert [two.c for two in pair.unpack_many(data, 1, 2)] == [bytes(4)] * 2
    assert names["PAIR_SIZE"] == 12


@pytest.mark.parametrize("kind", [ArgKind, SyscallKind], ids=lambda kind: kind.__name__)
def test_the_table_of_calls_has_the_codes_of_the_header(
    kind: type[ArgKind] | type[SyscallKind],
) -> None:
    prefix = "ARG_KIND_" if kind is ArgKind else "SYSCALL_KIND_"
    found = {name.removeprefix(prefix) for name in vars(records) if name.startswith(prefix)}
    assert {name: int(code) for name, code in kind.__members__.items()} == {
        name: getattr(records, prefix + name) for name in found
    }


# One constant of each enumeration, which cannot be empty.
HEADER = "".join(
    f"/* {name}. */\n#define {name} 1\n"
    for name in ("RECORD_A", "LIST_A", "HOW_A", "BY_A", "LOST_A")
)
