"""Write `sales.csv`: two years of a shop's orders, the same bytes each time.

Behind the noise stand four facts that an analyst should find: revenue grows by about 2 % a month, the last quarter peaks, audio sells
best online, and in March 2025 the South sent back every second pair of headphones (a bad batch).
"""

from __future__ import annotations

import csv
import random
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

START = date(2024, 1, 1)
DAYS = 731
ORDERS_PER_DAY = 4.6
GROWTH_PER_DAY = 1.02 ** (1 / 30)
PEAK_MONTHS = {11: 1.5, 12: 1.8}
COLUMNS = ("order_id", "date", "region", "channel", "product", "category", "quantity", "unit_price", "discount", "returned")
REGIONS = {"North": 0.32, "South": 0.27, "East": 0.23, "West": 0.18}
ONLINE_SHARE = {"audio": 0.8, "home": 0.45, "office": 0.55}
DISCOUNTS = {0.0: 0.7, 0.05: 0.15, 0.1: 0.1, 0.2: 0.05}
BAD_BATCH = (2025, 3)


class Product(NamedTuple):
    """What the shop sells, and how often."""

    name: str
    category: str
    price: float
    weight: float


PRODUCTS = (
    Product("Headphones", "audio", 129.0, 0.24),
    Product("Speaker", "audio", 89.0, 0.16),
    Product("Turntable", "audio", 249.0, 0.06),
    Product("Kettle", "home", 39.0, 0.2),
    Product("Lamp", "home", 54.0, 0.14),
    Product("Desk", "office", 319.0, 0.08),
    Product("Chair", "office", 189.0, 0.12),
)


def orders_on(day: date, dice: random.Random) -> int:
    """Return how many orders came in: a weekly and a yearly rhythm on a growing trend."""
    trend = GROWTH_PER_DAY ** (day - START).days
    weekend = 1.25 if day.weekday() >= 5 else 0.9
    expected = ORDERS_PER_DAY * trend * weekend * PEAK_MONTHS.get(day.month, 1.0)
    return max(0, round(dice.gauss(expected, expected**0.5)))


def order(number: int, day: date, dice: random.Random) -> tuple[object, ...]:
    """Return one row, in the order of `COLUMNS`."""
    product = dice.choices(PRODUCTS, [each.weight for each in PRODUCTS])[0]
    region = dice.choices(list(REGIONS), list(REGIONS.values()))[0]
    channel = "online" if dice.random() < ONLINE_SHARE[product.category] else "store"
    quantity = dice.choices((1, 2, 3, 5, 10), (60, 22, 10, 6, 2))[0]
    discount = dice.choices(list(DISCOUNTS), list(DISCOUNTS.values()))[0]
    bad = (day.year, day.month) == BAD_BATCH and region == "South" and product.name == "Headphones"
    returned = dice.random() < (0.6 if bad else 0.04)
    return (
        f"O{number:06}",
        day.isoformat(),
        region,
        channel,
        product.name,
        product.category,
        quantity,
        product.price,
        discount,
        int(returned),
    )


def rows() -> list[tuple[object, ...]]:
    dice = random.Random(20240101)  # noqa: S311 (the same rows each time is the point)
    days = [START + timedelta(days=n) for n in range(DAYS)]
    dates = [day for day in days for _ in range(orders_on(day, dice))]
    return [order(number, day, dice) for number, day in enumerate(dates, start=1)]


def main() -> None:
    """Write the file beside this program."""
    with (Path(__file__).parent / "sales.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows())


if __name__ == "__main__":
    main()
