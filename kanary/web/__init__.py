"""The HTTP servers of the operator: probes and metrics for the cluster, the history for authorised users."""
