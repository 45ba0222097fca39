# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which passwords and keys are taken out of mount data and command lines, and what stays."""

from __future__ import annotations

import time

import pytest

from mnttrace.capture.stream.arguments import data_of
from mnttrace.capture.stream.secrets import redact, redact_command
from mnttrace.linux.syscalls import BY_NAME

NAMES = [
    "pass",
    "PASSWORD",
    "password2",
    "passwd",
    "passphrase",
    "passphrase_passwd",
    "ecryptfs_passwd",
    "credentials",
    "cred",
    "secret",
    "token",
    "key",
    "seckey",
    "api_key",
    "api-key",
    "access_key_id",
]
HARMLESS = [
    "username=me",
    "secretfile=/etc/x",
    "passwd_file=/etc/x",
    "passphrase_passwd_fd=3",
    "ecryptfs_key_bytes=16",
    "ecryptfs_passthrough=n",
    "keyring=user",
    "sec=krb5",
    "size=1m",
    "ro",
    "nokey",
]


@pytest.mark.parametrize("name", NAMES)
def test_one_rule_for_all_ways_to_give_an_option(name: str) -> None:
    assert redact(f"ro,{name}=hunter2,size=1m") == f"ro,{name}=<redacted>,size=1m"
    strings = {2: name, 3: "hunter2"}
    assert data_of(BY_NAME["fsconfig"], strings, False) == f"{name}=<redacted>"
    assert data_of(BY_NAME["fsconfig"], strings, True) == f"{name}=hunter2"
    for option in (f"-{name}", f"--{name}"):
        assert redact_command([option, "hunter2", "x"]) == (option, "<redacted>", "x")
        assert redact_command([f"{option}=hunter2", "x"]) == (f"{option}=<redacted>", "x")


@pytest.mark.parametrize("option", HARMLESS)
def test_what_is_no_secret_stays(option: str) -> None:
    assert redact(option) == option
    assert redact_command(["mount", "-o", option]) == ("mount", "-o", option)
    key, _, value = option.partition("=")
    assert data_of(BY_NAME["fsconfig"], {2: key, 3: value}, False) == option


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("password=a,,b,ro", "password=<redacted>,ro"),
        ("password=,ro", "password=<redacted>,ro"),
        ("key=passphrase:passphrase_passwd=x,ro", "key=<redacted>,ro"),
        ("password=a=b key=c", "password=<redacted>"),
        ("rw", "rw"),
        ("", ""),
    ],
)
def test_where_a_secret_ends(text: str, wanted: str) -> None:
    assert redact(text) == wanted


def test_a_word_of_a_command_ends_what_is_secret() -> None:
    words = ("mount", "-o", "user=u,password=hunter2", "//server/x", "/mnt")
    wanted = ("mount", "-o", "user=u,password=<redacted>", "//server/x", "/mnt")
    assert redact_command(words) == wanted
    assert redact_command(["tool", "--ask-password", "--size", "1"])[2:] == ("--size", "1")


def test_the_command_of_a_shell() -> None:
    word = "A=1 tool --password hunter2 -v; mount -o password=hunter2 x y"
    [kept] = redact_command([word])
    assert kept == "A=1 tool --password <redacted> -v; mount -o password=<redacted>"


@pytest.mark.parametrize("text", ["a" * 100_000, "key" * 30_000, "key=," * 20_000, "- " * 50_000])
def test_it_takes_no_time(text: str) -> None:
    began = time.monotonic()
    redact(text)
    redact_command([text])
    assert time.monotonic() - began < 1
