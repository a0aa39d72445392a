"""The benchmarks themselves, shortest: that they run, and that what is no matter of speed is as it should be."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.report import TITLES, sections


def can_run() -> bool:
    """As root on Debian, in a sandbox that allows network namespaces."""
    if os.geteuid() != 0 or "ID=debian" not in Path("/etc/os-release").read_text().splitlines():
        return False
    return subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_run(), reason="needs root on Debian, and network namespaces")
def test_a_quick_run_measures_everything(tmp_path: Path) -> None:
    report = tmp_path / "performance.md"
    main(["--quick", "--output", str(report)])
    found = sections(report.read_text())
    assert [name for name in TITLES if "Not measured yet" in found[name]] == ["reconcile", "record", "scale", "change"]
    header, _, *mixes = (line.split(" | ") for line in found["split"].splitlines() if line.startswith("|"))
    assert {mix[header.index("**Kanary**")] for mix in mixes} == {"0"}
    assert "Failed connections" not in found["split"]
