"""The agent beside HAProxy: it brings a mounted configuration to the running proxy, takes out servers that reset their
connections, and reports what is served.

It holds nothing in memory that matters. Three things are compared, and differences acted on: the mounted text, the
checked text that HAProxy starts with, and what HAProxy's worker says that it serves. So the agent may be killed
between any two steps. Which servers are out, HAProxy knows; for how long is begun anew.

Of its memory of about 5 MB, 2 are Python's own. dataclasses would add a quarter, subprocess and pathlib a tenth each,
so it does without them.
"""
