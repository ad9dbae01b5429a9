"""The gateway on the API listener: prefabs, runs, jobs, files, secrets. One file per noun; errors are `{"detail": {…}}`."""
