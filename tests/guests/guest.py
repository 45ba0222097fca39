# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A stock kernel booted by QEMU, with this machine's files for its root, to run commands in.

Nothing of this machine can be changed from inside: its root is read-only there. QEMU emulates the
processor (TCG), as nested virtualization is rarely to be had: all is ten to thirty times slower.
"""

from __future__ import annotations

import lzma
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests import CHECKOUT

HERE = CHECKOUT / "tests/guests"
# What the root is mounted with; then what tests mount. Those that a kernel has built in are not
# among its modules.
AT_FIRST = ("virtio_pci", "virtiofs")
LATER = ("loop", "ext4", "overlay", "squashfs")
MEMORY = "3G"


class Outcome(NamedTuple):
    """How a command in a guest ended: its status, None if it did not end, and how long it took."""

    name: str
    status: int | None
    seconds: float


class Machine(NamedTuple):
    """What QEMU emulates.

    Attributes:
        package: of Debian, with QEMU for it.
        program: of that.
        words: what is asked of it; the memory is called "mem".
        console: what the kernel calls its serial line.
    """

    package: str
    program: str
    words: tuple[str, ...]
    console: str


X86 = Machine(
    "qemu-system-x86",
    "qemu-system-x86_64",
    ("-machine", "q35,accel=tcg,memory-backend=mem", "-cpu", "Nehalem"),
    "ttyS0",
)
ARM64 = Machine(
    "qemu-system-arm",
    "qemu-system-aarch64",
    ("-machine", "virt,gic-version=3,accel=tcg,memory-backend=mem", "-cpu", "cortex-a72"),
    "ttyAMA0",
)


class Guest:
    """One kernel to be booted.

    Args:
        machine: what it runs on.
        qemu: a folder with QEMU, as of :meth:`packages.Archive.qemu`.
        kernel: a folder with a kernel, as of :meth:`packages.Archive.kernel`.
        root: what it has for its root; the checkout is put there.
        counts: whether its clock counts instructions, one a nanosecond; it has one processor then.

    Attributes:
        release: the kernel's, such as 6.1.0-50-cloud-amd64.
    """

    def __init__(
        self,
        machine: Machine,
        qemu: Path,
        kernel: Path,
        root: Path = Path("/"),
        counts: bool = False,
    ) -> None:
        self._machine = machine
        self._counts = counts
        self._qemu = qemu
        self._kernel = kernel
        self._root = root
        # In a folder of its own release since 6.19.
        [self._image] = [*kernel.glob("boot/vmlinuz-*"), *kernel.glob("usr/lib/modules/*/vmlinuz")]
        self.release = self._image.name.removeprefix("vmlinuz-")
        if self.release == "vmlinuz":
            self.release = self._image.parent.name

    def run(self, commands: dict[str, str], results: Path, timeout: float) -> list[Outcome]:
        """Boot, run shell commands one after the other, and power off.

        Args:
            commands: by the names that their outcomes have.
            results: a folder to which the guest can write, as /mnt: NAME.txt is what a command
                said, console.txt what the kernel did.
            timeout: seconds for all.
        """
        results.mkdir(parents=True, exist_ok=True)
        for name in (*(f"{name}.txt" for name in commands), "outcomes", "commands"):
            (results / name).unlink(missing_ok=True)
        lines = [shlex.join([name, command]) for name, command in commands.items()]
        (results / "commands").write_text("".join(f"run {line}\n" for line in lines))
        shutil.copy(HERE / "init.sh", results / "init.sh")
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._initial(folder / "initial", results)
            if self._root != Path("/"):
                (self._root / CHECKOUT.relative_to("/")).mkdir(parents=True, exist_ok=True)
            root = stack.enter_context(read_only(self._root))
            checkout = stack.enter_context(read_only(CHECKOUT))
            shares = {"root": root, "results": results, "checkout": checkout}
            for tag, place in shares.items():
                stack.enter_context(self._served(place, folder / tag))
            self._boot(folder, list(shares), results / "console.txt", timeout)
        return list(outcomes(commands, results))

    def _boot(self, folder: Path, tags: list[str], console: Path, timeout: float) -> None:
        words = f"panic=-1 console={self._machine.console} quiet mnttrace.checkout={CHECKOUT}"
        memory = f"memory-backend-memfd,id=mem,size={MEMORY},share=on"
        command = [str(self._qemu / "usr/bin" / self._machine.program), "-nodefaults"]
        for place in ("qemu", "seabios"):
            command += ["-L", str(self._qemu / "usr/share" / place)]
        command += [*self._machine.words, "-object", memory, "-no-reboot"]
        processors = ["-icount", "shift=0,sleep=off"] if self._counts else ["-smp", "2"]
        command += [*processors, "-m", MEMORY, "-display", "none"]
        command += ["-serial", f"file:{console}", "-kernel", str(self._image)]
        command += ["-initrd", str(folder / "initial"), "-append", words]
        for tag in tags:
            command += ["-chardev", f"socket,id={tag},path={folder / tag}"]
            command += ["-device", f"vhost-user-fs-pci,chardev={tag},tag={tag}"]
        with (console.parent / "qemu.txt").open("w") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said, env=self._environment())
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextmanager
    def _served(self, place: Path, socket: Path) -> Iterator[None]:
        """A folder, under a tag, for the guest to mount."""
        options = ["-o", f"source={place}", "-o", "cache=always", "-o", "sandbox=chroot"]
        daemon = self._qemu / "usr/lib/qemu/virtiofsd"
        log = (socket.parent / f"{socket.name}.log").open("w")
        process = subprocess.Popen(
            [str(daemon), f"--socket-path={socket}", *options],
            stdout=log,
            stderr=log,
            env=self._environment(),
        )
        try:
            while not socket.exists():
                if process.poll() is not None:
                    sys.exit(f"virtiofsd: {Path(log.name).read_text()}")
                time.sleep(0.02)
            yield
        finally:
            process.terminate()
            process.wait()
            log.close()

    def _environment(self) -> dict[str, str]:
        libraries = [self._qemu / "usr/lib/x86_64-linux-gnu", self._qemu / "lib/x86_64-linux-gnu"]
        return os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}

    def _initial(self, archive: Path, results: Path) -> None:
        """An initramfs that mounts the root; the modules that come later go to the results."""
        with tempfile.TemporaryDirectory() as name:
            tree = Path(name)
            for place in ("bin", "proc", "dev", "new"):
                (tree / place).mkdir()
            ours = shutil.which("busybox")
            if ours is None:
                sys.exit("busybox is needed: apt-get install busybox-static")
            shutil.copy(self._root / ours.lstrip("/"), tree / "bin/busybox")
            shutil.copy(HERE / "first.sh", tree / "init")
            for program in ("bin/busybox", "init"):
                (tree / program).chmod(0o755)
            self._modules(AT_FIRST, tree / "modules")
            shutil.rmtree(results / "modules", ignore_errors=True)
            self._modules(LATER, results / "modules")
            names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
            with archive.open("wb") as file:
                pack = [ours, "cpio", "-o", "-H", "newc"]
                subprocess.run(
                    pack,
                    cwd=tree,
                    input=names.encode(),
                    stdout=file,
                    stderr=subprocess.DEVNULL,
                    check=True,
                )

    def _modules(self, names: tuple[str, ...], place: Path) -> None:
        """Modules with what they need, in the order in which they are to be loaded."""
        place.mkdir()
        known = {module_name(path): path for path in self._kernel.rglob("*.ko*")}
        order: list[str] = []
        for name in names:
            self._add(name, known, order)
        for number, name in enumerate(order):
            data = known[name].read_bytes()
            if known[name].suffix == ".xz":
                data = lzma.decompress(data)
            (place / f"{number:02}-{name}.ko").write_bytes(data)

    def _add(self, name: str, known: dict[str, Path], order: list[str]) -> None:
        if name in order or name not in known:
            return
        data = known[name].read_bytes()
        if known[name].suffix == ".xz":
            data = lzma.decompress(data)
        needs = re.search(rb"\0depends=([^\0]*)\0", data)
        for need in (needs[1].decode() if needs else "").split(","):
            self._add(need.replace("-", "_"), known, order)
        order.append(name)


def in_own_mounts() -> None:
    """Go on in a mount namespace of this process's own: what is mounted for guests goes with it."""
    if not os.environ.get("MNTTRACE_OWN_MOUNTS"):
        own = ["unshare", "--mount", "--propagation", "private", sys.executable]
        done = subprocess.run(
            [*own, *sys.orig_argv[1:]], env=os.environ | {"MNTTRACE_OWN_MOUNTS": "1"}, check=False
        )
        sys.exit(done.returncode)


def module_name(path: Path) -> str:
    return path.name.split(".ko")[0].replace("-", "_")


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """The same folder elsewhere, read-only.

    That is only ever removed as an empty one: what is mounted there is this machine.
    """
    place = Path(tempfile.mkdtemp(prefix="mnttrace-share-"))
    try:
        mount("--bind", folder, place)
        mount("-o", "remount,bind,ro", place)
        yield place
    finally:
        subprocess.run(["umount", place], check=False)
        place.rmdir()


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


def outcomes(commands: dict[str, str], results: Path) -> Iterator[Outcome]:
    """How each command ended, by what the guest wrote."""
    told = {}
    file = results / "outcomes"
    for line in file.read_text().splitlines() if file.exists() else ():
        name, status, seconds = line.split()
        told[name] = Outcome(name, int(status), float(seconds))
    for name in commands:
        yield told.get(name, Outcome(name, None, 0))
