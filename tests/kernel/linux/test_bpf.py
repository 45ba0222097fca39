# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What is asked of the kernel by loading a program, held against what is known of its releases."""

from __future__ import annotations

import os
import re

from mnttrace.linux.bpf import takes_cast, takes_may_goto
from mnttrace.linux.btf import Btf
from mnttrace.probes import facts


def release() -> tuple[int, ...]:
    """Such as (6, 18)."""
    return tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])


def test_loops_without_a_counter_are_of_linux_6_14() -> None:
    assert takes_may_goto() == (release() >= (6, 14))


def test_any_address_can_be_read_through_from_linux_6_17_on() -> None:
    function = Btf.load().function_id("bpf_rdonly_cast")
    assert (function is not None and takes_cast(function)) == (release() >= (6, 17))


def test_any_address_can_be_read_as_a_struct_from_linux_6_2_on() -> None:
    found = facts.read()
    function = found.functions.get(facts.CAST)
    can_be = function is not None and takes_cast(function.number, found.struct_of_bytes)
    assert can_be == (release() >= (6, 2))
    # Another type, such as a number, is refused.
    assert function is None or not takes_cast(function.number, 1)


def test_another_function_is_no_cast() -> None:
    assert not takes_cast(0)
    assert not takes_cast(Btf.load().function_id("bpf_get_current_comm") or 1)
