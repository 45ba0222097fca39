#!/usr/bin/env bash
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

# Makes the set-up of this checkout: the distribution's packages, and a virtual environment with
# mnttrace in it. Run it again at any time; it installs only what is missing.
#
#   scripts/setup.sh [EXTRA]       EXTRA is one of pyproject.toml's, such as dev
#
# With check it is the virtual environment alone: what `make check` runs needs no root, nor bcc.
#
# PYTHON      the interpreter to make the environment with (python3)
# VENV        where to make it (.venv)
# OS_RELEASE  the file that says which distribution this is (/etc/os-release)
#
# Ends with status 4 where this machine lacks something that the script cannot bring.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
venv=${VENV:-.venv}
target=.${1:+[$1]}

say() { printf '%s\n' "mnttrace set-up: $*" >&2; }
give_up() {
  say "$1"
  shift
  (($# == 0)) || printf '  %s\n' "$@" >&2
  exit 4
}

# bcc belongs to the distribution's own interpreter, whatever $python is.
bcc_folder() {
  /usr/bin/python3 -c 'import importlib.util as u
print(*u.find_spec("bcc").submodule_search_locations)' 2>/dev/null
}

missing_for_environment() {
  "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

# Asks for the thing, not for the package: runc may be Docker's, busybox the one that is not static,
# and to install the package then would throw those out.
missing_packages() {
  bcc_folder >/dev/null || echo python3-bpfcc
  command -v runc >/dev/null || echo runc
  command -v busybox >/dev/null || echo busybox-static
  command -v unshare >/dev/null || echo util-linux
  command -v mount >/dev/null || echo mount
}

# Whether this distribution is, or is like, one of these.
is_like() {
  (
    # shellcheck disable=SC1090  # the file differs by machine
    . "${OS_RELEASE:-/etc/os-release}"
    for name; do
      case " $ID ${ID_LIKE:-} " in *" $name "*) exit 0 ;; esac
    done
    exit 1
  ) 2>/dev/null
}

has_debian_packages() { is_like debian ubuntu; }

# What the tests start: every container runtime that is packaged, and the tools that they compare with.
missing_test_packages() {
  local thing
  for thing in bpftool bwrap:bubblewrap containerd crun dockerd:docker.io dot:graphviz lxc-start:lxc \
    podman netavark strace shellcheck systemd-nspawn:systemd-container mkfs.ext4:e2fsprogs; do
    [[ $thing == netavark && -e /usr/lib/podman/netavark ]] || command -v "${thing%%:*}" >/dev/null ||
      echo "${thing##*:}"
  done
  missing_browser
}

# Ubuntu's chromium is a snap: it needs snapd, and does not see /tmp, where the tests' pages are.
missing_browser() {
  local name
  for name in chromium google-chrome; do
    ! command -v "$name" >/dev/null || return 0
  done
  if is_like ubuntu; then
    say "no browser: here chromium is a snap that cannot open the tests' pages; their tests are skipped unless google-chrome is installed"
  else
    echo chromium
  fi
}

# Packages of services start them when they are installed; the tests want their own.
without_services() {
  local policy=/usr/sbin/policy-rc.d
  if [[ -e $policy ]]; then
    "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
  "${as_root[@]}" chmod 755 $policy
  local status=0
  "$@" || status=$?
  "${as_root[@]}" rm -f $policy
  return $status
}

install_packages() {
  has_debian_packages || give_up "this is not Debian or Ubuntu: install what these packages hold, then try again" \
    "$*" "(elsewhere bcc's Python module is named python3-bcc or python-bcc; PyPI's bcc is another thing)"
  local as_root=()
  if (($(id -u) != 0)); then
    command -v sudo >/dev/null || give_up "only root can install packages, and there is no sudo; let root do this:" \
      "apt-get install --no-install-recommends $*"
    as_root=(sudo)
  fi
  say "installing $*"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq)
  "${apt[@]}" update </dev/null || say "the package lists could not be renewed; trying with those that are there"
  local told
  told=$(without_services "${apt[@]}" install -y --no-install-recommends --no-remove "$@" 2>&1 </dev/null) ||
    give_up "apt-get could not install $*:" "$told"
}

make_environment() {
  "$venv/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$venv"
  local pip=("$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check)
  PIP_RETRIES=${PIP_RETRIES:-2} "${pip[@]}" --editable "$target" </dev/null ||
    give_up "pip could not install mnttrace with what it needs (its reason is above)" \
      "Where PyPI cannot be reached, PIP_PROXY, PIP_INDEX_URL or PIP_FIND_LINKS name another way."
}

# One link makes the distribution's bcc visible, and nothing else of the distribution's.
link_bcc() {
  local bcc site
  bcc=$(bcc_folder) || give_up "python3-bpfcc is installed, but /usr/bin/python3 finds no bcc"
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  if [[ -e $site/bcc && ! -L $site/bcc ]]; then
    give_up "PyPI's bcc, an unrelated package, is in $venv: remove it with '$venv/bin/pip uninstall bcc'"
  fi
  ln -sfn "$bcc" "$site/bcc"
}

command -v "$python" >/dev/null || give_up "there is no $python here; PYTHON=... names another one"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  give_up "$("$python" --version) is too old: mnttrace needs 3.11 or newer; PYTHON=... names another one"
mapfile -t missing < <(
  missing_for_environment
  if [[ ${1:-} != check ]]; then missing_packages; fi
  if [[ ${1:-} == dev ]] && has_debian_packages; then missing_test_packages; fi
)
((${#missing[@]} == 0)) || install_packages "${missing[@]}"
say "preparing $venv with $("$python" --version)"
make_environment
if [[ ${1:-} != check ]]; then link_bcc; fi
