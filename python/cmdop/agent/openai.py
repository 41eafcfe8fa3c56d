"""Models of OpenAI, and of every server that speaks its API: Responses and Chat Completions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
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
from cmdop.agent.provider import Event, Provider, text

DEFAULT_MODEL = "gpt-5-mini"


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


class OpenAIResponses(Provider):
    """A model behind the Responses API, streamed.

    Nothing is stored at the provider: the conversation is sent as a whole each turn, with the
    model's reasoning in its encrypted form.
    """

    _encrypts = True
    """False once the server said that this model has no encrypted reasoning."""

    async def respond(self, request: ModelRequest, on_text: OnText | None = None) -> ModelResponse:
        """Asks for one turn. See `Model`."""
        items: dict[int, Event] = {}
        final: list[ModelResponse] = []

        def take(event: Event) -> None:
            match event["type"]:
                case "response.output_text.delta" if on_text:
                    on_text(text(event["delta"]))
                case "response.output_item.done":
                    items[event["output_index"]] = event["item"]
                case "response.completed":
                    whole = event["response"]
                    # Items are complete where they are done; some servers leave them out at the end.
                    output = [item for _, item in sorted(items.items())] or whole.get("output") or []
                    final.append(_response(output, whole.get("usage") or {}))
                case "response.failed" | "response.incomplete" | "error":
                    raise self._no_answer(_why_not(event))
                case _:
                    pass

        async with self._client() as client:
            await self._ask(client, request, take)
        if not final:
            raise self._no_answer("it broke off")
        return final[0]

    async def _ask(self, client: openai.AsyncOpenAI, request: ModelRequest, take: Callable[[Event], None]) -> None:
        asked: dict[str, Any] = {
            "model": self._name,
            "instructions": request.instructions,
            "input": [_response_item(item) for item in request.items],
            "tools": [_response_tool(function) for function in request.functions],
            "store": False,
            "stream": True,
        }
        # The client's types know no plain dictionaries.
        create: Any = client.responses.with_streaming_response.create
        if self._encrypts:
            try:
                return await self._read(create(**asked, include=["reasoning.encrypted_content"]), take)
            except openai.BadRequestError as error:
                # Models that do not reason refuse the question instead of the field.
                if error.param != "include" and "encrypted" not in error.message.lower():
                    raise
                self._encrypts = False
        return await self._read(create(**asked), take)


def _why_not(event: Event) -> str:
    response: Event = event.get("response") or {}
    error: Event = response.get("error") or event
    details: Event = response.get("incomplete_details") or {}
    return str(details.get("reason") or error.get("message") or event["type"])


def _response(output: Sequence[Event], usage: Event) -> ModelResponse:
    said: list[Item] = []
    refusals: list[str] = []
    for item in output:
        match item["type"]:
            case "message":
                parts: list[Event] = item["content"]
                refusals += [text(part["refusal"]) for part in parts if part["type"] == "refusal"]
                words = "".join(text(part["text"]) for part in parts if part["type"] == "output_text")
                if words:
                    said.append(ModelText(words, phase=item.get("phase") or ""))
            case "function_call":
                said.append(FunctionCall(text(item["call_id"]), text(item["name"]), text(item["arguments"])))
            case "reasoning" if item.get("encrypted_content"):
                # Without its encrypted content an item is known only to a provider that stored it.
                kept = ("type", "id", "summary", "content", "encrypted_content")
                said.append(Reasoning(json.dumps({key: item[key] for key in kept if item.get(key) is not None})))
            case _:
                pass
    calls = tuple(item for item in said if isinstance(item, FunctionCall))
    refusal = "\n".join(refusals)
    return ModelResponse(
        text="\n".join(item.text for item in said if isinstance(item, ModelText)),
        calls=() if refusal else calls,
        refusal=refusal,
        input_tokens=usage.get("input_tokens") or 0,
        output_tokens=usage.get("output_tokens") or 0,
        said=tuple(said),
    )


def _response_item(item: Item) -> dict[str, Any]:
    match item:
        case UserText(words):
            return {"role": "user", "content": words}
        case ModelText(words, phase):
            return {"role": "assistant", "content": words} | ({"phase": phase} if phase else {})
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


class OpenAIChat(Provider):
    """A model behind the Chat Completions API, streamed; compatible servers speak this one."""

    async def respond(self, request: ModelRequest, on_text: OnText | None = None) -> ModelResponse:
        """Asks for one turn. See `Model`."""
        answer = _ChatAnswer(on_text)
        async with self._client() as client:
            # The client's types know no plain dictionaries.
            create: Any = client.chat.completions.with_streaming_response.create
            asked = create(
                model=self._name,
                messages=_messages(request),
                tools=[_chat_tool(function) for function in request.functions],
                stream=True,
                stream_options={"include_usage": True},
            )
            await self._read(asked, answer.take)
        if not answer.ended:
            raise self._no_answer("it broke off")
        if answer.ended in ("length", "content_filter"):
            # What was cut may be the arguments of a call: nothing of it may be taken for an answer.
            raise self._no_answer(answer.ended)
        return answer.whole()


class _ChatAnswer:
    """An answer of Chat Completions, put together from its chunks."""

    def __init__(self, on_text: OnText | None) -> None:
        self.ended = ""
        """Why it ended; empty until it did."""
        self._on_text = on_text
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls = _Calls()
        self._usage: Event = {}

    def take(self, chunk: Event) -> None:
        self._usage = chunk.get("usage") or self._usage
        for choice in (chunk.get("choices") or ())[:1]:
            self.ended = choice.get("finish_reason") or self.ended
            delta: Event = choice.get("delta") or {}
            if delta.get("content"):
                self._texts.append(delta["content"])
                if self._on_text:
                    self._on_text(text(delta["content"]))
            self._refusals.append(delta.get("refusal") or "")
            for piece in delta.get("tool_calls") or ():
                self._calls.add(piece)

    def whole(self) -> ModelResponse:
        refusal = text("".join(self._refusals))
        return ModelResponse(
            text=text("".join(self._texts)),
            calls=() if refusal else self._calls.all(),
            refusal=refusal,
            input_tokens=self._usage.get("prompt_tokens") or 0,
            output_tokens=self._usage.get("completion_tokens") or 0,
        )


class _Calls:
    """Function calls, put together from their pieces."""

    def __init__(self) -> None:
        self._calls: list[dict[str, str]] = []
        self._by_index: dict[int | None, dict[str, str]] = {}

    def add(self, piece: Event) -> None:
        """Takes a piece. Compatible servers leave out indexes, use one for all calls, or repeat id and name."""
        index: int | None = piece.get("index")
        id: str = piece.get("id") or ""
        function: Event = piece.get("function") or {}
        call = self._by_index.get(index)
        if call is None or (id and call["id"] and id != call["id"]):
            call = {"id": "", "name": "", "arguments": ""}
            self._calls.append(call)
            self._by_index[index] = call
        call["id"] = call["id"] or id
        call["name"] = call["name"] or function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""

    def all(self) -> tuple[FunctionCall, ...]:
        """The whole calls. One without an id is given one: its result must refer to it."""
        return tuple(
            FunctionCall(text(call["id"]) or f"call-{uuid4().hex}", text(call["name"]), text(call["arguments"]))
            for call in self._calls
        )


def _messages(request: ModelRequest) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": request.instructions}]
    for item in request.items:
        match item:
            case UserText(words):
                messages.append({"role": "user", "content": words})
            case ModelText(words):
                messages.append({"role": "assistant", "content": words})
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
