"""The operator: the custom resource's cluster side, the process, and the command line."""
