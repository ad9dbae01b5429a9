"""What runs in the process of a kernel written in Python: ipykernel, made to lose no output and to hold none in memory."""
