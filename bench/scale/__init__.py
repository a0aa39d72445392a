"""Measures what many Kanaries cost: `python -m bench.scale`.

The API server is that of tests/modern. `player.py` plays nodes and agents, `fleet.py` has the Kanaries and the state
that the API server has of them, `operator.py` runs `kanary run`, and `parts.py` has the measurements. `tenants.py`
measures one namespace beside another one (`crowd.py`), for tests/promises.
"""
