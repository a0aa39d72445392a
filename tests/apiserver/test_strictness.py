"""Where releases differ, this server is as strict as the strictest that Kanary supports."""

from __future__ import annotations

import pytest

from tests.conformance.api import Api
from tests.conformance.collection import Collection
from tests.conformance.definitions import GROUP, WIDGETS

from . import ApiServer


@pytest.mark.parametrize("time", ["2001-02-03T04:05:06Z", "2001-02-03T04:05:06.123Z", "now"])
def test_the_times_of_a_lease_need_six_digits(server: ApiServer, time: str) -> None:
    leases = Collection(Api(server.url), "default", "coordination.k8s.io/v1", "Lease", "leases")

    leases.create("one", spec={"renewTime": time}).refused(400, "BadRequest")


def test_an_applied_port_needs_its_protocol(server: ApiServer) -> None:
    services = Collection(Api(server.url), "default", "v1", "Service", "services")

    reply = services.apply("one", "me", spec={"ports": [{"port": 80}]})

    assert reply.status == 500
    assert 'omits key field "protocol"' in reply.body["message"]


def test_an_update_of_a_service_has_to_name_its_version(server: ApiServer) -> None:
    services = Collection(Api(server.url), "default", "v1", "Service", "services")
    services.make("one", spec={"ports": [{"port": 80}]})

    services.put(services.value("one", spec={"ports": [{"port": 81}]})).refused(422, "Invalid")


def test_a_budget_has_a_minimum_or_a_maximum(server: ApiServer) -> None:
    budgets = Collection(Api(server.url), "default", "policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
    budgets.make("one", spec={"minAvailable": 1})

    budgets.apply("one", "me", spec={"maxUnavailable": 1}).refused(422, "Invalid")


def test_a_field_that_a_scale_writes_is_no_longer_that_of_its_former_owner(server: ApiServer) -> None:
    """Releases before 1.22 let the former owner apply its own number again."""
    server.install_crd(WIDGETS)
    widgets = Collection(Api(server.url), "default", f"{GROUP}/v1", "Widget", "widgets")
    widgets.apply("one", "me", spec={"size": 1, "replicas": 3}).ok()

    widgets.merge("one", {"spec": {"replicas": 5}}, "scale", fieldManager="autoscaler").ok()

    widgets.apply("one", "me", spec={"size": 1, "replicas": 3}).refused(409, "Conflict")
    assert widgets.apply("one", "me", spec={"size": 2}).ok()["spec"]["replicas"] == 5
