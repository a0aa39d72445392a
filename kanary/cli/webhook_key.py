"""`kanary webhook-key`: the public key of the operator, for receivers of webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.model.states import PUBLIC_KEY
from engine.render.objects import MANAGED_BY, MANAGER
from kanary.cli.failure import CommandError
from kanary.kube.resources import CONFIG_MAPS
from kanary.outbound.webhooks import public_key_text

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient


def print_keys(client: ClusterClient, namespace: str) -> None:
    """Print each key that a Kanary of the namespace has. Raises CommandError if there is none, and ClusterError."""
    config_maps, _ = client.list(CONFIG_MAPS, namespace, f"{MANAGED_BY}={MANAGER}")
    texts = {(config_map.get("data") or {}).get(PUBLIC_KEY) or "" for config_map in config_maps} - {""}
    if not texts:
        raise CommandError(
            f"no Kanary of namespace {namespace} has a key yet: create one, or name its namespace with -n; if there is "
            "one, the operator has no usable signing key, and its /readyz says why"
        )
    try:
        keys = sorted(map(public_key_text, texts))
    except ValueError as error:
        raise CommandError(f"a ConfigMap of namespace {namespace} has an invalid {PUBLIC_KEY}: {error}") from error
    print("\n".join(keys))
