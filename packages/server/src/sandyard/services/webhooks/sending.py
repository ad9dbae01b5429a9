"""Webhooks of ended jobs, as Standard Webhooks has them (standardwebhooks.com): signed, dated, told again until they were heard.

Where they go is a caller's word, so it is held to what the operator lets sandboxes reach (`Way`): no private address, none of this
machine's own, unless listed; a name is looked up once for each attempt, and no redirect is followed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import structlog

from sandkit.wire.gateway import VALIDATION_ERROR, Refusal
from sandyard.domain.calls import Webhook
from sandyard.domain.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandyard.domain.callers import Caller
    from sandyard.domain.calls import Job
    from sandyard.ports import Clock, Store
    from sandyard.services.wakes import Wakes

KEY_FILE = "webhook_key"
ENDED = "jobs that webhooks wait for"
"""The name of the news that such a job has ended."""
DELAYS = (5.0, 30.0, 120.0, 600.0, 3600.0)
"""Seconds after each attempt that failed; after the last one follows one more, and then none."""
_URL = 2000
_AT_ONCE = 64
_log = structlog.get_logger("sandyard.webhooks")


class Way(Protocol):
    """How requests leave the platform towards an address that a caller chose."""

    async def check(self, url: str) -> None:
        """Refuse what is no address that may be reached.

        Raises:
            ValueError: with a sentence.
        """
        ...

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Post once, to an address that was checked for this very request, and return the status.

        Raises:
            ValueError: as `check`. OSError: nobody answered in time.
        """
        ...

    def end(self) -> None:
        """Let go of what look-ups need."""
        ...


class Webhooks:
    """Knows who is to be told, tells them, and gives receivers the secrets by which they know us."""

    def __init__(self, store: Store, way: Way, wakes: Wakes, clock: Clock, key: bytes) -> None:
        self._rows = store.webhooks
        self._jobs = store.jobs
        self._way = way
        self._wakes = wakes
        self._clock = clock
        self._key = key

    def secret(self, caller: Caller) -> str:
        """Return the secret that signs what is sent for this user, as Standard Webhooks spells it."""
        return "whsec_" + base64.b64encode(self._secret(caller.tenant, caller.user)).decode()

    async def admit(self, url: str) -> None:
        """Check where a caller wants to be told.

        Raises:
            Refusal: VALIDATION_ERROR; it is no address, or one that may not be reached.
        """
        if len(url) > _URL:
            raise _refused(f"the URL is longer than {_URL} characters")
        try:
            await self._way.check(url)
        except ValueError as error:
            raise _refused(str(error)) from None

    async def expect(self, job_id: str, url: str) -> None:
        """Tell `url` when the job has ended, whatever happens to this server meanwhile."""
        await self._rows.add(Webhook(job_id=job_id, url=url, attempts=0, due_at=self._clock.now()))

    async def run(self) -> None:
        """Tell of jobs that have ended, until cancelled; the way out is closed then."""
        try:
            while True:
                news = self._wakes.event(ENDED)
                with anyio.move_on_after(await self._send_due()):
                    await news.wait()
        finally:
            self._way.end()

    async def _send_due(self) -> float | None:
        """Tell what is due; return the seconds until more is, or None."""
        try:
            while due := await self._rows.due(self._clock.now(), _AT_ONCE):
                told = await asyncio.gather(*map(self._tell, due), return_exceptions=True)
                for failure in filter(None, told):
                    raise failure
            next_due = await self._rows.next_due()
        except StoreError as error:
            _log.warning("webhooks wait", error=str(error))
            return DELAYS[0]
        return None if next_due is None else max(0.0, next_due - self._clock.now())

    async def _tell(self, webhook: Webhook) -> None:
        """Make one attempt; what fails is put off, or given up after the last."""
        job = await self._jobs.get(webhook.job_id)
        if job is None:
            return
        body = json.dumps(_event(job)).encode()
        try:
            status = await self._way.post(webhook.url, self._signed(job, body), body)
            problem = None if 200 <= status < 300 else f"status {status}"
        except Exception as error:  # noqa: BLE001 (what one receiver brings about ends neither the others nor the server)
            problem = type(error).__name__
        if problem is None:
            await self._rows.remove(webhook.job_id)
        elif webhook.attempts >= len(DELAYS):
            _log.warning("nobody took a webhook; it is given up", job=job.id, problem=problem)
            await self._rows.remove(webhook.job_id)
        else:
            due_at = self._clock.now() + DELAYS[webhook.attempts]
            await self._rows.put_off(replace(webhook, attempts=webhook.attempts + 1, due_at=due_at))

    def _signed(self, job: Job, body: bytes) -> dict[str, str]:
        """Return the headers of a message; its id is that of the job's end, however often it is sent."""
        message, moment = f"msg_{job.id}", str(int(self._clock.now()))
        signed = hmac.new(self._secret(job.owner, job.user), f"{message}.{moment}.".encode() + body, hashlib.sha256).digest()
        return {
            "content-type": "application/json",
            "user-agent": "sandyard",
            "webhook-id": message,
            "webhook-timestamp": moment,
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        }

    def _secret(self, tenant: str, user: str) -> bytes:
        return hmac.new(self._key, json.dumps([tenant, user]).encode(), hashlib.sha256).digest()


def _refused(problem: str) -> Refusal:
    return Refusal(VALIDATION_ERROR, f"/callback_url: {problem}", pointer="/callback_url")


def _event(job: Job) -> dict[str, Any]:
    """Return what is told: that the job has ended and how. Results are asked for, by who may."""
    ended = datetime.fromtimestamp(job.finished_at or job.created_at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data = {"job_id": job.id, "status": job.state.value, "calls": list(job.calls), "finished_at": ended}
    return {"type": "job.ended", "timestamp": ended, "data": data}
