"""Runs the agent from its folder: `python3 -I -S agent --mounted ... --run ... --port ...`."""

from kanary_agent.run import main

main()
