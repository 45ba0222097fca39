# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The first way to see mounts that this kernel takes: kept programs are loaded, others compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mnttrace.errors import CaptureError, MissingPrerequisite
from mnttrace.probes import call_functions
from mnttrace.probes.backends import Candidate, Features, candidates
from mnttrace.probes.compiled import Facts, ProgramSet
from mnttrace.probes.kernel_functions import Tries, are_switched_off
from mnttrace.probes.supply import Say, Supply

Load = Callable[[Candidate, ProgramSet, Facts], None]


def arm(
    backend: str | None, supply: Supply, load: Load, say: Say, compat: bool = False
) -> Features:
    """Load the programs of the first way that this kernel takes.

    That it takes programs on functions shows when kept ones are loaded. What has to be compiled is
    tried before, since that takes long.

    Args:
        backend: one of :data:`mnttrace.probes.backends.BACKENDS`; None: any.
        supply: where programs come from.
        load: loads a candidate's programs, and attaches them.
        say: told what was refused.
        compat: whether 32-bit calls are seen, too.

    Returns:
        What this kernel has.

    Raises:
        MissingPrerequisite: no programs for this kernel can do that.
        CaptureError: the kernel refuses what it should take, or it cannot be compiled.
    """
    features = Features.tried(supply.facts)
    tries = Tries(supply.facts)
    refused: CaptureError | None = None
    for candidate in _wanted(backend, supply, features, compat):
        for programs in _sets(candidate, supply, tries):
            try:
                load(candidate, programs, supply.facts)
            except CaptureError as error:
                refused = error
                say(f"programs for {candidate.backend} are not used: {error.message}")
            else:
                return features
    if refused:
        raise refused
    wanted = f"do --backend {backend}" if backend else "record calls"
    if supply.compiles:
        raise MissingPrerequisite(
            f"this kernel cannot {wanted}", "without it, the best that it can is done"
        )
    raise MissingPrerequisite(f"the programs {supply.origin} cannot {wanted} on this kernel")


def _sets(candidate: Candidate, supply: Supply, tries: Tries) -> Iterator[ProgramSet]:
    """The programs of a candidate: those that are kept; then, compiled anew, if it is likely that
    the kernel takes them."""
    kept = supply.find(candidate.definitions)
    if kept:
        yield kept
    if (
        supply.compiles
        and (not candidate.hooks or tries.accept(candidate.hooks))
        and (not candidate.calls_by_function or call_functions.can_be_used(supply.facts))
    ):
        yield supply.compile(candidate.definitions)


def _wanted(
    backend: str | None, supply: Supply, features: Features, compat: bool
) -> Iterator[Candidate]:
    """The candidates, without those that would be accepted, and never run."""
    is_off = are_switched_off()
    for candidate in candidates(backend, supply.facts, features, compat):
        if not (candidate.hooks and is_off):
            yield candidate
