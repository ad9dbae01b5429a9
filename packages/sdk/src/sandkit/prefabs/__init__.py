"""What runs a prefab's functions inside its sandbox. Standard library only; `frames` and `limits` are shared with the server."""
