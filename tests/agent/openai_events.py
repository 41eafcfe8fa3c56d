"""The events of one turn, as OpenAI's two APIs stream them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.agent.openai_server import Turn

_PIECE = 7
"""Characters of a delta: small, so that every text comes in pieces."""


def pieces(text: str) -> list[str]:
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]


def response_events(model: str, turn: Turn) -> list[bytes]:
    """The Responses API: named events, each whole in itself."""
    response: dict[str, Any] = {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "in_progress", "model": model, "output": [],
        "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True,
        "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0, "usage": None,
    }  # fmt: skip
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": dict(response)},
        {"type": "response.in_progress", "response": dict(response)},
    ]
    output = _output(turn)
    for index, item in enumerate(output):
        events += _item_events(index, item)
    end = "completed" if turn.ends == "stop" else "failed" if turn.ends == "failed" else "incomplete"
    # What the real API ends with holds the whole output once more.
    response |= {"status": end, "output": output, "usage": _usage(turn)}
    if end == "incomplete":
        response["incomplete_details"] = {"reason": {"length": "max_output_tokens"}.get(turn.ends, turn.ends)}
    if end == "failed":
        response["error"] = {"code": "server_error", "message": "The model failed."}
    events.append({"type": f"response.{end}", "response": response})
    return [
        f"event: {event['type']}\ndata: {json.dumps(event | {'sequence_number': number})}\n\n".encode()
        for number, event in enumerate(events)
    ]


def _usage(turn: Turn) -> dict[str, Any]:
    read, written = turn.tokens
    return {
        "input_tokens": read, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": read + written,
    }  # fmt: skip


def _output(turn: Turn) -> list[dict[str, Any]]:
    output: list[dict[str, Any]] = []
    if turn.reasoning:
        output.append({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": turn.reasoning})
    if turn.text or turn.refusal:
        parts: list[dict[str, Any]] = []
        if turn.text:
            parts.append({"type": "output_text", "text": turn.text, "annotations": [], "logprobs": []})
        if turn.refusal:
            parts.append({"type": "refusal", "refusal": turn.refusal})
        output.append({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": parts})
    for call_id, name, arguments in turn.calls:
        called = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name}
        output.append(called | {"arguments": arguments, "status": "completed"})
    return output


def _item_events(index: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    at: dict[str, Any] = {"output_index": index, "item_id": item["id"]}
    empty = {"message": {"content": []}, "function_call": {"arguments": ""}, "reasoning": {"encrypted_content": "gA"}}
    begun = item | {"status": "in_progress"} | empty[item["type"]]
    events: list[dict[str, Any]] = [{"type": "response.output_item.added", "output_index": index, "item": begun}]
    if item["type"] == "function_call":
        named = "response.function_call_arguments"
        events += [at | {"type": f"{named}.delta", "delta": piece} for piece in pieces(item["arguments"])]
        events.append(at | {"type": f"{named}.done", "name": item["name"], "arguments": item["arguments"]})
    for place, part in enumerate(item.get("content", [])):
        named = part["type"]
        key = "text" if named == "output_text" else "refusal"
        here = at | {"content_index": place}
        events.append(here | {"type": "response.content_part.added", "part": part | {key: ""}})
        events += [here | {"type": f"response.{named}.delta", "delta": piece} for piece in pieces(part[key])]
        events.append(here | {"type": f"response.{named}.done", key: part[key]})
        events.append(here | {"type": "response.content_part.done", "part": part})
    return [*events, {"type": "response.output_item.done", "output_index": index, "item": item}]


def chat_events(model: str, turn: Turn) -> list[bytes]:
    """Chat Completions: chunks with deltas, calls in pieces by their index, usage in a chunk of its own."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "" if turn.text else None, "refusal": None}]
    deltas += [{"content": piece} for piece in pieces(turn.text)]
    deltas += [{"refusal": piece} for piece in pieces(turn.refusal)]
    for index, (call_id, name, arguments) in enumerate(turn.calls):
        begun = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [begun]})
        for piece in pieces(arguments):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    ends = "tool_calls" if turn.calls and turn.ends == "stop" else turn.ends
    chunks = [
        _chunk(model, [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]) for delta in deltas
    ]
    chunks.append(_chunk(model, [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": ends}]))
    read, written = turn.tokens
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    chunks.append(_chunk(model, []) | {"usage": usage})
    return [*(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks), b"data: [DONE]\n\n"]


def _chunk(model: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "service_tier": "default",
        "system_fingerprint": "fp_1", "choices": choices, "usage": None,
    }  # fmt: skip
