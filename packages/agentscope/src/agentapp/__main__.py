"""`python -m agentapp`: the command `agentscope` by another way, where another distribution has taken its name."""

from agentapp.cli import main

main()
