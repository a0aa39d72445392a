"""Writes the software bill of materials of an image as CycloneDX 1.6: `python -m scripts.sbom IMAGE FILE`.

It lists the Debian packages and the Python distributions of the image, as the image itself lists them, each with its
package URL (https://github.com/package-url/purl-spec). `make images` writes one for each image that it builds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

_DEBIAN = 'dpkg-query --show --showformat \'["${Package}", "${Version}", "${Architecture}", "${db:Status-Status}"]\\n\''
_PYTHON = (
    "import importlib.metadata, json\n"
    "for each in importlib.metadata.distributions(): print(json.dumps([each.metadata['Name'], each.version]))"
)
LISTING = f"""\
. /etc/os-release && echo "$ID-$VERSION_ID"
{_DEBIAN}
echo
for python in /opt/*/bin/python; do [ ! -x "$python" ] || "$python" -I -c "{_PYTHON}"; done
"""
"""A script for the shell of an image: its distribution, a line for each Debian package, an empty one, and the Python
distributions."""


def listed_in(image: str) -> str:
    """What the script prints in an image. Raises CalledProcessError."""
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", LISTING]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603


def digest_of(image: str) -> str:
    """The digest of the manifest of an image; empty before it is in a registry. Raises CalledProcessError."""
    command = ["docker", "image", "inspect", "--format", '{{join .RepoDigests " "}}', image]
    return manifest_in(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)  # noqa: S603


def manifest_in(names: str) -> str:
    """The digest that all names of an image in registries share, such as `registry.example/kanary@sha256:...`.

    It is empty if there is none, or several: an image that was pushed to one registry and pulled from another.
    """
    found = {name.partition("@")[2] for name in names.split()}
    return found.pop() if len(found) == 1 else ""


def components(listing: str) -> Iterator[Component]:
    """The packages that a listing has, each once. Raises ValueError for one that is not complete."""
    head, separator, python = listing.partition("\n\n")
    distribution, *debian = head.splitlines() or [""]
    if not separator or not debian:
        raise ValueError(f"the image lists no Debian packages: {listing[:200]!r}")
    for line in sorted(set(debian)):
        name, version, architecture, status = json.loads(line)
        if status == "installed":
            yield _component("deb", name, version, "debian", {"arch": architecture, "distro": distribution})
    for line in sorted(set(python.splitlines())):
        name, version = json.loads(line)
        yield _component("pypi", name.lower().replace("_", "-"), version)


def _component(
    kind: str, name: str, version: str, namespace: str | None = None, qualifiers: Mapping[str, str] | None = None
) -> Component:
    purl = PackageURL(kind, namespace, name, version, dict(qualifiers or {}))
    return Component(type=ComponentType.LIBRARY, name=name, version=version, purl=purl, bom_ref=str(purl))


def bill(image: str, digest: str, listing: str) -> str:
    """The document for an image of this name and manifest digest, if it has one."""
    name, _, tag = image.rpartition(":")
    purl = PackageURL("oci", None, name.rsplit("/", 1)[-1], digest or None, {"tag": tag})
    made = Bom(components=components(listing))
    made.metadata.component = Component(
        type=ComponentType.CONTAINER, name=name, version=tag, purl=purl, bom_ref=str(purl)
    )
    made.register_dependency(made.metadata.component, made.components)
    return JsonV1Dot6(made).output_as_string(indent=1) + "\n"


def main(image: str, path: str) -> int:
    """Write the file; returns the exit code."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(bill(image, digest_of(image), listed_in(image)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
