# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The directories in the options of an overlay, as given and as mountinfo has them."""

from __future__ import annotations

from mnttrace.linux.overlay import Layers, layers_of, told


def test_options_of_mount() -> None:
    options = "userxattr,lowerdir=/a:/b::/data,upperdir=/u,workdir=/w,index=on"
    assert layers_of(options) == Layers(("/a", "/b", "/data"), "/u", "/w")
    assert layers_of("lowerdir=/a:/b") == Layers(("/a", "/b"))
    assert layers_of("") == Layers()


def test_separators_in_names() -> None:
    given = r"lowerdir=/with\:colon:/with\,comma,upperdir=/up\\slash,workdir=/w"
    assert layers_of(given) == Layers(("/with:colon", "/with,comma"), "/up\\slash", "/w")
    # As seq_show_option() prints them.
    shown = r"rw,lowerdir=/a\040b,upperdir=/with\054comma,workdir=/w"
    assert layers_of(shown) == Layers(("/a b",), "/with,comma", "/w")


def test_options_one_by_one() -> None:
    options = ["lowerdir+=/a", "lowerdir+=/b", "datadir+=/c", "upperdir=/u", "workdir=/w"]
    assert told([*options, "userxattr"]) == Layers(("/a", "/b", "/c"), "/u", "/w")
    assert told(["lowerdir=/a:/b", "lowerdir+=/c"]).lower == ("/a", "/b", "/c")
