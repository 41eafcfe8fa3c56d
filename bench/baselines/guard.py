"""What one would write without cmdop: a guard in Python, over grpc.aio, jsonschema-rs and SQLite.

    python guard.py good|naive DIRECTORY

It validates each call by its tool's schema, decides by a table of workspaces, makes intent and
result durable (WAL, synchronous=FULL), and answers with the call's id. `good` commits groups in a
thread of its own; `naive` commits each record where it stands. It prints its address.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import grpc
import jsonschema_rs
import orjson

SCHEMAS = Path(__file__).parents[2] / "core_rs/contract/src/tool"
WORKSPACES = ("/srv/app/",)
CHANGES = ("files.write", "files.delete")
MOST_AT_ONCE = 1_000


def connect(directory: Path) -> sqlite3.Connection:
    """A database in which a commit is on disk."""
    database = sqlite3.connect(directory / "guard.db", check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE IF NOT EXISTS events (call TEXT, kind TEXT, content BLOB)")
    database.execute("CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, call TEXT) WITHOUT ROWID")
    return database


Record = tuple[str, str, bytes, str]


def write(database: sqlite3.Connection, records: list[Record]) -> None:
    """One durable transaction."""
    database.execute("BEGIN IMMEDIATE")
    database.executemany("INSERT INTO events VALUES (?, ?, ?)", [record[:3] for record in records])
    keys = [(key, call) for call, kind, _, key in records if kind == "intent"]
    database.executemany("INSERT INTO keys VALUES (?, ?)", keys)
    database.execute("COMMIT")


class Naive:
    """Commits each record by itself."""

    def __init__(self, directory: Path) -> None:
        self._database = connect(directory)

    async def record(self, record: Record) -> None:
        write(self._database, [record])


class Grouped:
    """Commits whatever waits, in one transaction, in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[tuple[Record, asyncio.Future[None]]] = queue.SimpleQueue()
        threading.Thread(target=self._write, args=(connect(directory),), daemon=True).start()

    async def record(self, record: Record) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.put((record, done))
        await done

    def _write(self, database: sqlite3.Connection) -> None:
        while True:
            group = [self._waiting.get()]
            while len(group) < MOST_AT_ONCE:
                try:
                    group.append(self._waiting.get_nowait())
                except queue.Empty:
                    break
            write(database, [record for record, _ in group])
            self._loop.call_soon_threadsafe(self._tell, [done for _, done in group])

    @staticmethod
    def _tell(waiting: list[asyncio.Future[None]]) -> None:
        for done in waiting:
            done.set_result(None)


class Guard:
    """Validates, decides, records, answers."""

    def __init__(self, store: Naive | Grouped) -> None:
        self._store = store
        self._validators: dict[str, Any] = {}
        for path in SCHEMAS.glob("*.json"):
            tool = orjson.loads(path.read_bytes())
            self._validators[tool["name"]] = jsonschema_rs.validator_for(tool["arguments"])

    async def propose(self, request: bytes, _context: Any) -> bytes:
        call = orjson.loads(request)
        validator = self._validators.get(call["tool"])
        if validator is None or not call["intent"] or not validator.is_valid(call["arguments"]):
            return b"invalid"
        path = call["arguments"]["path"]
        if call["tool"] in CHANGES and not path.startswith(WORKSPACES):
            return b"denied"
        id = uuid.uuid4().hex
        await self._store.record((id, "intent", request, call["idempotency_key"]))
        await self._store.record((id, "result", b'{"outcome":"applied"}', ""))
        return id.encode()


async def serve(kind: str, directory: Path) -> None:
    """Serves until it is killed."""
    guard = Guard(Grouped(directory) if kind == "good" else Naive(directory))
    handler = grpc.unary_unary_rpc_method_handler(guard.propose)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench.Guard", {"Propose": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
