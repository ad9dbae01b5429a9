"""An extension of IPython: the formats that E2B's clients know beside Jupyter's own, and output that is complete when a cell is done.

`e2b/chart` is the data of a matplotlib figure, `e2b/data` that of a pandas frame, and lists and dicts are JSON.
"""

# pyright: reportUnknownMemberType=false
# ipykernel and IPython declare their types in part only.

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, cast

import orjson
from IPython.core.formatters import BaseFormatter, JSONFormatter
from traitlets import ObjectName, Unicode

from sandkit.interpreter.inside.streams import Stream

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_PLAIN = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class DataFormatter(BaseFormatter):
    """A pandas frame, column by column."""

    format_type = Unicode("e2b/data")
    print_method = ObjectName("_repr_e2b_data_")
    _return_type = (dict, str)

    def __call__(self, obj: Any) -> Any:
        """Return its data; None of anything else that says nothing."""
        pandas = sys.modules.get("pandas")  # there is no frame where it was not imported
        if pandas is None or not isinstance(obj, pandas.DataFrame):
            return super().__call__(obj)
        return plain(obj.to_dict(orient="list"))


class ChartFormatter(BaseFormatter):
    """A figure of matplotlib, as e2b-charts reads it."""

    format_type = Unicode("e2b/chart")
    print_method = ObjectName("_repr_e2b_chart_")
    _return_type = (dict, str)

    def __call__(self, obj: Any) -> Any:
        """Return its data; None of anything else that says nothing, and of a figure that e2b-charts cannot read."""
        figures = sys.modules.get("matplotlib.figure")
        if figures is None or not isinstance(obj, figures.Figure):
            return super().__call__(obj)
        try:
            return plain(cast("Any", importlib.import_module("e2b_charts")).chart_figure_to_dict(obj)) or None
        except Exception:  # noqa: BLE001 (it guesses at lines and patches, and raises whatever it stumbles on; the picture is shown all the same)
            return None


class ListsFormatter(JSONFormatter):
    """Lists and dicts as JSON."""

    def __call__(self, obj: Any) -> Any:
        """Return what JSON can say of it, and that a viewer may show all of it; None where JSON can say nothing."""
        if not isinstance(obj, (list, dict)):
            return super().__call__(obj)
        try:
            return orjson.loads(orjson.dumps(obj, option=_PLAIN)), {"expanded": True}
        except TypeError:
            return super().__call__(obj)


def plain(value: Any) -> Any:
    """Return the value as JSON has it: numbers of numpy as numbers, times in ISO 8601, what else JSON does not know as text."""
    return orjson.loads(orjson.dumps(value, option=_PLAIN, default=_said))


def _said(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register them; IPython calls this."""
    formatters = cast("dict[str, Any]", cast("Any", shell.display_formatter).formatters)
    for kind, formatter in (("e2b/data", DataFormatter), ("e2b/chart", ChartFormatter), ("application/json", ListsFormatter)):
        formatters[kind] = formatter(parent=shell.display_formatter)
    shell.events.register("post_execute", _settle)


def _settle() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Stream):
            stream.settle()
