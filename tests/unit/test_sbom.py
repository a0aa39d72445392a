"""The bill of materials of an image, from what the image lists."""

from __future__ import annotations

import json

import pytest

from scripts.sbom import bill, manifest_in

LISTING = """\
debian-13
["haproxy", "3.0.11-1+deb13u4", "amd64", "installed"]
["haproxy", "3.0.11-1+deb13u4", "amd64", "installed"]
["tzdata", "2026b-0+deb13u1", "all", "installed"]
["old", "1.0", "all", "config-files"]

["SQLAlchemy", "2.1.0"]
["typing_extensions", "4.16.0"]
"""


def test_it_has_each_package_that_is_installed_once_with_its_url() -> None:
    made = json.loads(bill("registry.example/kanary:0.1.0", "sha256:" + 64 * "a", LISTING))
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert {each["purl"] for each in made["components"]} == {
        "pkg:deb/debian/haproxy@3.0.11-1%2Bdeb13u4?arch=amd64&distro=debian-13",
        "pkg:deb/debian/tzdata@2026b-0%2Bdeb13u1?arch=all&distro=debian-13",
        "pkg:pypi/sqlalchemy@2.1.0",
        "pkg:pypi/typing-extensions@4.16.0",
    }
    assert len(made["components"]) == 4
    image = made["metadata"]["component"]
    assert (image["type"], image["name"], image["version"]) == ("container", "registry.example/kanary", "0.1.0")
    (root,) = [each for each in made["dependencies"] if each["ref"] == image["bom-ref"]]
    assert set(root["dependsOn"]) == {each["bom-ref"] for each in made["components"]}


@pytest.mark.parametrize(
    ("names", "version"),
    [
        pytest.param("", "", id="only built"),
        pytest.param("registry.example/kanary@sha256:aa\n", "@sha256:aa", id="pushed"),
        pytest.param("a.example/kanary@sha256:aa b.example/kanary@sha256:aa", "@sha256:aa", id="pushed twice"),
        pytest.param("a.example/kanary@sha256:aa b.example/kanary@sha256:bb", "", id="two manifests"),
    ],
)
def test_an_image_is_named_by_the_digest_of_its_manifest_and_by_no_other(names: str, version: str) -> None:
    made = json.loads(bill("registry.example/kanary:0.1.0", manifest_in(names), LISTING))
    expected = f"pkg:oci/kanary{version}?tag=0.1.0"
    assert made["metadata"]["component"]["purl"].replace("%3A", ":") == expected


@pytest.mark.parametrize("listing", ["", "debian-13\n", "debian-13\n\n", '["SQLAlchemy", "2.1.0"]\n'])
def test_an_image_that_lists_no_packages_gets_no_bill(listing: str) -> None:
    with pytest.raises(ValueError, match="lists no Debian packages"):
        bill("kanary:0.1.0", "sha256:" + 64 * "a", listing)
