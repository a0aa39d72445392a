"""The rules of kstatus for any object, by which Flux, kpt and others tell whether it is there, coming or doomed.

As in `pkg/kstatus/status/generic.go` of https://github.com/kubernetes-sigs/cli-utils.
"""

from typing import Any

Json = dict[str, Any]

CURRENT, IN_PROGRESS, FAILED, TERMINATING = "Current", "InProgress", "Failed", "Terminating"


def computed(obj: Json) -> str:
    """The status of an object that is none of the built-in kinds."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    if "deletionTimestamp" in metadata:
        return TERMINATING
    if status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return IN_PROGRESS
    conditions = status.get("conditions") or ()
    for condition in conditions:
        # The first one decides.
        if condition["status"] == "True" and condition["type"] in ("Reconciling", "Stalled"):
            return IN_PROGRESS if condition["type"] == "Reconciling" else FAILED
    ready = next((condition["status"] for condition in conditions if condition["type"] == "Ready"), "True")
    return CURRENT if ready == "True" else IN_PROGRESS


def check(status: Json) -> None:
    """What every status that the operator writes promises to those who follow kstatus."""
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert (conditions.get("Reconciling"), conditions.get("Stalled")) != ("True", "True")
    assert all(each["observedGeneration"] <= status["observedGeneration"] for each in status["conditions"])
    found = computed({"metadata": {"generation": status["observedGeneration"]}, "status": status})
    assert (found == CURRENT) is (status["phase"] == "Ready" and conditions["Ready"] == "True"), status
    assert (found == FAILED) is (conditions.get("Stalled") == "True"), status
