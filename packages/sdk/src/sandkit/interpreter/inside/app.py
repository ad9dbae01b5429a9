"""The kernel's application: what it prints waits for whoever reads, in place of being dropped or piled up."""

# pyright: reportUnknownMemberType=false
# ipykernel and IPython declare their types in part only.

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import zmq
from ipykernel.kernelapp import IPKernelApp
from traitlets.config import Config

if TYPE_CHECKING:
    from collections.abc import Mapping

_SEND = 16
"""How many messages wait in the kernel for their reader."""
_OPTIONS: Mapping[int, int] = {zmq.SNDHWM: _SEND, zmq.XPUB_NODROP: 1}


class KernelApp(IPKernelApp):
    """ipykernel's, whose output channel waits where it would drop messages."""

    def init_iopub(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Make the output channel: what a context says of its sockets holds for those made after it."""
        for option, value in _OPTIONS.items():
            context.setsockopt(option, value)
        super().init_iopub(context)
        for option in _OPTIONS:
            del context.sockopts[option]

    def log_connection_info(self) -> None:
        """Print nothing for people at a terminal: there are none."""


def configuration() -> Config:
    """Return ipykernel's and IPython's settings: text without colours, nothing of the code on disk."""
    config = Config()
    config.IPKernelApp.log_level = logging.ERROR  # no warning that loopback is not encrypted
    config.IPKernelApp.outstream_class = "sandkit.interpreter.inside.streams.Stream"
    config.IPKernelApp.extensions = ["sandkit.interpreter.inside.formats"]
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.banner1 = ""
    config.PlainTextFormatter.max_seq_length = 0
    config.HistoryManager.enabled = False
    return config
