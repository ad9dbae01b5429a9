"""`ppio-sandbox-cli`: from a directory to a called agent."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from ppio_sandbox.cli.app import run  # noqa: PLC0415 (importing this package must not cost the command line)

    run()
