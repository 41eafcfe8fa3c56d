"""Models of OpenAI, and of every server that speaks its API: Responses and Chat Completions."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import openai

from cmdop.agent.model import (
    Function,
    FunctionCall,
    FunctionResult,
    Item,
    Model,
    ModelError,
    ModelRequest,
    ModelResponse,
    ModelText,
    OnText,
    Reasoning,
    UserText,
)

DEFAULT_MODEL = "gpt-5-mini"

_TRANSPORT = frozenset({"httpx", "httpx2", "json"})
"""Modules whose errors some versions of the client let through while an answer streams in."""


def model_from_environment() -> Model | None:
    """The model of `OPENAI_API_KEY`, `CMDOP_MODEL` and `OPENAI_BASE_URL`; None without a key.

    With a base URL of one's own the Chat Completions API is spoken, which compatible servers have;
    `CMDOP_API=responses` or `CMDOP_API=chat` says otherwise.

    Raises:
        ModelError: `CMDOP_API` names no API.
    """
    if not os.environ.get("OPENAI_API_KEY"):
        return None
    name = os.environ.get("CMDOP_MODEL") or DEFAULT_MODEL
    own_server = bool(os.environ.get("OPENAI_BASE_URL"))
    match os.environ.get("CMDOP_API") or ("chat" if own_server else "responses"):
        case "chat":
            return OpenAIChat(name)
        case "responses":
            return OpenAIResponses(name)
        case other:
            raise ModelError(f"CMDOP_API is {other!r}; it is `responses` or `chat`")


class _OpenAI:
    """What both APIs share.

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
            raise self._no_answer(f"it broke off: {error}") from error

    def _no_answer(self, why: str) -> ModelError:
        return ModelError(f"{self._name} did not finish its answer: {why}")


def _hint(error: openai.APIStatusError) -> str:
    """What to mend, where the status says it."""
    match error.status_code:
        case 401:
            return " (look at OPENAI_API_KEY)"
        case 404:
            return " (look at CMDOP_MODEL and OPENAI_BASE_URL)"
        case _:
            return ""


def _text(value: str | None) -> str:
    """A text that can be sent on: pieces of JSON may hold half a surrogate pair."""
    return (value or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class OpenAIResponses(_OpenAI):
    """A model behind the Responses API, streamed.

    Nothing is stored at the provider: the conversation is sent as a whole each turn, with the
    model's reasoning in its encrypted form.
    """

    _encrypts = True
    """False once the server said that this model has no encrypted reasoning."""

    async def respond(self, request: ModelRequest, on_text: OnText | None = None) -> ModelResponse:
        """Asks for one turn. See `Model`."""
        items: dict[int, Any] = {}
        final: Any = None
        async with self._client() as client, await self._ask(client, request) as stream:
            async for event in stream:
                match event.type:
                    case "response.output_text.delta" if on_text:
                        on_text(_text(event.delta))
                    case "response.output_item.done":
                        items[event.output_index] = event.item
                    case "response.completed":
                        final = event.response
                    case "response.failed" | "response.incomplete" | "error":
                        raise self._no_answer(_why_not(event))
                    case _:
                        pass
        if final is None:
            raise self._no_answer("it broke off")
        output: Iterable[Any] = [item for _, item in sorted(items.items())] or final.output or ()
        return _answer(output, final.usage)

    async def _ask(self, client: openai.AsyncOpenAI, request: ModelRequest) -> Any:
        asked: dict[str, Any] = {
            "model": self._name,
            "instructions": request.instructions,
            "input": [_response_item(item) for item in request.items],
            "tools": [_response_tool(function) for function in request.functions],
            "store": False,
            "stream": True,
        }
        # The client's types know no plain dictionaries.
        create: Any = client.responses.create
        if self._encrypts:
            try:
                return await create(**asked, include=["reasoning.encrypted_content"])
            except openai.BadRequestError as error:
                # Models that do not reason refuse the question instead of the field.
                if error.param != "include" and "encrypted" not in error.message.lower():
                    raise
                self._encrypts = False
        return await create(**asked)


def _why_not(event: Any) -> str:
    response: Any = getattr(event, "response", None)
    error: Any = getattr(response, "error", None) or event
    details: Any = getattr(response, "incomplete_details", None)
    said = getattr(details, "reason", None) or getattr(error, "message", None)
    return str(said or event.type)


def _answer(output: Iterable[Any], usage: Any) -> ModelResponse:
    said: list[Item] = []
    refusals: list[str] = []
    for item in output:
        match item.type:
            case "message":
                parts = [part for part in item.content or () if part.type in ("output_text", "refusal")]
                refusals += [_text(part.refusal) for part in parts if part.type == "refusal"]
                text = "".join(_text(part.text) for part in parts if part.type == "output_text")
                if text:
                    said.append(ModelText(text, phase=getattr(item, "phase", None) or ""))
            case "function_call":
                said.append(FunctionCall(_text(item.call_id), _text(item.name), _text(item.arguments)))
            case "reasoning" if item.encrypted_content:
                # Without its encrypted content an item is known only to a provider that stored it.
                kept = item.model_dump(include={"type", "id", "summary", "content", "encrypted_content"})
                said.append(Reasoning(json.dumps({key: each for key, each in kept.items() if each is not None})))
            case _:
                pass
    calls = tuple(item for item in said if isinstance(item, FunctionCall))
    refusal = "\n".join(refusals)
    return ModelResponse(
        text="\n".join(item.text for item in said if isinstance(item, ModelText)),
        calls=() if refusal else calls,
        refusal=refusal,
        input_tokens=getattr(usage, "input_tokens", None) or 0,
        output_tokens=getattr(usage, "output_tokens", None) or 0,
        said=tuple(said),
    )


def _response_item(item: Item) -> dict[str, Any]:
    match item:
        case UserText(text):
            return {"role": "user", "content": text}
        case ModelText(text, phase):
            return {"role": "assistant", "content": text} | ({"phase": phase} if phase else {})
        case FunctionCall(id, name, arguments):
            return {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}
        case FunctionResult(id, output):
            return {"type": "function_call_output", "call_id": id, "output": output}
        case Reasoning(data):
            kept: dict[str, Any] = json.loads(data)
            return kept


def _response_tool(function: Function) -> dict[str, Any]:
    return {
        "type": "function",
        "name": function.name,
        "description": function.description,
        "parameters": function.parameters,
        "strict": True,
    }


class OpenAIChat(_OpenAI):
    """A model behind the Chat Completions API, streamed; compatible servers speak this one."""

    async def respond(self, request: ModelRequest, on_text: OnText | None = None) -> ModelResponse:
        """Asks for one turn. See `Model`."""
        texts: list[str] = []
        refusals: list[str] = []
        calls = _Calls()
        usage: Any = None
        finished: str | None = None
        async with self._client() as client:
            # The client's types know no plain dictionaries.
            create: Any = client.chat.completions.create
            async with await create(
                model=self._name,
                messages=_messages(request),
                tools=[_chat_tool(function) for function in request.functions],
                stream=True,
                stream_options={"include_usage": True},
            ) as stream:
                async for chunk in stream:
                    usage = chunk.usage or usage
                    for choice in (chunk.choices or ())[:1]:
                        finished = choice.finish_reason or finished
                        if choice.delta.content:
                            texts.append(choice.delta.content)
                            if on_text:
                                on_text(_text(choice.delta.content))
                        refusals.append(choice.delta.refusal or "")
                        for piece in choice.delta.tool_calls or ():
                            calls.add(piece)
        if finished is None:
            raise self._no_answer("it broke off")
        if finished in ("length", "content_filter"):
            # What was cut may be the arguments of a call: nothing of it may be taken for an answer.
            raise self._no_answer(finished)
        refusal = _text("".join(refusals))
        return ModelResponse(
            text=_text("".join(texts)),
            calls=() if refusal else calls.all(),
            refusal=refusal,
            input_tokens=getattr(usage, "prompt_tokens", None) or 0,
            output_tokens=getattr(usage, "completion_tokens", None) or 0,
        )


class _Calls:
    """Function calls, put together from their pieces."""

    def __init__(self) -> None:
        self._calls: list[dict[str, str]] = []
        self._by_index: dict[int | None, dict[str, str]] = {}

    def add(self, piece: Any) -> None:
        """Takes a piece. Compatible servers leave out indexes, use one for all calls, or repeat id and name."""
        call = self._by_index.get(piece.index)
        if call is None or (piece.id and call["id"] and piece.id != call["id"]):
            call = {"id": "", "name": "", "arguments": ""}
            self._calls.append(call)
            self._by_index[piece.index] = call
        call["id"] = call["id"] or piece.id or ""
        if piece.function:
            call["name"] = call["name"] or piece.function.name or ""
            call["arguments"] += piece.function.arguments or ""

    def all(self) -> tuple[FunctionCall, ...]:
        """The whole calls. One without an id is given one: its result must refer to it."""
        return tuple(
            FunctionCall(_text(call["id"]) or f"call-{uuid4().hex}", _text(call["name"]), _text(call["arguments"]))
            for call in self._calls
        )


def _messages(request: ModelRequest) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": request.instructions}]
    for item in request.items:
        match item:
            case UserText(text):
                messages.append({"role": "user", "content": text})
            case ModelText(text):
                messages.append({"role": "assistant", "content": text})
            case FunctionCall(id, name, arguments):
                call = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
                # Calls of one turn belong to one message.
                if messages[-1]["role"] == "assistant":
                    messages[-1].setdefault("tool_calls", []).append(call)
                else:
                    messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            case FunctionResult(id, output):
                messages.append({"role": "tool", "tool_call_id": id, "content": output})
            case Reasoning():
                # This API takes no reasoning back.
                pass
    return messages


def _chat_tool(function: Function) -> Mapping[str, Any]:
    described = {
        "name": function.name,
        "description": function.description,
        "parameters": function.parameters,
        "strict": True,
    }
    return {"type": "function", "function": described}
