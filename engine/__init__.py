"""Drives the states: from a view of the cluster to decisions, rendered objects and status, with no I/O of its own."""
