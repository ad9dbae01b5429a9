"""Tables: a CSV file in data/inputs/table/ becomes Parquet, a chart, or the answer of a question in SQL."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("MPLCONFIGDIR", "/tmp/matplotlib")  # noqa: S108 (the sandbox's own)

import duckdb
import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

OUTPUTS = Path("data/outputs")
SHOWN = 1000


def to_parquet() -> dict[str, Any]:
    """Write the table as Parquet, and say what is in it."""
    table = _table()
    target = _output("parquet", "parquet")
    table.execute(f"COPY input TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
    columns = {name: kind for name, kind, *_ in table.execute("DESCRIBE input").fetchall()}
    [count] = table.execute("SELECT count(*) FROM input").fetchone() or [0]
    return {"success": True, "rows": count, "columns": columns, "bytes": target.stat().st_size}


def chart(x: str, y: str, kind: str = "bar", title: str = "") -> dict[str, Any]:
    """Draw the sum of column `y` for each value of column `x`."""
    frame = _table().execute(f"SELECT {_name(x)} AS x, sum({_name(y)}) AS y FROM input GROUP BY 1 ORDER BY 1").df()  # noqa: S608 (names are quoted)
    figure, axes = plt.subplots(figsize=(8, 4.5), dpi=100)
    frame.plot(x="x", y="y", kind=kind, ax=axes, legend=False)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title or f"{y} by {x}")
    figure.tight_layout()
    figure.savefig(_output("chart", "png"))
    return {"success": True, "points": len(frame), "data": json.loads(frame.to_json(orient="values", date_format="iso"))}


def query(sql: str) -> dict[str, Any]:
    """Answer a SELECT about the table, which is called `input`; at most 1,000 rows are returned, all of them are in the Parquet file."""
    table = _table()
    result = table.execute(sql)
    frame = result.df()
    table.register("result", frame)
    target = _output("result", "parquet")
    table.execute(f"COPY result TO '{target}' (FORMAT parquet)")
    rows = json.loads(frame.head(SHOWN).to_json(orient="records", date_format="iso"))
    return {"success": True, "rows": rows, "count": len(frame), "columns": list(frame.columns)}


def _table() -> duckdb.DuckDBPyConnection:
    """Open the table as `input`."""
    file = next(path for path in sorted(Path("data/inputs/table").iterdir()) if path.is_file())
    connection = duckdb.connect(config={"threads": "1", "memory_limit": "256MB", "autoinstall_known_extensions": "false"})
    connection.execute("CREATE TABLE input AS SELECT * FROM read_csv(?)", [str(file)])
    return connection


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _output(key: str, kind: str) -> Path:
    directory = OUTPUTS / key
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"{key}.{kind}"
