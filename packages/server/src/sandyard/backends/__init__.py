"""Back ends: who starts, freezes and stops sandboxes. `conformance` is the proof that each is held to."""
