"""A ConfigMap is written only as it was read."""

import copy
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from engine.fleet.proxy import read_proxy
from engine.model.states import Written, read_written
from engine.plan import plan
from engine.ports import RejectedError, RetryLaterError
from engine.render.objects import config_map
from engine.render.service import destination_service as service
from kanary.kube.errors import AlreadyExists, Conflict, NotFound
from kanary.kube.resources import CONFIG_MAPS, SERVICES
from kanary.operator.sending import Push
from kanary.operator.writer import Writer
from tests.unit.kanaries import OWNER, spec
from tests.unit.observations import DIGEST, applied, observed, split
from tests.unit.proxies import live_pod


class Cluster:
    """One ConfigMap, and a copy of it that is always current."""

    resource = CONFIG_MAPS

    def __init__(self, obj):
        self.obj, self.revision, self.asked = obj, 1, []

    def get(self, *args):
        if len(args) == 3:
            self.asked.append("get")
        return {**self.obj, "metadata": {**self.obj["metadata"], "resourceVersion": str(self.revision)}}

    def of(self, api_version, kind):
        return self

    def version(self, *_):
        return str(self.revision)

    def remember(self, obj):
        pass

    def applying(self, desired):
        return nullcontext()

    def apply(self, resource, namespace, name, body, *, force):
        self.asked.append("apply")
        asked = body["metadata"].get("resourceVersion")
        if asked and asked != str(self.revision):
            raise Conflict(409, "Conflict", "the object has been modified")
        self.obj, self.revision = copy.deepcopy(body), self.revision + 1
        return self.get(namespace, name)

    def replace(self, resource, namespace, name, body):
        self.asked.append("replace")
        assert body["metadata"]["resourceVersion"] == str(self.revision)
        self.obj, self.revision = copy.deepcopy(body), self.revision + 1
        return self.get(namespace, name)


class Key:
    """A key that signs with the content in reverse, or no usable key."""

    def __init__(self, usable=True):
        self.usable = usable

    def sign(self, content):
        return content[::-1] if self.usable else None


class Agents:
    """Notes what is sent."""

    def __init__(self):
        self.sent = []

    def send(self, namespace, proxies, push):
        self.sent.append((namespace, proxies, push))


def writer_to(cluster, *, leads=True, agents=None, key=None):
    return Writer(cluster, cluster, lambda: leads, agents=agents or Agents(), key=key or Key())


def test_what_was_written_since_it_was_read_is_not_overwritten() -> None:
    first = config_map(OWNER, Written(applied(generation=1, revision=1), "old"))
    first["metadata"]["uid"] = "u"
    cluster = Cluster(first)
    writer = writer_to(cluster)
    before = read_written(cluster.get("", ""))  # a step begins: observe()
    desired = plan(observed(last=before), split()).planned["configure"][-1].rendered
    newer = config_map(OWNER, Written(applied(generation=2, revision=2), "new"))
    newer["metadata"]["uid"] = "u"
    cluster.apply(None, "", "", newer, force=True)  # a request of the former leader arrives
    with pytest.raises(RetryLaterError):
        writer.apply(desired)
    assert read_written(cluster.obj).applied.revision == 2


def test_one_write_is_one_request() -> None:
    first = config_map(OWNER, Written(applied(generation=1, revision=1), "old"))
    first["metadata"]["uid"] = "u"
    cluster = Cluster(first)
    writer_to(cluster).apply(config_map(OWNER, Written(applied(generation=2, revision=2), "new")))
    assert cluster.asked == ["apply"]


class Arriving(Cluster):
    """The object arrives in the copy when its version has been read."""

    def version(self, *_):
        return ""


def test_an_object_that_arrives_between_the_reads_is_not_written_without_its_version() -> None:
    first = config_map(OWNER, Written(applied(generation=1, revision=1), "old"))
    first["metadata"]["uid"] = "u"
    cluster = Arriving(first)
    with pytest.raises(RetryLaterError, match="just appeared"):
        writer_to(cluster).apply(config_map(OWNER, Written(applied(generation=2, revision=2), "new")))
    assert cluster.asked == []


class Empty(Cluster):
    """Nothing is in the copy; the cluster may have an object."""

    def __init__(self, obj=None, resource=CONFIG_MAPS):
        super().__init__(obj)
        self.resource = resource

    def of(self, api_version, kind):
        return SimpleNamespace(
            resource=self.resource, get=lambda *_: None, version=lambda *_: "", remember=lambda _: None
        )

    def get(self, *_):
        self.asked.append("get")
        if self.obj is None:
            raise NotFound(404, "NotFound", "")
        return {**self.obj, "metadata": {**self.obj["metadata"], "uid": "u", "resourceVersion": str(self.revision)}}

    def create(self, resource, namespace, body):
        self.asked.append("create")
        if self.obj is not None:
            raise AlreadyExists(409, "AlreadyExists", "")
        self.obj = copy.deepcopy(body)
        return {**body, "metadata": {**body["metadata"], "uid": "u"}}


def test_an_object_that_the_copy_lacks_is_created_by_one_request() -> None:
    cluster = Empty()
    writer_to(cluster).apply(config_map(OWNER, Written(applied(), "new")))
    assert cluster.asked == ["create"]


def test_an_object_of_others_that_the_copy_lacks_is_not_touched() -> None:
    cluster = Empty({"metadata": {"name": OWNER.proxy_name}, "data": {"their": "data"}})
    with pytest.raises(RejectedError, match="does not belong to this Kanary"):
        writer_to(cluster).apply(config_map(OWNER, Written(applied(), "new")))
    assert cluster.obj["data"] == {"their": "data"}


def test_a_service_of_others_that_a_stale_copy_lacks_is_not_touched() -> None:
    cluster = Empty({"metadata": {"name": "myapp"}, "spec": {"ports": [{"port": 80}]}}, SERVICES)
    with pytest.raises(RejectedError, match="does not belong to this Kanary"):
        writer_to(cluster).apply(service(OWNER, spec(destination="myapp")))
    assert "selector" not in cluster.obj["spec"]


def test_an_object_of_ours_that_has_lost_its_label_gets_it_again() -> None:
    desired = config_map(OWNER, Written(applied(), "new"))
    cluster = Empty({**desired, "metadata": {**desired["metadata"], "labels": {}}})
    writer_to(cluster).apply(desired)
    assert [each for each in cluster.asked if each != "get"] == ["create", "apply"]
    assert cluster.obj["metadata"]["labels"] == OWNER.labels


SENT = Written(applied(serial=7), "text", "", "public key")


def test_a_configuration_is_sent_with_its_origin_and_signature() -> None:
    agents, proxies = Agents(), [read_proxy(live_pod(), None)]
    writer_to(None, agents=agents).send(proxies, OWNER, SENT)
    assert agents.sent == [(OWNER.namespace, proxies, Push(OWNER.uid, 7, DIGEST, b"text", b"txet"))]


def test_a_process_that_does_not_lead_sends_nothing() -> None:
    agents = Agents()
    with pytest.raises(RetryLaterError, match="not the leader"):
        writer_to(None, leads=False, agents=agents).send([read_proxy(live_pod(), None)], OWNER, SENT)
    assert agents.sent == []


def test_without_a_usable_key_nothing_is_sent() -> None:
    agents = Agents()
    writer_to(None, agents=agents, key=Key(usable=False)).send([read_proxy(live_pod(), None)], OWNER, SENT)
    assert agents.sent == []
