"""The key that signs the configurations for running proxies: Ed25519, in a Secret of the operator's namespace."""

import base64
import binascii
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine.ports import RetryLaterError
from kanary.kube.client import AlreadyExists, ClusterClient, ClusterError, Forbidden, NotFound
from kanary.kube.errors import Meaning
from kanary.kube.resources import SECRETS
from states.timing import CONNECT_PAUSE, REJECTED_RECHECK

Json = dict[str, Any]

PRIVATE_KEY = "private.pem"

_log = logging.getLogger(__name__)


class SigningKey:
    """The key in the Secret `name`, which is created if it is missing. Thread-safe.

    The Secret is read once: to replace the key, delete the Secret and restart the operator. If there is no usable key,
    nothing is sent to running proxies: their kubelets deliver the configurations later, or they are replaced.
    """

    def __init__(self, client: ClusterClient, namespace: str, name: str, may_write: Callable[[], bool]) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._may_write = may_write
        self._lock = threading.Lock()
        self._key: Ed25519PrivateKey | None = None
        self._public = ""
        """Each reconcile compares it."""
        self._retry_at = 0.0
        self._is_unknown = False
        """The API server could not answer the last request."""
        self.problem = ""
        """Why there is no usable key; empty if there is, or if it has not been read."""

    def public(self) -> str:
        """The public key as PEM, or "" if there is no usable key. Raises RetryLaterError."""
        return self._public if self._read() else ""

    def sign(self, content: bytes) -> bytes | None:
        """The signature, or None if there is no usable key. Raises RetryLaterError."""
        key = self._read()
        return key.sign(content) if key else None

    def _read(self) -> Ed25519PrivateKey | None:
        with self._lock:
            if self._key is None and time.monotonic() >= self._retry_at:
                self._load()
            if self._is_unknown:
                raise RetryLaterError(self.problem, CONNECT_PAUSE.total_seconds())
            return self._key

    def _load(self) -> None:
        """Read the key, or set why it is not usable. Raises RetryLaterError if another process leads."""
        where = f"Secret {self._namespace}/{self._name}"
        self._is_unknown = False
        try:
            key = _key_in(self._get_or_create())
            self._key, self._public, self.problem = key, _public(key), ""
        except ClusterError as error:
            self._is_unknown = error.meaning in (Meaning.RETRY, Meaning.STALE)
            way_out = "; apply manifests/base/rbac.yaml" if isinstance(error, Forbidden) else ""
            self.problem = f"cannot read or create {where}: {error}{way_out}"
        except (ValueError, UnsupportedAlgorithm):
            pause = REJECTED_RECHECK.total_seconds()
            self.problem = (
                f"{where} has no Ed25519 key in {PRIVATE_KEY}: delete the Secret, "
                f"and the operator creates another one within {pause:.0f} s"
            )
        if self.problem:
            # Kanaries are reconciled all the same, and each reconcile would send a request.
            pause = (CONNECT_PAUSE if self._is_unknown else REJECTED_RECHECK).total_seconds()
            self._retry_at = time.monotonic() + pause
            _log.error("configurations are not sent to running proxies: %s", self.problem)

    def _get_or_create(self) -> Json:
        try:
            return self._client.get(SECRETS, self._namespace, self._name)
        except NotFound:
            if not self._may_write():
                raise RetryLaterError("cannot create the signing key: this process is not the leader") from None
        try:
            return self._client.create(SECRETS, self._namespace, _new_secret(self._namespace, self._name))
        except AlreadyExists:
            # Another leader has just created it.
            return self._client.get(SECRETS, self._namespace, self._name)


def _new_secret(namespace: str, name: str) -> Json:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "apiVersion": SECRETS.api_version,
        "kind": SECRETS.kind,
        "metadata": {"namespace": namespace, "name": name, "labels": {"app.kubernetes.io/name": "kanary"}},
        "data": {PRIVATE_KEY: base64.b64encode(pem).decode()},
    }


def _public(key: Ed25519PrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form).decode()


def _key_in(secret: Json) -> Ed25519PrivateKey:
    """The key of a Secret. Raises ValueError and UnsupportedAlgorithm."""
    try:
        pem = base64.b64decode((secret.get("data") or {})[PRIVATE_KEY], validate=True)
        key = serialization.load_pem_private_key(pem, password=None)
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError(str(error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("another algorithm")  # noqa: TRY004  callers handle all invalid Secrets alike
    return key
