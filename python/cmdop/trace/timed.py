"""HTTP that ends in time, whatever the other side drips. Needs the extra `otlp`.

The timeouts of an HTTP client are for each read: an answer of one byte a second never exceeds one.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter

SCHEMES: Final = ("http://", "https://")


class TimedSession(requests.Session):
    """A session of one user at a time, whose requests are cut off at a deadline, all of them together."""

    def __init__(self) -> None:
        super().__init__()
        self.is_over: bool = False
        """True once the deadline has passed: whatever is asked now fails at once."""
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._connection: Any = None
        for scheme in SCHEMES:
            self.mount(scheme, _Adapter(self))

    @contextmanager
    def within(self, seconds: float) -> Generator[None]:
        """Requests inside have this long, with their repetitions."""
        with self._turn:
            self.is_over = False
            timer = threading.Timer(seconds, self.cut)
            timer.daemon = True
            timer.start()
            try:
                yield
            finally:
                timer.cancel()

    def cut(self) -> None:
        """Ends the request that runs, and lets no other begin."""
        with self._lock:
            self.is_over = True
            connection = self._connection
        # A reader in another thread wakes with an end of file; closing would not wake it.
        if (sock := getattr(connection, "sock", None)) is not None:
            with suppress(OSError, ValueError):
                sock.shutdown(socket.SHUT_RDWR)

    def use(self, connection: Any) -> None:
        """Says which connection is used now.

        Raises:
            TimeoutError: The deadline has passed.
        """
        with self._lock:
            if self.is_over:
                raise TimeoutError("the deadline has passed")
            self._connection = connection


class _Adapter(HTTPAdapter):
    """Tells its session of each connection that it uses."""

    def __init__(self, session: TimedSession) -> None:
        self._session = session
        super().__init__()

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        if self._session.is_over:
            # No connection error: those are tried again at once.
            raise requests.exceptions.ReadTimeout("the deadline has passed")
        return super().send(*args, **kwargs)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if "ConnectionCls" not in vars(pool):
            pool.ConnectionCls = _told(pool.ConnectionCls, self._session)
        return pool


def _told(kind: Any, session: TimedSession) -> Any:
    """A class of connections that tell the session when they are opened and used."""

    def connect(connection: Any) -> None:
        session.use(connection)
        kind.connect(connection)
        # It may have been cut before it had a socket.
        session.use(connection)

    def request(connection: Any, *args: Any, **kwargs: Any) -> None:
        session.use(connection)
        kind.request(connection, *args, **kwargs)

    return type("Told", (kind,), {"connect": connect, "request": request})
