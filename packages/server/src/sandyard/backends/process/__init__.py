"""The `process` back end: bubblewrap sandboxes, held by a keeper that outlives the server.

Two processes, one directory. In the server: `backend` (the port), `client` (asks the keeper), `plan` (what a sandbox looks like).
In the keeper, stdlib only: `keeper` (the loop), `sandbox` (one sandbox's life), `launcher` (the child that becomes bubblewrap).
Both: `protocol`, `records`. This file stays empty of imports, because the keeper passes through it.
"""
