"""What the operator serves over HTTP: probes and metrics to the cluster, and the history to authorised readers."""
