"""`agentscope`, also `python -m agentapp` and `ppio-sandbox-cli agent run` in an app's directory."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from agentapp.cli.commands import cli  # noqa: PLC0415 (importing this package must not cost the command line)

    cli()
