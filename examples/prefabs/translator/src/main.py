"""Translate by a dictionary: the same text gives the same translation, always. `dictionary.tsv` has a column for each language."""

from __future__ import annotations

import csv
import re
from pathlib import Path

with (Path(__file__).parent / "dictionary.tsv").open(encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file, delimiter="\t"))
LANGUAGES = tuple(ROWS[0])
LONGEST = 4
WITHOUT_SPACES = ("zh",)


def translate(text: str, target: str, source: str = "en") -> dict[str, object]:
    """Translate phrase by phrase, the longest that the dictionary has; what it has not stays as it is, and is listed in `unknown`."""
    for language in (source, target):
        if language not in LANGUAGES:
            raise ValueError(f"there is no language {language!r}; there are {', '.join(LANGUAGES)}")
    known = {row[source].lower(): row[target] for row in reversed(ROWS)}
    said: list[str] = []
    unknown: list[str] = []
    pieces = re.findall(r"\w+(?:['\u2019-]\w+)*|\s+|[^\w\s]", text) if source not in WITHOUT_SPACES else _cut(text, known)
    place = 0
    while place < len(pieces):
        place += _next(pieces, place, known, said, unknown)
    joined = "".join(said)
    if target in WITHOUT_SPACES:
        joined = re.sub(r"(?<=[^\x00-\x7f])\s+|\s+(?=[^\x00-\x7f])", "", joined)
    return {"success": True, "translation": joined, "source": source, "target": target, "unknown": unknown}


def languages() -> dict[str, object]:
    """List the languages, and how many phrases there are."""
    return {"success": True, "languages": list(LANGUAGES), "phrases": len(ROWS)}


def _next(pieces: list[str], place: int, known: dict[str, str], said: list[str], unknown: list[str]) -> int:
    """Translate the longest phrase that begins at `place`; return how many pieces it takes."""
    for length in range(min(2 * LONGEST - 1, len(pieces) - place), 0, -1):
        phrase = "".join(pieces[place : place + length])
        found = known.get(" ".join(phrase.lower().split()))
        if found is not None and phrase == phrase.strip():
            said.append(found[:1].upper() + found[1:] if phrase[:1].isupper() else found)
            return length
    piece = pieces[place]
    said.append(piece)
    if piece[0].isalnum():
        unknown.append(piece)
    return 1


def _cut(text: str, known: dict[str, str]) -> list[str]:
    """Cut a text without spaces into the longest phrases that are known; between them go spaces."""
    pieces: list[str] = []
    longest = max(map(len, known))
    place = 0
    while place < len(text):
        length = next((n for n in range(min(longest, len(text) - place), 0, -1) if text[place : place + n] in known), 1)
        piece = text[place : place + length]
        if pieces and piece[0].isalnum() and pieces[-1][-1].isalnum():
            pieces.append(" ")
        pieces.append(piece)
        place += length
    return pieces
