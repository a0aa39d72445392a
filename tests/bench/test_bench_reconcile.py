from __future__ import annotations

from contextlib import closing

from bench.reconcile import Stage


def test_the_measured_changes_are_written_and_looks_write_nothing() -> None:
    with closing(Stage(20)) as stage:
        stage.settle()
        stage.cluster.writes.clear()
        stage.reconcile()
        assert not stage.cluster.writes
        stage.replace_pod()
        stage.settle()
        assert stage.cluster.writes
