# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What a kubelet asks of a container runtime for one pod, over the CRI, until it is told to end.

    python kubelet.py IMAGE VOLUME PROPAGATION SCRIPT

The pod is `shop/web-0`; its container `app` has the folder VOLUME at /volume, with a propagation as
the CRI calls it (BIDIRECTIONAL), and runs SCRIPT. On SIGTERM the container is stopped, and the pod
removed. Its network is the node's, which takes no CNI.
"""

import os
import signal
import sys
import time
from pathlib import Path

import grpc

SOCKET = "unix:/run/containerd/containerd.sock"
UID = "6c0a7a1e-7a1c-4a3e-9df1-0123456789ab"
SECURITY = {"privileged": True, "namespace_options": {"network": "NODE", "pid": "CONTAINER"}}

image, volume, propagation, script = sys.argv[1:]
# Before there are threads, all of which are to leave it to sigwait.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
sys.path.append(str(Path(__file__).parent.parent / "data/cri"))
cri, services = grpc.protos_and_services("cri.proto")
channel = grpc.insecure_channel(SOCKET)
runtime, images = services.RuntimeServiceStub(channel), services.ImageServiceStub(channel)

# It gets to know some time after the import what was imported.
while not images.ImageStatus(cri.ImageStatusRequest(image={"image": image})).image.id:
    time.sleep(0.02)

pod = cri.PodSandboxConfig(
    metadata={"name": "web-0", "namespace": "shop", "uid": UID},
    labels={"io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop"},
    log_directory=os.environ["TMPDIR"],
    linux={"cgroup_parent": f"/kubepods/pod{UID}", "security_context": SECURITY},
)
sandbox = runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=pod)).pod_sandbox_id
app = cri.ContainerConfig(
    metadata={"name": "app"},
    labels={"io.kubernetes.container.name": "app"},
    image={"image": image},
    command=["/bin/sh", "-ec", script],
    mounts=[
        {
            "container_path": "/volume",
            "host_path": volume,
            "propagation": f"PROPAGATION_{propagation}",
        }
    ],
    log_path="app.log",
    linux={"security_context": SECURITY},
)
container = runtime.CreateContainer(
    cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=app, sandbox_config=pod)
).container_id
runtime.StartContainer(cri.StartContainerRequest(container_id=container))

signal.sigwait({signal.SIGTERM})

# Its shell is process 1 of the container, and so takes no notice of the SIGTERM that comes first.
runtime.StopContainer(cri.StopContainerRequest(container_id=container, timeout=1))
runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=sandbox))
runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))
runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox))
