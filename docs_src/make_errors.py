"""Write the table of docs/errors.md from the wire's own list: `python docs_src/make_errors.py`."""

from __future__ import annotations

from pathlib import Path

from sandkit.wire.errors import PROBLEMS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "errors.md"
BEGIN, END = "<!-- begin: docs_src/make_errors.py -->\n", "<!-- end -->\n"
MEANINGS = {
    "invalid_request": "The body or a parameter is malformed; the message names it.",
    "invalid_package": "The uploaded package cannot be unpacked safely: its paths, links, count or size.",
    "invalid_manifest": "`agent.yaml` is missing or wrong; the message names the field.",
    "unauthenticated": "No API key, or one that the platform does not know.",
    "forbidden": "The credential is good, but not for this.",
    "not_found": "There is no such route or thing.",
    "template_not_found": "No such template for this key: deploy it, or check the name and tag.",
    "build_not_found": "No such build of this template.",
    "sandbox_not_found": "The sandbox has ended or never was; while it is remembered, `details` say how it ended.",
    "method_not_allowed": "The route exists, with another method.",
    "request_timeout": "The client took too long to send its request.",
    "conflict": "The state does not allow it, such as pausing what is paused.",
    "template_not_ready": "Its build has not finished, or failed.",
    "too_large": "The body is over the limit.",
    "agent_failed": "The agent could not be started, or its function raised.",
    "rate_limited": "Too much at once; `Retry-After` and `details.retry_after` say when to come back.",
    "headers_too_large": "The request's head is over the limit.",
    "internal": "A mistake of ours: report it with the request id.",
    "not_implemented": "Not available on this platform yet.",
    "sandbox_gone": "The ingress finds no such living sandbox; `details` say how it ended.",
    "sandbox_paused": "The sandbox is paused: resume it first.",
    "port_closed": "The sandbox lives, but nothing listens on that port.",
    "agent_crashed": "The agent ended while it was working on this request; `exit_code` and `output` say how.",
    "unavailable": "The platform cannot do it now; the message says what is missing.",
    "agent_timeout": "The agent did not answer in time.",
    "storage_full": "The data directory's disk is full.",
}


def table() -> str:
    rows = [f"| `{p.slug}` | {p.status} | {p.fault} | {MEANINGS[p.slug]} |\n" for p in sorted(PROBLEMS.values(), key=lambda p: p.status)]
    return "".join(["| code | HTTP | fault | meaning |\n", "|---|---|---|---|\n", *rows])


def rendered(page: str) -> str:
    """Return the page with its table made anew."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
