"""Kubernetes as a client needs it: requests, watches and caches, a work queue, a Lease, Events."""
