"""Messages of the control plane, one file per noun; the errors, once; server-sent events."""
