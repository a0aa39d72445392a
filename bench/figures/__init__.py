"""The figures, each a section of docs/performance.md."""

from collections.abc import Callable

from bench.figures import load, memory, pace, split, start, stream, weights
from bench.session import Session

FIGURES: dict[str, Callable[[Session], str]] = {
    "load": load.measure,
    "stream": stream.measure,
    "pace": pace.measure,
    "split": split.measure,
    "weights": weights.measure,
    "memory": memory.measure,
    "start": start.measure,
}
