# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What a chart draws, read from what it gives to Vega; and what a PNG shows."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np


def layers(chart: Any) -> list[list[dict[str, Any]]]:
    """The rows of each layer, in order."""
    spec = chart.to_dict()
    return [
        spec["datasets"][layer.get("data", spec.get("data"))["name"]] for layer in spec["layer"]
    ]


def marks(chart: Any) -> int:
    return sum(map(len, layers(chart)))


def rows_with(chart: Any, *columns: str) -> list[dict[str, Any]]:
    """The rows of the first layer that has these columns."""
    return next(rows for rows in layers(chart) if rows and set(columns) <= set(rows[0]))


def mounts_in(graph: Any) -> list[dict[str, Any]]:
    """The mounts that a graph draws; other layers have some of them."""
    return max((rows for rows in layers(graph) if rows and "stands_out" in rows[0]), key=len)


def subtitle(chart: Any) -> str:
    return "\n".join(chart.to_dict()["title"]["subtitle"])


def colors(path: Path) -> int:
    """How many colors a PNG has (W3C: Portable Network Graphics, 8 bits RGBA, not interlaced)."""
    data, at, packed = path.read_bytes(), 8, b""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height = int.from_bytes(body[:4]), int.from_bytes(body[4:8])
            assert tuple(body[8:]) == (8, 6, 0, 0, 0)
        packed += body if kind == b"IDAT" else b""
        at += 12 + size
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + 4 * width)
    above = np.zeros((width, 4), np.int64)
    found: set[bytes] = set()
    for line in lines:
        above = _unfiltered(line[0], line[1:].reshape(width, 4).astype(np.int64), above)
        found |= {pixel.tobytes() for pixel in np.unique(above.astype(np.uint8), axis=0)}
    return len(found)


def _unfiltered(kind: int, line: Any, above: Any) -> Any:
    if kind == 0:
        return line
    if kind == 2:
        return (line + above) % 256
    if kind == 1:
        return np.cumsum(line, axis=0) % 256
    left, corner = np.zeros(4, np.int64), np.zeros(4, np.int64)
    out = np.empty_like(line)
    for at in range(len(line)):
        up = above[at]
        if kind == 3:
            guess = (left + up) // 2
        else:
            far = [abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)]
            near_up = np.where(far[1] <= far[2], up, corner)
            guess = np.where((far[0] <= far[1]) & (far[0] <= far[2]), left, near_up)
        left, corner = (line[at] + guess) % 256, up
        out[at] = left
    return out
