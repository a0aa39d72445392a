"""Measures what many Kanaries cost: `python -m bench.scale`.

The API server is that of tests/modern. `player.py` plays nodes and agents, `fleet.py` has the Kanaries and the state
that the API server has of them, `operator.py` runs `kanary run`, `parts/` has the measurements.
"""
