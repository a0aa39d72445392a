"""The life cycle of the key that signs configurations."""

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_public_key

from engine.ports import RetryLaterError
from kanary.kube.client import AlreadyExists, Forbidden, NotFound, Unreachable
from kanary.kube.errors import from_status
from kanary.operator.signing import PRIVATE_KEY, SigningKey
from tests.agent.live import OPENSSL

Json = dict[str, Any]


class Cluster:
    """One Secret, or none."""

    def __init__(self, secret: Json | None = None, error: Exception | None = None) -> None:
        self.secret = secret
        self.error = error
        self.requests: list[str] = []
        self.rival: Json | None = None
        """Another process creates this one first."""

    def get(self, resource: object, namespace: str, name: str) -> Json:
        self.requests.append("get")
        if self.error:
            raise self.error
        if self.secret is None:
            raise NotFound(404)
        return self.secret

    def create(self, resource: object, namespace: str, body: Json) -> Json:
        self.requests.append("create")
        if self.rival:
            self.secret = self.rival
            raise AlreadyExists(409)
        self.secret = body
        return body


def key_of(cluster: Cluster, *, leads: bool = True) -> SigningKey:
    return SigningKey(cluster, "kanary-system", "kanary-signing-key", lambda: leads)  # type: ignore[arg-type]


def secret(pem: bytes | str) -> Json:
    content = pem if isinstance(pem, str) else base64.b64encode(pem).decode()
    return {"data": {PRIVATE_KEY: content}}


def test_a_missing_key_is_created_once_and_read_by_the_next_process() -> None:
    cluster = Cluster()
    key = key_of(cluster)
    assert key.public() == key.public() != ""
    assert cluster.requests == ["get", "create"]
    assert key_of(cluster).public() == key.public()
    assert cluster.requests == ["get", "create", "get"]


def test_the_key_that_another_process_creates_at_the_same_time_is_used() -> None:
    cluster, other = Cluster(), Cluster()
    theirs = key_of(other).public()
    cluster.rival = other.secret
    assert key_of(cluster).public() == theirs


def test_a_process_that_does_not_lead_creates_nothing() -> None:
    cluster = Cluster()
    with pytest.raises(RetryLaterError, match="not the leader"):
        key_of(cluster, leads=False).public()
    assert cluster.requests == ["get"]


def test_openssl_accepts_the_signature_of_exactly_this_content(tmp_path: Path) -> None:
    key = key_of(Cluster())
    signature = key.sign(b"content")
    assert signature
    load_pem_public_key(key.public().encode()).verify(signature, b"content")  # type: ignore[union-attr,call-arg]
    for name, content in (("key", key.public().encode()), ("signature", signature), ("text", b"content")):
        (tmp_path / name).write_bytes(content)
    command = f"{OPENSSL} pkeyutl -verify -pubin -inkey key -rawin -in text -sigfile signature"
    assert subprocess.run(command.split(), cwd=tmp_path, check=False).returncode == 0
    (tmp_path / "text").write_bytes(b"Content")
    assert subprocess.run(command.split(), cwd=tmp_path, check=False).returncode == 1


OTHER = generate_private_key(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
HALF = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())[:60]


@pytest.mark.parametrize(
    "found",
    [{}, {"data": None}, {"data": {PRIVATE_KEY: None}}, secret("%%%"), secret(b""), secret(HALF), secret(OTHER)],
    ids=["empty", "no data", "null", "no base64", "no PEM", "half a key", "RSA"],
)
def test_a_damaged_secret_is_reported_with_the_way_out_and_stops_no_reconcile(found: Json) -> None:
    cluster = Cluster(found)
    key = key_of(cluster)
    assert (key.public(), key.sign(b"content")) == ("", None)
    assert key.problem.startswith("Secret kanary-system/kanary-signing-key has no Ed25519 key in private.pem: delete")
    assert cluster.requests == ["get"]


@pytest.mark.parametrize("code", [400, 403, 405, 413, 415, 422])
def test_a_rejected_secret_is_reported_and_stops_no_reconcile(code: int) -> None:
    cluster = Cluster(error=from_status({"message": "no Secrets here"}, code))
    key = key_of(cluster)
    assert (key.public(), key.sign(b"content")) == ("", None)
    assert key.problem.startswith("cannot read or create Secret kanary-system/kanary-signing-key: no Secrets here")
    assert cluster.requests == ["get"]


def test_missing_rights_are_reported_and_retried_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(error=Forbidden(403, "Forbidden", "secrets is forbidden"))
    key = key_of(cluster)
    assert key.public() == ""
    assert "apply manifests/base/rbac.yaml" in key.problem
    cluster.error = None
    assert key.public() == ""
    monkeypatch.setattr("time.monotonic", lambda: 10**9)
    assert key.public() != ""
    assert key.problem == ""


def test_an_api_server_that_does_not_answer_is_reported_and_asked_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(error=Unreachable("no answer"))
    key = key_of(cluster)
    for use in (key.public, lambda: key.sign(b"content")):
        with pytest.raises(RetryLaterError, match="cannot read or create Secret kanary-system/kanary-signing-key"):
            use()
    assert cluster.requests == ["get"]
    assert key.problem.endswith("no answer")
    cluster.error = None
    monkeypatch.setattr("time.monotonic", lambda: 10**9)
    assert key.public() != ""
    assert key.problem == ""
