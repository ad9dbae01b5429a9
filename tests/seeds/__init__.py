"""The seed documents held to their word: every Python block in them is a program that runs, or a listing that the code equals.

`documents/` are verbatim copies of the specification. `blocks` takes the programs out of them, `register` says what each one is,
`listing` compares interface listings with the code, `play` runs a sample as a program of its own, `gaps` says what is not true yet.
"""
