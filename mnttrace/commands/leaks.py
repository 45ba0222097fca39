"""`mnttrace leaks`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnttrace.commands._common import RECORDING, warn_of_losses
from mnttrace.errors import BadInput
from mnttrace.report.text import safe

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording

_BIRTHS_SHOWN = 8
_TITLES = {"held": "held, "}
_FOUND = 3  # exit status


@click.command("leaks")
@RECORDING
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@click.option(
    "--fail-on",
    metavar="KIND[,KIND]",
    default="",
    help="Exit with status 3 if there is a leak of such a kind, or of any: held, residue, escape, "
    "container-to-container, host-to-container, doubling, other, any.",
)
def command(recording: Path, as_json: bool, fail_on: str) -> None:
    """Show which mounts reached other mount namespaces, and who did it."""
    from mnttrace.analysis.recording import Recording

    kinds = _kinds(fail_on)
    run = Recording(recording)
    found = run.leaks
    warn_of_losses(run.meta)
    growing = run.doublings.assign(kind="doubling")
    if as_json:
        told = [
            json.loads(one.to_json(orient="records", date_format="iso")) for one in (found, growing)
        ]
        click.echo(json.dumps([*told[0], *told[1]], indent=1))
    else:
        _tell(run)
    if kinds & {*found["kind"], *growing["kind"]}:
        sys.exit(_FOUND)


def _kinds(text: str) -> set[str]:
    """The kinds of leak that are asked for.

    Raises:
        BadInput: there is no such kind.
    """
    from mnttrace.analysis.leaks import KINDS

    asked = {kind for kind in text.split(",") if kind}
    unknown = asked - {*KINDS, "any"}
    if unknown:
        raise BadInput(
            f"there is no kind of leak called {', '.join(sorted(unknown))}",
            f"there are {', '.join(KINDS)}, and any",
        )
    return set(KINDS) if "any" in asked else asked


def _tell(run: Recording) -> None:
    from mnttrace.analysis.replay import rows
    from mnttrace.report.calls import call_text

    found = run.leaks
    if found.empty:
        click.echo("No mount reached another mount namespace.")
    carriers = run.operations[run.operations["seq"].isin(found["carrier_seq"])]
    calls = {row["seq"]: call_text(row) for row in rows(carriers)}
    for number, row in enumerate(rows(found), 1):
        click.echo(("\n" if number > 1 else "") + "\n".join(_story(number, row, calls)))
    for row in rows(run.doublings):
        click.echo("\n" + "\n".join(_doubling(row)))
    births = run.births
    for row in rows(births.head(_BIRTHS_SHOWN)):
        click.echo(_birth(row))
    if len(births) > _BIRTHS_SHOWN:
        click.echo(f"{len(births) - _BIRTHS_SHOWN} more namespaces were made.")


def _story(number: int, row: dict[str, Any], calls: dict[int, str]) -> list[str]:
    def text(name: str) -> str:
        return "?" if row[name] is None else safe(row[name])

    more = f" and {row['mounts'] - 1} more" if row["mounts"] > 1 else ""
    state = "gone at the end"
    if row["present"]:
        state = "still there" if row["mounts"] == 1 else f"{row['present']} still there"
    if row["residue"]:
        state += ", though the original is gone"
    title = _TITLES.get(row["kind"], "") + row["direction"]
    lines = [
        f"{number}. {title}: {text('fstype')} at {text('mountpoint')}{more}, {state}",
        f"   in         {text('dst_name')} (mnt:[{row['dst_ns']}])"
        + (f" as mount {row['mount_ids']}" if row["mount_ids"] else ""),
        f"   made by    {text('comm')}[{text('pid')}] in {text('src_name')} "
        f"(mnt:[{row['src_ns']}]): {text('syscall')} on {text('copy_of_path')} "
        f"(operation {row['seq']})",
    ]
    if row["command"]:
        lines.append(f"              {safe(row['command'])}")
    if row["kind"] == "held":
        lines.append(
            f"   held       inherited from {text('copy_of_path')} when the namespace was made; "
            "unmounted there since"
        )
        return lines
    lines.append(
        f"   carried by peer group {text('carried_by')}: from {text('carrier_path')} "
        f"to its {row['via']} {text('receiver_path')}"
    )
    if row["carrier_seq"] in calls:
        seq = row["carrier_seq"]
        lines.append(f"              since operation {seq}: {calls[seq]}")
    if row["evidence"] == "ambiguous":
        lines.append("   ambiguous: other operations fit, too")
    return lines


def _doubling(row: dict[str, Any]) -> list[str]:
    left = "" if row["left"] is None else f"; at most {row['left']} more until fs.mount-max refuses"
    path = safe(row["path"])
    return [
        f"doubling: {safe(row['comm'])} binds {safe(row['source_path'])} below itself",
        f"   in         mnt:[{row['ns']}], last at {path}",
        f"   made       {row['made']} mounts (operations {row['operations']}); "
        f"{row['total']} mounts in the namespace{left}",
        f"   so that it does not grow: bind a directory that does not contain {path}, or without "
        "what is mounted below it (bind in place of rbind), and unmount when the restart begins",
    ]


def _birth(row: dict[str, Any]) -> str:
    """What could leave, or reach, a namespace that was made."""
    who = f"{safe(row['name'])} (mnt:[{row['ns']}])"
    parent = f"mnt:[{row['parent_ns']}]"
    if not row["shared_at_birth"]:
        return f"{who} was made with no mount that is shared with others."
    if row["isolated_by"] is None:
        return (
            f"{who} shares {row['shared_before_use']} mounts with {parent}, which it was made from."
        )
    were, left = row["shared_at_birth"], row["shared_before_use"]
    which = f"{were - left} of its {were} shared mounts" if left else "its shared mounts"
    text = f"{who} had {which} made {row['became']} at its birth"
    if row["isolated_by"] != row["seq"]:
        text += f", by operation {row['isolated_by']}: {safe(row['call'])}"
    return f"{text}."
