"""The program behind port 49999 of a code interpreter's sandbox: Jupyter kernels over HTTP, as E2B's clients speak it.

It runs on the environment of the template `code-interpreter-v1` alone, into which it is copied: tornado, jupyter_client and
ipykernel are there, nothing else of ours is. `inside` is what runs in the kernels' own processes.
"""
