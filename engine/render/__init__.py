"""Renders the HAProxy configuration and the Kubernetes objects of one Kanary."""
