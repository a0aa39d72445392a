"""`kanary webhook-key` with the API server for tests."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.render.objects import MANAGED_BY, MANAGER
from tests.apiserver import ApiServer
from tests.cli.conftest import Kanary, Printed

Run = Callable[..., Printed]
KEYS = [Ed25519PrivateKey.generate().public_key() for _ in range(2)]
TEXTS = sorted(f"whpk_{base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()}" for key in KEYS)


def pem(key: PublicKeyTypes) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def run(server: ApiServer, tmp_path: Path, kanary: Kanary) -> Run:
    """Puts ConfigMaps with these keys, and runs the command in their namespace."""
    kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")

    def run(*keys: str, label: str = MANAGER, namespace: str = "shop") -> Printed:
        for number, key in enumerate(keys):
            metadata = {"name": f"web-{number}", "namespace": "shop", "labels": {MANAGED_BY: label}}
            data = {"public-key.pem": key} if key else {"haproxy.cfg": "text"}
            server.store.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        return kanary("webhook-key", "-n", namespace, "--kubeconfig", str(kubeconfig))

    return run


def test_the_key_is_printed_as_standard_webhooks_writes_it(run: Run) -> None:
    printed = run(pem(KEYS[0]), pem(KEYS[0]), "")
    assert (printed.code, printed.out.split(), printed.err) == (0, [t for t in TEXTS if t in printed.out], "")
    assert len(printed.out.split()) == 1


def test_during_a_change_of_the_key_both_are_printed(run: Run) -> None:
    assert run(pem(KEYS[0]), pem(KEYS[1])).out.splitlines() == TEXTS


@pytest.mark.parametrize("options", [{}, {"label": "someone"}, {"namespace": "other"}], ids=str)
def test_without_a_key_the_way_out_is_named(run: Run, options: dict[str, str]) -> None:
    printed = run(*([pem(KEYS[0])] if options else [""]), **options)
    assert (printed.code, printed.out) == (1, "")
    assert f"no Kanary of namespace {options.get('namespace', 'shop')} has a key yet: create one" in printed.err


@pytest.mark.parametrize("key", ["%", pem(generate_private_key(65537, 1024).public_key())], ids=["no base64", "RSA"])
def test_an_invalid_key_is_an_error(run: Run, key: str) -> None:
    printed = run(key)
    assert (printed.code, printed.out) == (1, "")
    assert "a ConfigMap of namespace shop has an invalid public-key.pem" in printed.err
