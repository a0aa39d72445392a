"""Promise 7: proxies and operator pass the Pod Security level `restricted`, and proxies have no credentials."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.placement import BUILT_IN
from engine.model.spec import KanarySpec
from engine.render.objects import deployment
from engine.render.pods import template
from engine.render.sysctls import sysctls_for
from engine.resolve.validation import check_spec
from states import UpdateStrategy
from tests.promises.pod_security import violations
from tests.tables import Table, Tell
from tests.unit.kanaries import OWNER, kanary, spec, valid_specs
from tests.unit.observations import DIGEST

Json = dict[str, Any]

PODS = Table("Promise 7: Pod Security `restricted`", ("pod of", "Kubernetes", "violations", "credentials"))
VERSIONS = range(20, 36)
FILES = ("kanary.yml", "one-namespace/kanary.yml")
MUTATIONS: dict[str, Callable[[Json, Json], object]] = {
    "hostNetwork": lambda pod, _: pod.update(hostNetwork=True),
    "hostPID": lambda pod, _: pod.update(hostPID=True),
    "hostIPC": lambda pod, _: pod.update(hostIPC=True),
    "sysctls": lambda pod, _: pod["securityContext"]["sysctls"].append({"name": "kernel.msgmax", "value": "1"}),
    "volumes": lambda pod, _: pod["volumes"].append({"name": "a", "hostPath": {"path": "/"}}),
    "seLinuxOptions": lambda pod, _: pod["securityContext"].update(seLinuxOptions={"type": "spc_t"}),
    "appArmorProfile": lambda pod, _: pod["securityContext"].update(appArmorProfile={"type": "Unconfined"}),
    "hostProcess": lambda _, container: container["securityContext"].update(windowsOptions={"hostProcess": True}),
    "seccompProfile": lambda pod, _: pod["securityContext"].pop("seccompProfile"),
    "privileged": lambda _, container: container["securityContext"].update(privileged=True),
    "allowPrivilegeEscalation": lambda _, container: container["securityContext"].pop("allowPrivilegeEscalation"),
    "procMount": lambda _, container: container["securityContext"].update(procMount="Unmasked"),
    "capabilities": lambda _, container: container["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
    "hostPorts": lambda _, container: container["ports"][0].update(hostPort=80),
    "runAsNonRoot": lambda pod, _: pod["securityContext"].pop("runAsNonRoot"),
    "runAsUser": lambda _, container: container["securityContext"].update(runAsUser=0),
    "host of a probe": lambda _, container: container["livenessProbe"]["httpGet"].update(host="192.0.2.1"),
}
"""For each control, a change of a pod and of a container that breaks it."""

APPARMOR = "container.apparmor.security.beta.kubernetes.io/haproxy"
profiles = st.fixed_dictionaries({"type": st.sampled_from(["RuntimeDefault", "Localhost", "Unconfined", "x"])})
options = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["container_t", "container_kvm_t", "spc_t", ""]),
        "user": st.sampled_from(["", "system_u"]),
        "role": st.sampled_from(["", "system_r"]),
        "level": st.just("s0"),
    },
)
security_contexts = st.fixed_dictionaries(
    {},
    optional={
        "runAsUser": st.integers(0, 2),
        "runAsGroup": st.integers(0, 2),
        "fsGroup": st.integers(0, 2),
        "seccompProfile": profiles,
        "appArmorProfile": profiles,
        "seLinuxOptions": options,
    },
)
annotations = st.dictionaries(st.just(APPARMOR), st.sampled_from(["unconfined", "runtime/default", "localhost/x"]))


def proxies(declared: KanarySpec, strategy: UpdateStrategy, minor: int) -> Json:
    sysctls = sysctls_for(f"v1.{minor}.0")
    made = template(
        OWNER, declared.proxy.over(BUILT_IN), DIGEST, strategy, default_image="haproxy:test", sysctls=sysctls
    )
    found: Json = deployment(OWNER, declared, made, 1)["spec"]["template"]
    return found


def credentials(pod: Json) -> list[str]:
    """What of this pod gives its processes a credential of the cluster; its ServiceAccount alone is none."""
    secret = [v["name"] for v in pod["volumes"] if {"secret", "projected", "csi"} & {*v}]
    env = [e["name"] for c in pod["containers"] for e in c.get("env", ()) if "secretKeyRef" in e.get("valueFrom", {})]
    token = ["token"] if pod.get("automountServiceAccountToken") is not False else []
    return secret + env + token


def operators(file: str) -> Json:
    documents = yaml.safe_load_all(Path("manifests", file).read_text(encoding="utf-8"))
    (found,) = (each["spec"]["template"] for each in documents if each["kind"] == "Deployment")
    return dict(found)


@settings(deadline=None, max_examples=60)
@given(valid_specs, st.sampled_from(UpdateStrategy), st.sampled_from(VERSIONS))
def test_no_spec_makes_proxies_that_break_it(declared: Json, strategy: UpdateStrategy, minor: int) -> None:
    made = proxies(KanarySpec.model_validate(declared), strategy, minor)
    assert violations(made, minor) == []
    assert credentials(made["spec"]) == []


@settings(deadline=None, max_examples=200)
@given(security_contexts, annotations, st.sampled_from(UpdateStrategy))
def test_a_template_that_breaks_it_is_rejected(context: Json, annotated: Json, strategy: UpdateStrategy) -> None:
    template_ = {"metadata": {"annotations": annotated}, "spec": {"securityContext": context}}
    declared, problems = check_spec(kanary(proxy={"template": template_}), unknown="forbid")
    assert declared
    assert bool(problems) == bool(violations(proxies(declared, strategy, 30), 30))


@pytest.mark.parametrize("strategy", UpdateStrategy)
def test_proxies_pass_and_have_no_credentials(strategy: UpdateStrategy, tell: Tell) -> None:
    found = [(proxies(spec(), strategy, minor), minor) for minor in VERSIONS]
    broken = [each for made, minor in found for each in violations(made, minor)]
    held = [each for made, _ in found for each in credentials(made["spec"])]
    tell(PODS, f"proxies, {strategy.value}", f"1.{VERSIONS[0]} to 1.{VERSIONS[-1]}", len(broken), len(held))
    assert (broken, held) == ([], [])


@pytest.mark.parametrize("file", FILES)
def test_the_operator_passes(file: str, tell: Tell) -> None:
    broken = [each for minor in VERSIONS for each in violations(operators(file), minor)]
    tell(PODS, f"the operator, {file}", f"1.{VERSIONS[0]} to 1.{VERSIONS[-1]}", len(broken), "its ServiceAccount")
    assert broken == []


def test_the_namespace_of_the_operator_enforces_it() -> None:
    documents = yaml.safe_load_all(Path("manifests/kanary.yml").read_text(encoding="utf-8"))
    (namespace,) = (each for each in documents if each["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("control", MUTATIONS)
def test_what_breaks_a_control_is_found(control: str) -> None:
    broken = copy.deepcopy(proxies(spec(), UpdateStrategy.LIVE, 30))
    pod = broken["spec"]
    MUTATIONS[control](pod, pod["containers"][0])
    assert any(control in each for each in violations(broken, 30))
