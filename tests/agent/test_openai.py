"""Models of OpenAI against a real HTTP server that speaks the API, on both event loops."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
from tests.agent.openai_server import KEY, ApiServer, Cut, Raw, Silence, Status, Turn, api_server

from cmdop.agent import (
    Function,
    FunctionCall,
    FunctionResult,
    ModelError,
    ModelRequest,
    ModelText,
    Reasoning,
    UserText,
)
from cmdop.agent.openai import OpenAIChat, OpenAIResponses, model_from_environment

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

Api = Callable[..., OpenAIResponses | OpenAIChat]

CLOSED = {
    "type": "object",
    "additionalProperties": False,
    "required": ["path"],
    "properties": {"path": {"type": "string"}},
}
FUNCTION = Function("files_read", "Reads a file.", CLOSED)
QUESTION = ModelRequest("Be careful.", [UserText("Read it.")], [FUNCTION])


@pytest.fixture(params=[OpenAIResponses, OpenAIChat], ids=["responses", "chat"])
def api(request: pytest.FixtureRequest) -> Api:
    return partial(request.param, "gpt-test", api_key=KEY)


def model(api: Api, server: ApiServer, **options: Any) -> OpenAIResponses | OpenAIChat:
    return api(base_url=server.base_url, **options)


async def test_words_come_whole_and_in_pieces_and_tokens_are_counted(api: Api) -> None:
    heard: list[str] = []
    with api_server(Turn(text="The disk is full, – 93 %. 😀", tokens=(120, 34))) as server:
        answer = await model(api, server).respond(QUESTION, heard.append)
    assert (answer.text, answer.calls, answer.refusal) == ("The disk is full, – 93 %. 😀", (), "")
    assert len(heard) > 1 and "".join(heard) == answer.text
    assert (answer.input_tokens, answer.output_tokens) == (120, 34)


async def test_calls_that_came_in_pieces_are_put_together_in_order(api: Api) -> None:
    first, second = ("call_a", "files_read", '{"path": "/srv/a"}'), ("call_b", "files_read", '{"path": "/srv/b"}')
    with api_server(Turn(text="Both.", calls=[first, second])) as server:
        answer = await model(api, server).respond(QUESTION)
    assert answer.text == "Both."
    assert answer.calls == (FunctionCall(*first), FunctionCall(*second))


async def test_arguments_that_are_no_json_come_as_they_are(api: Api) -> None:
    with api_server(Turn(calls=[("call_a", "files_read", '{"path": ')])) as server:
        answer = await model(api, server).respond(QUESTION)
    assert answer.calls == (FunctionCall("call_a", "files_read", '{"path": '),)


CONVERSATION = ModelRequest(
    "Be careful.",
    [
        UserText("Read both."),
        ModelText("I will."),
        FunctionCall("call_a", "files_read", '{"path": "/a"}'),
        FunctionCall("call_b", "files_read", '{"path": "/b"}'),
        FunctionResult("call_a", '{"outcome": "applied"}'),
        FunctionResult("call_b", '{"error": {}}'),
    ],
    [FUNCTION],
)


async def test_responses_are_asked_with_the_whole_conversation() -> None:
    with api_server(Turn(text="Done.")) as server:
        await OpenAIResponses("gpt-test", api_key=KEY, base_url=server.base_url).respond(CONVERSATION)
    (asked,) = server.asked
    assert asked.path == "/v1/responses"
    assert asked.body == {
        "model": "gpt-test",
        "instructions": "Be careful.",
        "input": [
            {"role": "user", "content": "Read both."},
            {"role": "assistant", "content": "I will."},
            {"type": "function_call", "call_id": "call_a", "name": "files_read", "arguments": '{"path": "/a"}'},
            {"type": "function_call", "call_id": "call_b", "name": "files_read", "arguments": '{"path": "/b"}'},
            {"type": "function_call_output", "call_id": "call_a", "output": '{"outcome": "applied"}'},
            {"type": "function_call_output", "call_id": "call_b", "output": '{"error": {}}'},
        ],
        "tools": [
            {
                "type": "function",
                "name": "files_read",
                "description": "Reads a file.",
                "parameters": CLOSED,
                "strict": True,
            }
        ],
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
    }


async def test_chat_is_asked_with_the_whole_conversation() -> None:
    with api_server(Turn(text="Done.")) as server:
        await OpenAIChat("gpt-test", api_key=KEY, base_url=server.base_url).respond(CONVERSATION)
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"

    def called(id: str, path: str) -> dict[str, Any]:
        return {"id": id, "type": "function", "function": {"name": "files_read", "arguments": f'{{"path": "{path}"}}'}}

    described = {"name": "files_read", "description": "Reads a file.", "parameters": CLOSED, "strict": True}
    assert asked.body == {
        "model": "gpt-test",
        "messages": [
            {"role": "system", "content": "Be careful."},
            {"role": "user", "content": "Read both."},
            {"role": "assistant", "content": "I will.", "tool_calls": [called("call_a", "/a"), called("call_b", "/b")]},
            {"role": "tool", "tool_call_id": "call_a", "content": '{"outcome": "applied"}'},
            {"role": "tool", "tool_call_id": "call_b", "content": '{"error": {}}'},
        ],
        "tools": [{"type": "function", "function": described}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_reasoning_goes_back_where_it_came() -> None:
    asks = Turn(text="Let me see.", calls=[("call_a", "files_read", "{}")], reasoning="gAAAA-secret")
    with api_server(asks, Turn(text="Done.")) as server:
        asked = OpenAIResponses("gpt-test", api_key=KEY, base_url=server.base_url)
        answer = await asked.respond(QUESTION)
        assert [type(item) for item in answer.items] == [Reasoning, ModelText, FunctionCall]
        conversation = [*QUESTION.items, *answer.items, FunctionResult("call_a", "{}")]
        await asked.respond(ModelRequest("Be careful.", conversation, [FUNCTION]))
    assert [item.get("type", item.get("role")) for item in server.bodies[1]["input"]] == [
        *("user", "reasoning", "assistant", "function_call", "function_call_output"),
    ]
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA-secret"}
    assert server.bodies[1]["input"][1] == reasoning


async def test_a_model_without_encrypted_reasoning_is_asked_without_it() -> None:
    refused = Status(400, "Encrypted content is not supported with this model.", param="include")
    with api_server(refused, Turn(text="One."), Turn(text="Two.")) as server:
        asked = OpenAIResponses("gpt-test", api_key=KEY, base_url=server.base_url)
        assert [(await asked.respond(QUESTION)).text for _ in range(2)] == ["One.", "Two."]
    assert ["include" in body for body in server.bodies] == [True, False, False]


async def test_a_refusal_is_no_answer_and_has_no_calls(api: Api) -> None:
    with api_server(Turn(refusal="I will not.", calls=[("call_a", "files_read", "{}")])) as server:
        answer = await model(api, server).respond(QUESTION)
    assert (answer.refusal, answer.text, answer.calls) == ("I will not.", "", ())


@pytest.mark.parametrize("events", [0, 1, 4, 9])
async def test_an_answer_that_broke_off_is_none(api: Api, events: int) -> None:
    cut = Cut(Turn(text="I will", calls=[("call_a", "files_read", '{"path": "/srv/a"}')]), events)
    with api_server(cut) as server, pytest.raises(ModelError, match="gpt-test did not finish its answer: it broke off"):
        await model(api, server, retries=0).respond(QUESTION)


@pytest.mark.parametrize("ends", ["length", "content_filter"])
async def test_an_answer_that_was_cut_short_is_none(api: Api, ends: str) -> None:
    with (
        api_server(Turn(calls=[("call_a", "files_read", '{"path": "/sr')], ends=ends)) as server,
        pytest.raises(ModelError, match=r"did not finish its answer: (max_output_tokens|length|content_filter)"),
    ):
        await model(api, server).respond(QUESTION)


async def test_a_response_that_failed_says_why() -> None:
    with api_server(Turn(text="I", ends="failed")) as server, pytest.raises(ModelError, match="The model failed"):
        await OpenAIResponses("gpt-test", api_key=KEY, base_url=server.base_url).respond(QUESTION)


@pytest.mark.parametrize(
    "body",
    [b"data: {oops\n\n", b"data: [DONE]\n\n", b"", b'data: {"error": {"message": "overloaded"}}\n\n'],
    ids=["no json", "nothing but the end", "nothing", "an error in the stream"],
)
async def test_a_stream_of_something_else_is_no_answer(api: Api, body: bytes) -> None:
    with api_server(Raw(body)) as server, pytest.raises(ModelError, match="gpt-test did not finish"):
        await model(api, server).respond(QUESTION)


async def test_a_wrong_key_says_where_to_look(api: Api) -> None:
    with api_server() as server, pytest.raises(ModelError, match=r"401: .*Incorrect API key.*OPENAI_API_KEY"):
        await api(base_url=server.base_url, api_key="sk-wrong").respond(QUESTION)
    assert len(server.asked) == 1


async def test_no_key_at_all_is_said(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ModelError, match="OPENAI_API_KEY"):
        await api(api_key=None).respond(QUESTION)


@pytest.mark.parametrize("code", [408, 429, 500, 503])
async def test_what_passes_is_asked_again_after_the_pause_the_server_wants(api: Api, code: int) -> None:
    busy = Status(code, "later", headers={"retry-after-ms": "300", "retry-after": "0.3"})
    with api_server(busy, Turn(text="Now.")) as server:
        began = anyio.current_time()
        answer = await model(api, server).respond(QUESTION)
    assert answer.text == "Now."
    assert anyio.current_time() - began >= 0.3
    assert [asked.body for asked in server.asked] == [server.bodies[0]] * 2


async def test_what_does_not_pass_is_an_error_after_the_retries(api: Api) -> None:
    busy = Status(429, "You exceeded your current quota", headers={"retry-after-ms": "10"})
    with api_server(busy, busy, busy) as server, pytest.raises(ModelError, match=r"429: .*quota"):
        await model(api, server).respond(QUESTION)
    assert len(server.asked) == 3


async def test_a_server_that_is_not_there_or_silent_is_an_error(api: Api) -> None:
    with api_server() as gone:
        pass
    with pytest.raises(ModelError, match="cannot be reached"):
        await model(api, gone, retries=0).respond(QUESTION)
    with api_server(Silence()) as server, pytest.raises(ModelError, match="cannot be reached"):
        await model(api, server, retries=0, timeout_s=0.2).respond(QUESTION)


async def test_a_question_can_be_cancelled(api: Api) -> None:
    with api_server(Silence()) as server:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(model(api, server).respond, QUESTION)
                while not server.asked:  # noqa: ASYNC110  another thread's list
                    await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
        assert len(server.asked) == 1


def chunk(*pieces: dict[str, Any], ends: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"tool_calls": list(pieces)} if pieces else {}, "finish_reason": ends}
    return f"data: {json.dumps({'id': 'c', 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n".encode()


def piece(arguments: str, **fields: Any) -> dict[str, Any]:
    name = fields.pop("name", None)
    return fields | {"function": {"arguments": arguments} | ({"name": name} if name else {})}


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(piece('{"n": 1}', id="a", name="f")), chunk(piece('{"n": 2}', id="b", name="f"))],
        [chunk(piece('{"n": 1}', index=0, id="a", name="f")), chunk(piece('{"n": 2}', index=0, id="b", name="f"))],
        [
            chunk(piece('{"n":', index=0, id="a", name="f"), piece('{"n"', index=1, id="b", name="f")),
            chunk(piece(" 1}", index=0, id="a", name="f"), piece(": 2}", index=1, id="b", name="f")),
        ],
        [chunk(piece('{"n": 1}', index=0, name="f"), piece('{"n": 2}', index=1, name="f"))],
    ],
    ids=["no index", "one index for all", "id and name repeated", "no id"],
)
async def test_what_compatible_servers_do_otherwise_is_understood(chunks: list[bytes]) -> None:
    body = b"".join([*chunks, chunk(ends="tool_calls"), b"data: [DONE]\n\n"])
    with api_server(Raw(body)) as server:
        answer = await OpenAIChat("gpt-test", api_key=KEY, base_url=server.base_url).respond(QUESTION)
    assert [(call.name, json.loads(call.arguments)) for call in answer.calls] == [("f", {"n": 1}), ("f", {"n": 2})]
    assert len({call.id for call in answer.calls} - {""}) == 2


async def test_half_a_character_cannot_break_what_is_sent_on(api: Api) -> None:
    with api_server(Turn(text="half \ud83d", calls=[("call_a", "files_read", '{"path": "\ud83d"}')])) as server:
        answer = await model(api, server).respond(QUESTION)
    assert answer.text.encode() == "half \N{REPLACEMENT CHARACTER}".encode()
    assert answer.calls[0].arguments.encode()


ENVIRONMENT = ("OPENAI_API_KEY", "CMDOP_MODEL", "OPENAI_BASE_URL", "CMDOP_API")


@pytest.mark.parametrize(
    ("given", "kind", "name"),
    [
        ({}, type(None), ""),
        ({"CMDOP_MODEL": "gpt-x"}, type(None), ""),
        ({"OPENAI_API_KEY": KEY}, OpenAIResponses, "gpt-5-mini"),
        ({"OPENAI_API_KEY": KEY, "CMDOP_MODEL": "gpt-x"}, OpenAIResponses, "gpt-x"),
        ({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, OpenAIChat, "gpt-5-mini"),
        ({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://x/v1", "CMDOP_API": "responses"}, OpenAIResponses, ""),
        ({"OPENAI_API_KEY": KEY, "CMDOP_API": "chat"}, OpenAIChat, ""),
    ],
)
async def test_the_environment_says_which_model(
    given: dict[str, str], kind: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ENVIRONMENT:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    found = model_from_environment()
    assert type(found) is kind
    assert not name or (found is not None and found.name == name)


async def test_an_api_that_there_is_not_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("CMDOP_API", "grpc")
    with pytest.raises(ModelError, match=r"CMDOP_API.*grpc.*`responses` or `chat`"):
        model_from_environment()


async def test_the_environment_s_server_and_key_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with api_server(Turn(text="Yes.")) as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.delenv("CMDOP_API", raising=False)
        found = model_from_environment()
        assert found is not None and (await found.respond(QUESTION)).text == "Yes."
    assert [asked.path for asked in server.asked] == ["/v1/chat/completions"]
