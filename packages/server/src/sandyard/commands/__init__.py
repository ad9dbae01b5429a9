"""Command groups of `sandyard` that speak to a running server. What a command needs is imported when it runs."""
