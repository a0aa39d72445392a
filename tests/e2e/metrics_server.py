"""The API server of external metrics that runs in a pod: one metric, the content of a file.

Usage: metrics_server.py GROUP METRIC FILE CERTIFICATE KEY
"""

import json
import ssl
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_GROUP, _METRIC, _FILE, _CERTIFICATE, _KEY = sys.argv[1:]
_VERSION = f"{_GROUP}/v1beta1"


def _resources() -> dict[str, Any]:
    resource = {"name": _METRIC, "kind": "ExternalMetricValueList", "namespaced": True, "verbs": ["get"]}
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": _VERSION, "resources": [resource]}


def _values() -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    item = {"metricName": _METRIC, "metricLabels": {}, "timestamp": now, "value": Path(_FILE).read_text()}
    return {"kind": "ExternalMetricValueList", "apiVersion": _VERSION, "metadata": {}, "items": [item]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        is_value = self.path.partition("?")[0].endswith(f"/{_METRIC}")
        content = json.dumps(_values() if is_value else _resources()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    Path(_FILE).write_text("0")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_CERTIFICATE, _KEY)
    server = ThreadingHTTPServer(("", 8443), _Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
