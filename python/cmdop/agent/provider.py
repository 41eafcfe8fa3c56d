"""What both of OpenAI's APIs share: the client, its errors, and answers that come as streamed events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai

from cmdop.agent.model import ModelError

Event = dict[str, Any]

_TRANSPORT = frozenset({"httpx", "httpx2"})
"""Modules of the client's HTTP library. It lets their errors through while an answer streams in."""


class Provider:
    """A model at a server.

    Args:
        name: The model's name as the provider knows it.
        api_key: Default: the environment's `OPENAI_API_KEY`.
        base_url: Default: the environment's `OPENAI_BASE_URL`, else the provider's own.
        timeout_s: How long the server may be silent.
        retries: How often a question is asked again that the server could not take: 408, 409, 429, 5xx and lost
            connections, each after the pause that the server asks for.
    """

    def __init__(
        self,
        name: str,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout_s: float = 120,
        retries: int = openai.DEFAULT_MAX_RETRIES,
    ) -> None:
        self._name = name
        self._api_key = api_key
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._retries = retries

    @property
    def name(self) -> str:
        """Name as the provider knows it."""
        return self._name

    @asynccontextmanager
    async def _client(self) -> AsyncGenerator[openai.AsyncOpenAI]:
        """A client for one turn: it belongs to the event loop that opened it."""
        try:
            async with openai.AsyncOpenAI(
                api_key=self._api_key, base_url=self._base_url, timeout=self._timeout_s, max_retries=self._retries
            ) as client:
                yield client
        except openai.APIStatusError as error:
            raise ModelError(f"{self._name} answered {error.status_code}: {error.message}{_hint(error)}") from error
        except openai.APIConnectionError as error:
            cause = f" ({error.__cause__})" if str(error.__cause__ or "") else ""
            raise ModelError(f"{self._name} cannot be reached: {error.message}{cause}") from error
        except openai.OpenAIError as error:
            raise ModelError(f"{self._name}: {error}") from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in _TRANSPORT:
                raise
            raise self._no_answer(f"it broke off ({error})") from error

    async def _read(self, opened: Any, take: Callable[[Event], None]) -> None:
        """Asks, and hands each event of the answer on.

        Args:
            opened: What `with_streaming_response` gives: a context manager with the response.
            take: Gets the events. After one that it cannot take, no more come, and this raises.
        """
        events, fault = Events(), None
        async with opened as response:
            # Always to the end: generators that are left in the middle stay open on trio.
            async for data in response.iter_bytes():
                try:
                    for event in events.feed(data) if fault is None else ():
                        if error := event.get("error"):
                            raise self._no_answer(str(error.get("message") or error))
                        take(event)
                except ModelError as error:
                    fault = error
                except (AttributeError, LookupError, TypeError, ValueError) as error:
                    fault = self._no_answer(f"it is none that this API knows ({type(error).__name__}: {error})")
        if fault is not None:
            raise fault

    def _no_answer(self, why: str) -> ModelError:
        return ModelError(f"{self._name} did not finish its answer: {why}")


class Events:
    """Server-sent events, put together from bytes as they come.

    The HTML standard, section 9.2.6; lines end with LF or CRLF, and only `data` matters.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[Event]:
        """The events that are whole now.

        Raises:
            ValueError: An event is no JSON.
        """
        found: list[Event] = []
        # Only at LF: text may hold other characters that Python takes for the end of a line.
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line.removeprefix(b"data:").removeprefix(b" "))
            elif not line and self._data:
                whole, self._data = b"\n".join(self._data), []
                if not whole.startswith(b"[DONE]"):
                    found.append(json.loads(whole))
        return found


def text(value: str | None) -> str:
    """A text that can be sent on: pieces of JSON may hold half a surrogate pair."""
    return (value or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _hint(error: openai.APIStatusError) -> str:
    """What to mend, where the status says it."""
    match error.status_code:
        case 401:
            return " (look at OPENAI_API_KEY)"
        case 404:
            return " (look at CMDOP_MODEL and OPENAI_BASE_URL)"
        case _:
            return ""
