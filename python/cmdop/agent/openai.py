"""Models of OpenAI, and of every server that speaks its API: Responses and Chat Completions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

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
    UserText,
)

DEFAULT_MODEL = "gpt-5-mini"


def model_from_environment() -> Model | None:
    """The model of `OPENAI_API_KEY`, `CMDOP_MODEL` and `OPENAI_BASE_URL`; None without a key.

    With a base URL of one's own the Chat Completions API is spoken, which compatible servers have;
    `CMDOP_API=responses` or `CMDOP_API=chat` says otherwise.
    """
    if not os.environ.get("OPENAI_API_KEY"):
        return None
    name = os.environ.get("CMDOP_MODEL") or DEFAULT_MODEL
    own_server = bool(os.environ.get("OPENAI_BASE_URL"))
    api = os.environ.get("CMDOP_API") or ("chat" if own_server else "responses")
    return OpenAIChat(name) if api == "chat" else OpenAIResponses(name)


class _OpenAI:
    def __init__(
        self, name: str, *, api_key: str | None = None, base_url: str | None = None, timeout_s: float = 120
    ) -> None:
        self._name = name
        self._api_key = api_key
        self._base_url = base_url
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        """Name as the provider knows it."""
        return self._name

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[openai.AsyncOpenAI]:
        """A client for one turn: it belongs to the event loop that opened it."""
        try:
            async with openai.AsyncOpenAI(
                api_key=self._api_key, base_url=self._base_url, timeout=self._timeout_s
            ) as client:
                yield client
        except openai.APIStatusError as error:
            raise ModelError(f"{self._name} answered {error.status_code}: {error.message}") from error
        except openai.APIConnectionError as error:
            raise ModelError(f"{self._name} cannot be reached: {error.message}") from error
        except openai.OpenAIError as error:
            raise ModelError(f"{self._name}: {error}") from error


class OpenAIResponses(_OpenAI):
    """A model behind the Responses API, streamed."""

    async def respond(self, request: ModelRequest, on_text: OnText | None = None) -> ModelResponse:
        """Asks for one turn. See `Model`."""
        async with self._client() as client:
            stream: Any = await client.responses.create(
                model=self._name,
                instructions=request.instructions,
                input=[_response_item(item) for item in request.items],  # pyright: ignore[reportArgumentType]
                tools=[_response_tool(function) for function in request.functions],  # pyright: ignore[reportArgumentType]
                store=False,
                stream=True,
            )
            final: Any = None
            async for event in stream:
                if event.type == "response.output_text.delta" and on_text:
                    on_text(event.delta)
                elif event.type == "response.completed":
                    final = event.response
                elif event.type in ("response.failed", "response.incomplete", "error"):
                    raise ModelError(f"{self._name} did not finish its answer ({event.type})")
        if final is None:
            raise ModelError(f"{self._name} ended its answer in the middle")
        return ModelResponse(
            text=final.output_text,
            calls=tuple(
                FunctionCall(item.call_id, item.name, item.arguments)
                for item in final.output
                if item.type == "function_call"
            ),
            input_tokens=final.usage.input_tokens if final.usage else 0,
            output_tokens=final.usage.output_tokens if final.usage else 0,
        )


def _response_item(item: Item) -> dict[str, Any]:
    match item:
        case UserText(text):
            return {"role": "user", "content": text}
        case ModelText(text):
            return {"role": "assistant", "content": text}
        case FunctionCall(id, name, arguments):
            return {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}
        case FunctionResult(id, output):
            return {"type": "function_call_output", "call_id": id, "output": output}


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
        calls: dict[int, dict[str, str]] = {}
        usage: Any = None
        finished = False
        async with self._client() as client:
            stream: Any = await client.chat.completions.create(
                model=self._name,
                messages=_messages(request),  # pyright: ignore[reportArgumentType]
                tools=[_chat_tool(function) for function in request.functions],  # pyright: ignore[reportArgumentType]
                stream=True,
                stream_options={"include_usage": True},
            )
            async for chunk in stream:
                usage = chunk.usage or usage
                for choice in chunk.choices[:1]:
                    finished = finished or choice.finish_reason is not None
                    if choice.delta.content:
                        texts.append(choice.delta.content)
                        if on_text:
                            on_text(choice.delta.content)
                    for piece in choice.delta.tool_calls or ():
                        call = calls.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
                        call["id"] += piece.id or ""
                        if piece.function:
                            call["name"] += piece.function.name or ""
                            call["arguments"] += piece.function.arguments or ""
        if not finished:
            raise ModelError(f"{self._name} ended its answer in the middle")
        return ModelResponse(
            text="".join(texts),
            calls=tuple(FunctionCall(**call) for _, call in sorted(calls.items())),
            input_tokens=usage.prompt_tokens if usage else 0,
            output_tokens=usage.completion_tokens if usage else 0,
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
    return messages


def _chat_tool(function: Function) -> dict[str, Any]:
    described = {
        "name": function.name,
        "description": function.description,
        "parameters": function.parameters,
        "strict": True,
    }
    return {"type": "function", "function": described}
