"""The secrets that callers keep for the functions they call."""
