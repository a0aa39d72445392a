"""Measures Kanary's data plane against its alternatives, and what many Kanaries cost: `make bench`.

Everything runs on loopback in network namespaces of its own. What is compared is measured in turns, round after round,
so that whatever else the machine does meets all alike; a plain configuration that takes part twice shows the noise.
"""
