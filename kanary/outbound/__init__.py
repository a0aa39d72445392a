"""Requests to addresses that users declare: Prometheus queries and webhooks of rollouts.

The operator must not be a deputy that reaches for users what they cannot reach themselves. By default a request goes to
a pod of the Kanary's own namespace; other hosts need the operator's setting, and some addresses are never used.
"""
