"""The sidecar agent of HAProxy: loads a mounted configuration into the running proxy, ejects servers that reset their
connections, and reports what the proxy serves.

The agent is stateless: it compares the mounted text, the validated text that HAProxy starts with, and what HAProxy's
worker serves, and acts on the differences. So it may be killed between any two steps. HAProxy keeps which servers are
ejected; their ejection times start anew.

The agent uses about 5 MB of memory, 2 of them for Python itself. dataclasses would add a quarter, subprocess and
pathlib a tenth each, so it does not use them.
"""
