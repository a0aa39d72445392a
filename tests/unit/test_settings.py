"""What the operator is told when it starts."""

import socket

from engine.render.pods import DEFAULT_PROXY_IMAGE

from kanary.operator.settings import Settings


def test_with_nothing_said_the_defaults_serve() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings(identity=socket.gethostname())
    assert (settings.workers, settings.http_port, settings.history_port) == (4, 8080, 8081)
    assert settings.log_level == "info"
    assert (settings.leader_election, settings.lease_name) == (True, "kanary")
    assert settings.proxy_image == DEFAULT_PROXY_IMAGE
    assert settings.namespace is None


def test_the_environment_names_image_namespace_and_pod() -> None:
    environment = {
        "KANARY_PROXY_IMAGE": "mine:1",
        "KANARY_NAMESPACE": "shop",
        "POD_NAME": "kanary-0",
        "POD_UID": "u-1",
        "OTHER": "x",
    }
    assert Settings.from_environment(environment) == Settings(
        proxy_image="mine:1", namespace="shop", identity="kanary-0", pod_uid="u-1"
    )


def test_what_is_set_to_nothing_is_not_set() -> None:
    """As an optional value of a manifest is."""
    environment = {"KANARY_PROXY_IMAGE": "", "KANARY_NAMESPACE": "", "POD_NAME": "", "POD_UID": ""}
    assert Settings.from_environment(environment) == Settings.from_environment({})
