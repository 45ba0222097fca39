"""A recording of mount tables alone, as they are now: no probes, and nothing is traced."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from mnttrace.capture.about import about
from mnttrace.capture.identity.registry import People
from mnttrace.capture.survey.surveyor import Surveyor
from mnttrace.linux.namespaces import kernel_namespaces, mount_namespaces
from mnttrace.recording.snapshots import Snapshots
from mnttrace.recording.writer import Writer


@dataclass(frozen=True)
class Still:
    """What was recorded.

    Attributes:
        namespaces: how many mount namespaces.
        unreadable_processes: processes that this user may not look at: there may be more.
        unreadable_tables: namespaces whose tables could not be read.
    """

    namespaces: int
    unreadable_processes: int
    unreadable_tables: int


def record_still(directory: Path, force: bool = False) -> Still:
    """Record the mount tables of all namespaces that this user may look at.

    Raises:
        OutputError: it exists, or cannot be written.
    """
    writer = Writer(directory, force)
    writer.meta |= about()
    surveyor = Surveyor()
    snapshots = Snapshots(writer.add)
    people = People(writer.add)
    found = mount_namespaces(descriptors=True, binds=True, kernel=True)
    for namespace in found.namespaces.values():
        survey = surveyor.survey(namespace, "start")
        if survey:
            people.namespace(survey.key, survey.ns, survey.pid or 0, None)
            snapshots.take(survey.as_mount_table(), 0)
    # With the kernel's own list, what processes are in does not matter.
    hidden = 0 if kernel_namespaces() else len(found.unreadable)
    losses = {"unreadable_tables": surveyor.unreadable, "unreadable_processes": hidden}
    for kind, count in losses.items():
        writer.add("losses", {"kind": kind, "count": count})
    writer.meta |= {"stopped": time.time_ns(), "losses": losses}
    writer.close()
    return Still(len(people.namespaces), hidden, surveyor.unreadable)
