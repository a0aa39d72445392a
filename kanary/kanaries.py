"""Where the API server keeps Kanaries, and in whose name the operator writes."""

from kanary.kube.resources import Resource

KANARIES = Resource("kanary.k8s.io", "v1", "Kanary", "kanaries")
"""Spelt out: a command that completes a name must not wait for the models to load."""

FIELD_MANAGER = "kanary"
