"""The operator: follows the cluster, reconciles while it leads, and reports what it did."""
