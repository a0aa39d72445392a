"""`kanary dashboard`: a local web page that shows Kanaries and steers them, with the user's own kubeconfig and rights.

Server-rendered; nothing runs in the cluster. `guard.py` decides who may use it.
"""
