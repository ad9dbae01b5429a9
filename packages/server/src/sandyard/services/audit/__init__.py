"""Who did what, in a chain that shows whether it was changed."""
