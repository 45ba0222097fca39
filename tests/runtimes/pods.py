# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How a real Kubernetes pod is started for a test: by containerd's CRI plugin, with no kubelet.

    text = script(pod, tmp_path, Container("touch /volume/here; sleep 1000"), body)

`sh -ec "$CONTAINER"` is the pod `shop/web-0` with a container `app`; it is removed, and the command
ends, on SIGTERM. For all else see runtimes.py.
"""

import hashlib
import json
import platform
import shlex
import sys
import tarfile
from pathlib import Path

from tests.runtimes.runtimes import KEEP_OUT, Container, Start, daemon

COMMANDS = ("busybox", "containerd", "ctr", "runc")
PROPAGATIONS = {
    "rprivate": "PRIVATE",
    "rslave": "HOST_TO_CONTAINER",
    "rshared": "BIDIRECTIONAL",
}
IMAGE = "docker.io/library/busybox:1"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# The pod's own container, which holds its namespaces, is of this image, too. An adjusted OOM score
# takes CAP_SYS_RESOURCE.
CONFIG = f"""
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
restrict_oom_score_adj = true
"""


def pod(folder: Path, container: Container) -> Start:
    """A pod of its own containerd."""
    (folder / "containerd.toml").write_text(CONFIG)
    make_image(folder)
    kubelet = [sys.executable, str(Path(__file__).with_name("kubelet.py")), IMAGE]
    kubelet += [f"{folder}/volume", PROPAGATIONS[container.propagation], container.inner]
    return Start(
        f"exec {shlex.join(kubelet)}",
        prepare=KEEP_OUT
        + daemon("containerd --config containerd.toml", until="ctr version")
        + "ctr --namespace k8s.io images import image.tar >import.log\n",
    )


def make_image(folder: Path) -> None:
    """image.tar, as `docker save` makes it, of the root file system in the folder's bundle."""
    image = folder / "image"
    image.mkdir()
    with tarfile.open(image / "layer.tar", "w") as layer:
        layer.add(folder / "bundle/rootfs", arcname=".")
    digest = hashlib.sha256((image / "layer.tar").read_bytes()).hexdigest()
    config = {
        "os": "linux",
        "architecture": ARCHITECTURES[platform.machine()],
        "config": {"Entrypoint": ["/bin/sleep", "100000"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = {"Config": "config.json", "RepoTags": ["busybox:1"], "Layers": ["layer.tar"]}
    (image / "config.json").write_text(json.dumps(config))
    (image / "manifest.json").write_text(json.dumps([manifest]))
    with tarfile.open(folder / "image.tar", "w") as saved:
        for file in image.iterdir():
            saved.add(file, arcname=file.name)
