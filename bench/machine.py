"""Facts about the machine that matter for the figures."""

from __future__ import annotations

import os
import re
from pathlib import Path


def describe() -> dict[str, str]:
    """Cores, processor, memory and kernel; no names."""
    kibibytes = _first(Path("/proc/meminfo"), r"MemTotal:\s+(\d+) kB")
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _first(Path("/proc/cpuinfo"), r"model name\s*: (.+)"),
        "memory": f"{int(kibibytes) / 2**20:.1f} GiB",
        "kernel": os.uname().release,
    }


def _first(path: Path, pattern: str) -> str:
    found = re.search(pattern, path.read_text())
    return found[1].strip() if found else "unknown"
