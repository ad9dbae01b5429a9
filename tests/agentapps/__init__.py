"""AgentScope apps, tested where AgentScope is installed: real processes, a scripted model server, real MCP servers.

`models` is the model server, `tool_server` the MCP server, `apps/` the apps, `serving` runs them as users do.
"""
