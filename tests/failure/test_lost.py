"""A connection that ends after a call was sent: nobody knows, and the key makes asking again safe."""

from __future__ import annotations

import selectors
import socket
import threading
import uuid
from collections.abc import Iterator

import pytest
from tests.live import Up

import cmdop
from cmdop.errors import OutcomeUnknownError, UnreachableError

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


class Relay:
    """Stands between a client and a server; once it swallows, answers stop, and then it is gone."""

    def __init__(self, server: str) -> None:
        host, port = server.rsplit(":", 1)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._server = (host, int(port))
        self.swallows = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        client, _ = self._listener.accept()
        with (
            self._listener,
            client,
            socket.create_connection(self._server) as server,
            selectors.DefaultSelector() as selector,
        ):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    source, sink = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    data = source.recv(65536)
                    if not data:
                        return
                    if source is server and self.swallows:
                        # The server has acted and answered, and this is what its client never hears.
                        if len(data) > 200:
                            return
                        continue
                    sink.sendall(data)

    def join(self) -> None:
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()


@pytest.fixture
def relay(up: Up) -> Iterator[Relay]:
    relay = Relay(up.address)
    yield relay
    relay.join()


async def test_a_call_whose_connection_died_after_it_was_sent_is_unknown_and_its_key_finds_it(
    up: Up, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmdop.client.calls.RECONNECT_S", 0.3)
    path = f"/srv/app/{uuid.uuid4().hex[:8]}.txt"
    arguments = {"path": path, "content": "once"}
    async with cmdop.Client(relay.address, user="tester") as client:
        relay.swallows = True
        with pytest.raises(OutcomeUnknownError) as caught:
            # The very first request of this client: no answer before it says that the server was there.
            await client.calls.propose("files.write", "local", arguments, key=f"lost-{path[-12:-4]}")
    assert f"`lost-{path[-12:-4]}`" in caught.value.message
    assert caught.value.remedy == {"kind": "retry_after", "ms": 1000, "new_key": False}
    async with cmdop.Client(up.address, user="tester") as client:
        again = await client.calls.propose("files.write", "local", arguments, key=f"lost-{path[-12:-4]}")
        done = [call for call in await client.calls.list(limit=50) if path in call.proposal.action.arguments_json]
    assert again.outcome == cmdop.v1.Outcome.OUTCOME_APPLIED
    assert [call.call_id for call in done] == [again.call_id]


async def test_a_call_that_never_left_is_not_called_unknown(
    up: Up, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmdop.client.calls.RECONNECT_S", 0.3)
    async with cmdop.Client(relay.address, user="tester") as client:
        relay.swallows = True
        with pytest.raises(UnreachableError):
            await client.tools.list()
        relay.join()
        with pytest.raises(UnreachableError):
            await client.calls.propose("files.read", "local", {"path": "/logs/system.log"})
