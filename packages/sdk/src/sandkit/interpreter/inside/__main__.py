"""`python -m sandkit.interpreter.inside python|bash -f <connection file>`."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from sandkit.interpreter.inside.app import KernelApp, configuration


def main() -> None:
    """Be a kernel until the process is ended."""
    kind, *arguments = sys.argv[1:]
    options: dict[str, Any] = {}
    if kind == "bash":
        options["kernel_class"] = importlib.import_module("bash_kernel.kernel").BashKernel
    KernelApp.launch_instance(argv=arguments, config=configuration(), **options)


if __name__ == "__main__":
    main()
