"""From values to text and objects: the HAProxy configuration and the Kubernetes objects of one Kanary."""
