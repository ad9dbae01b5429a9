"""An analyst: give it a table of sales once, then ask. The table stays in the session's memory, through pause and resume.

{"prompt": "load", "data": {"csv": "<the file's text>"}}     reads the table and streams what it finds
{"prompt": "revenue by region"}                               any of region, channel, product, category, month
{"prompt": "returns by product"}
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pandas as pd

from ppio_sandbox.agent_runtime import AgentRuntimeApp

if TYPE_CHECKING:
    from collections.abc import Iterator

app = AgentRuntimeApp()
tables: dict[str, pd.DataFrame] = {}
GROUPS = ("region", "channel", "product", "category", "month")


@app.entrypoint
def analyst(request: dict[str, Any]) -> Iterator[str]:
    data = request.get("data") or {}
    if "csv" in data:
        tables["sales"] = read(data["csv"])
        yield from findings(tables["sales"])
    elif "sales" in tables:
        yield from answer(tables["sales"], str(request.get("prompt", "")).lower())
    else:
        raise ValueError('There is no table yet: pass one as {"data": {"csv": …}} first.')


def read(text: str) -> pd.DataFrame:
    sales = pd.read_csv(io.StringIO(text), parse_dates=["date"])
    sales["revenue"] = sales["quantity"] * sales["unit_price"] * (1 - sales["discount"])
    sales["month"] = sales["date"].dt.strftime("%Y-%m")
    return sales


def findings(sales: pd.DataFrame) -> Iterator[str]:
    yield f"{len(sales):,} orders from {sales['date'].min():%Y-%m-%d} to {sales['date'].max():%Y-%m-%d}.\n"
    yield f"Revenue {sales['revenue'].sum():,.0f}, {sales['revenue'].mean():,.2f} per order.\n"
    months = sales.groupby("month")["revenue"].sum()
    yield f"Best month {months.idxmax()} with {months.max():,.0f}, weakest {months.idxmin()} with {months.min():,.0f}.\n"
    quarters = sales.groupby(sales["date"].dt.quarter)["revenue"].sum()
    yield f"Quarter {quarters.idxmax()} brings {quarters.max() / quarters.sum():.0%} of the year.\n"
    yield from oddities(sales)


def oddities(sales: pd.DataFrame) -> Iterator[str]:
    usual = sales["returned"].mean()
    groups = sales.groupby(["month", "region", "product"])["returned"].agg(["mean", "size"])
    for (month, region, product), row in groups[(groups["mean"] > 8 * usual) & (groups["size"] >= 10)].iterrows():
        yield f"Look at {product} in the {region} in {month}: {row['mean']:.0%} came back, {usual:.1%} is usual.\n"


def answer(sales: pd.DataFrame, question: str) -> Iterator[str]:
    by = next((group for group in GROUPS if group in question), None)
    if by is None:
        yield f"I remember {len(sales):,} orders. Ask for revenue or returns by {', '.join(GROUPS)}.\n"
        return
    if "return" in question:
        for name, share in sales.groupby(by)["returned"].mean().sort_values(ascending=False).items():
            yield f"{name}: {share:.1%} returned\n"
    else:
        for name, revenue in sales.groupby(by)["revenue"].sum().sort_values(ascending=False).items():
            yield f"{name}: {revenue:,.0f}\n"


if __name__ == "__main__":
    app.run()
