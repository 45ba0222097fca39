# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace export --format dot` and `mermaid`, against the kernel's own mount tables."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mnttrace.linux.mountinfo import Mount, parse

# A peer and a slave of mounts here, of which one has a name that each language has to escape.
SCRIPT = r"""
name=$(printf 'odd/"\\N&lt;<b>#35;`*_*`%%}]\n\377')
mkdir shared private odd "$name"
for place in shared "$name" private; do mount -t tmpfs --make-shared x "$place"; done
mount --make-private private
mkfifo peer-waits slave-waits
unshare -m --propagation unchanged sh -c 'cat /proc/self/mountinfo >peer; read x <peer-waits' &
unshare -m --propagation slave sh -c 'cat /proc/self/mountinfo >slave; read x <slave-waits' &
until [ -s peer ] && [ -s slave ]; do sleep 0.01; done
cat /proc/self/mountinfo >home
$MNTTRACE snapshot -o run.mnttrace
echo >peer-waits; echo >slave-waits; wait
"""
Edges = set[tuple[str, str, str]]  # peer group, peer or slave, text of a mount


@pytest.fixture
def kernels(in_namespace, tmp_path: Path) -> Edges:
    """What the kernel said of the groups that have members or slaves in several of the tables."""
    in_namespace(SCRIPT)
    tables = [
        parse((tmp_path / name).read_text(errors="surrogateescape"), name)
        for name in ("home", "peer", "slave")
    ]
    found: dict[int, list[tuple[str, str]]] = {}
    for mount in [mount for table in tables for mount in table]:
        for role, group in (("peer", mount.shared), ("slave", mount.master)):
            if group is not None:
                found.setdefault(group, []).append((role, text(mount)))
    return {(str(group), *one) for group, all_ in found.items() for one in all_ if len(all_) > 1}


def text(mount: Mount) -> str:
    shown = mount.mountpoint.replace("\n", "\\n").replace("\udcff", "\\xff")
    return f"{shown} (mount {mount.mount_id})"


@pytest.mark.kernel("dot")
def test_graphviz_draws_what_the_kernel_said(kernels: Edges, mnttrace, tmp_path: Path) -> None:
    assert mnttrace("export", "run.mnttrace", "--format", "dot", "-o", "run.dot").returncode == 0
    done = subprocess.run(
        ["dot", "-Tsvg", tmp_path / "run.dot"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    drawn: dict[str, dict[str, list[str]]] = {"node": {}, "edge": {}, "cluster": {}}
    namespace = {"": "http://www.w3.org/2000/svg"}
    arrows = set()
    for part in ElementTree.fromstring(done.stdout).iter("{http://www.w3.org/2000/svg}g"):
        title = part.find("title", namespace)
        if part.get("class") in drawn:
            name = (title.text if title is not None else "") or ""
            lines = [found.text or "" for found in part.findall("text", namespace)]
            drawn[str(part.get("class"))][name] = lines
            if part.find("polygon", namespace) is not None:
                arrows.add(name)
    edges = set()
    for name in drawn["edge"]:
        group, mount = name.split("->")
        (label,) = drawn["node"][group]
        (shown,) = drawn["node"][mount]
        role = "slave" if name in arrows else "peer"
        edges.add((label.removeprefix("peer group "), role, shown))
    # Other namespaces of this machine may have groups of their own.
    assert edges >= kernels
    ours = {group for group, _, _ in kernels}
    assert {edge for edge in edges if edge[0] in ours} == kernels
    assert not [shown for shown in drawn["node"].values() if "private" in shown[0]]
    assert ["host"] in drawn["cluster"].values()


def test_mermaid_says_what_the_kernel_said(kernels: Edges, mnttrace) -> None:
    """Its grammar, of which this uses a few lines: https://mermaid.js.org/syntax/flowchart.html."""
    first, *lines = mnttrace("export", "run.mnttrace", "--format", "mermaid").stdout.splitlines()
    assert first == "flowchart LR"
    nodes, groups, edges, titles = {}, {}, set(), []
    quoted = r'"([^"\n`*<>&\\]*)"'
    is_open = False
    for line in lines:
        if found := re.fullmatch(rf"  subgraph n\d+\[{quoted}\]", line):
            assert not is_open
            is_open = True
            titles.append(plain(found[1]))
        elif line == "  end":
            is_open = False
        elif found := re.fullmatch(rf"    (m\w+)\[{quoted}\]", line):
            assert is_open
            nodes[found[1]] = plain(found[2])
        elif found := re.fullmatch(r'  (g\d+)\(\["peer group (\d+)"\]\)', line):
            groups[found[1]] = found[2]
        else:
            found = re.fullmatch(r"  (g\d+) (---|-->) (m\w+)", line)
            assert found, line
            role = {"---": "peer", "-->": "slave"}[found[2]]
            edges.add((groups[found[1]], role, nodes[found[3]]))
    assert edges >= kernels
    ours = {group for group, _, _ in kernels}
    assert {edge for edge in edges if edge[0] in ours} == kernels
    assert "host" in titles


def plain(text: str) -> str:
    """Text without Mermaid's entity codes."""
    return html.unescape(re.sub(r"#(\d+);", r"&#\1;", text))
