# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Where the C sources of the BPF programs are."""

from __future__ import annotations

from pathlib import Path


def bpf_directory() -> Path:
    """The folder of the BPF sources: in an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "bpf"
    return inside if inside.is_dir() else package.parent / "bpf"
