"""The operator on the cluster, as `manifests/kanary.yml` installs it."""

import json
import subprocess

from tests.e2e.kind import ROOT
from tests.e2e.kubectl import Kubectl

MANIFEST = ROOT / "manifests" / "kanary.yml"
NAMESPACE = "kanary-system"
DEPLOYMENT = "deployment/kanary"
IMAGE_ANNOTATION = "kanary-e2e/image"


def install(kubectl: Kubectl) -> Kubectl:
    """Apply the manifest, wait for the operator to run the image of now, and return kubectl in its namespace."""
    kubectl.apply_file(MANIFEST)
    kubectl("wait", "--for=condition=Established", "crd/kanaries.kanary.k8s.io", "--timeout=110s")
    system = kubectl.within(NAMESPACE)
    # The tag stays while the image changes: only another pod template makes another pod.
    annotations = {"annotations": {IMAGE_ANNOTATION: _image_id(system)}}
    patch = {"spec": {"template": {"metadata": annotations}}}
    system("patch", DEPLOYMENT, "--type=merge", "-p", json.dumps(patch))
    system("rollout", "status", DEPLOYMENT, "--timeout=180s", timeout=200)
    return system


def _image_id(system: Kubectl) -> str:
    name = system("get", DEPLOYMENT, "-o", "jsonpath={.spec.template.spec.containers[0].image}")
    inspect = ["docker", "image", "inspect", "-f", "{{.Id}}", name]
    return subprocess.run(inspect, check=True, capture_output=True, text=True).stdout.strip()
