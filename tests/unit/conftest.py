"""A certificate for TLS."""

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of server and client, which trust each other. Its host name is not resolved."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path.with_suffix(".key")]
    name = ["-subj", "/CN=kubernetes", "-addext", "subjectAltName=DNS:kubernetes"]
    subprocess.run(["openssl", "req", "-x509", *key, *name, "-out", path], check=True, capture_output=True)
    return path
