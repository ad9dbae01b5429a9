"""One thread with one connection: jobs come in from the event loop, run in groups that share a transaction, and answer by futures."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from sandyard.domain.errors import StoreUnavailable
from sandyard.store.faults import translate

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

GROUP = 256
"""Jobs that share a transaction at most: one commit for all is what makes many small writes fast."""


@dataclass(slots=True)
class _Job:
    work: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]
    durable: bool
    result: object = None
    error: Exception | None = None


class Worker:
    """Owns a connection and the thread that uses it.

    A job is answered after its group is committed. Each job stands in a savepoint of its own, so a failing one takes nothing
    with it. What is waiting is collected before the transaction begins: a job always sees what was answered before it came.
    """

    def __init__(self, connection: sqlite3.Connection, path: str, *, writes: bool) -> None:
        self._connection = connection
        self._path = path
        # What reads before it writes must hold the lock from the start: another process (a command) may write in between.
        self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="sandyard-store", daemon=True)
        self._thread.start()

    async def do(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """Run `work` in a transaction and return its result once it is committed: no death of the process undoes it.

        With `durable` no power cut does, either; it waits for the disk, and all that was committed before is as safe then.

        Raises:
            RowConflict: a constraint of the schema refused it.
            StoreUnavailable: the database could not be read or written; nothing of the job is left.
        """
        if self._closed:
            raise StoreUnavailable(f"The database {self._path} is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Job(work, future, durable))
        return await future

    async def close(self) -> None:
        """Finish what was asked, close the connection, end the thread. Idempotent."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        going = True
        while going:
            jobs, going = self._collect()
            if jobs:
                self._transact(jobs)
                _answer(jobs)
        self._connection.close()

    def _collect(self) -> tuple[list[_Job], bool]:
        """Wait for a job, take what else is there; False at the end."""
        jobs: list[_Job] = []
        try:
            job = self._queue.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) == GROUP:
                    return jobs, True
                job = self._queue.get_nowait()
        except Empty:
            return jobs, True
        return jobs, False

    def _transact(self, jobs: list[_Job]) -> None:
        try:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if any(job.durable for job in jobs) else 'NORMAL'}")
            self._connection.execute(self._begin)
            for job in jobs:
                self._run_one(job)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for job in jobs:
                job.error = job.error or translate(error, self._path)

    def _run_one(self, job: _Job) -> None:
        """Run a job in its savepoint; raise only where the whole transaction is lost."""
        self._connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(self._connection)
        except Exception as error:
            job.error = translate(error, self._path) if isinstance(error, sqlite3.Error) else error
            if isinstance(error, sqlite3.Error) and not self._connection.in_transaction:
                raise  # a full disk makes SQLite roll back everything
            self._connection.execute("ROLLBACK TO job")
        self._connection.execute("RELEASE job")


def _answer(jobs: list[_Job]) -> None:
    """Deliver results, one wake-up per loop and group."""
    for loop in {job.future.get_loop() for job in jobs}:
        mine = [job for job in jobs if job.future.get_loop() is loop]
        try:
            loop.call_soon_threadsafe(_settle, mine)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue  # the caller was cancelled
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
