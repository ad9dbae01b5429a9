"""The composition root: the only package that names concrete classes.

`platform` says what one server consists of, `backends` which back end it has, `listening` what clients reach, `serving` how it
runs and ends, `offline` what commands do beside a server. Each is imported by its own name: a command that makes a key shall
not wait for a server's parts.
"""
