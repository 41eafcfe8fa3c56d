"""`cmdop run` as a process, on a model behind a real HTTP server and on a real host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import anyio
import pytest
from tests.agent.living import APPROVE, REJECT, TERMINATE, Place, make_place, person
from tests.agent.openai_server import KEY, ApiServer, Cut, Status, Turn, api_server
from tests.live import Up

from cmdop import v1

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture
def anyio_backend() -> str:
    """The command brings its own loop; the one here only plays the person."""
    return "asyncio"


@pytest.fixture
def place(up: Up) -> Place:
    return make_place(up)


def call(id: str, function: str, **arguments: Any) -> tuple[str, str, str]:
    return id, function, json.dumps({"intent": "tidy up", "expect": [], **arguments})


def removal(place: Place, id: str = "call_1") -> tuple[str, str, str]:
    expect = [{"kind": "file.delete", "target": "a.log", "min_count": None, "max_count": None}]
    arguments = {"command": "rm a.log", "cwd": place.path, "timeout_s": None, "env": None, "stdin": None}
    return call(id, "terminal_exec", expect=expect, **arguments)


async def cmdop_run(
    place: Place, server: ApiServer | None, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command as a person types it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "CMDOP_"))}
    of_model = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.base_url, "CMDOP_MODEL": "gpt-test"} if server else {}
    command = [sys.executable, "-m", "cmdop", "run", "Free disk space.", "--agent", place.name, *arguments]
    environment = inherited | {"CMDOP_ADDRESS": place.up.address, "CMDOP_USER": "ana"} | of_model | environment

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return await anyio.to_thread.run_sync(run)


@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_a_run_that_finishes_exits_0_and_prints_one_object(place: Place, api: str) -> None:
    turns = [Turn(calls=[call("call_0", "files_list", path=place.path, recursive=None, limit=None)])]
    turns += [Turn(text="I will.", calls=[removal(place)], reasoning="gAAAA"), Turn(text="I deleted a.log.")]
    async with person(place, APPROVE):
        with api_server(*turns) as server:
            done = await cmdop_run(place, server, "--json", CMDOP_API=api)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["status"], printed["final_output"], printed["turns"]) == ("finished", "I deleted a.log.", 3)
    assert (printed["model"], printed["agent"], printed["user"]) == ("gpt-test", place.name, "ana")
    assert [(each["tool"], each["outcome"]) for each in printed["calls"]] == [
        ("files.list", "applied"),
        ("terminal.exec", "applied"),
    ]
    assert "a.log" not in place.files()
    # What the server was asked last is the whole conversation, results under the ids of their calls.
    if api == "responses":
        items = [(item.get("type", item.get("role")), item.get("call_id")) for item in server.bodies[-1]["input"]]
        assert items == [
            ("user", None),
            ("function_call", "call_0"),
            ("function_call_output", "call_0"),
            ("reasoning", None),
            ("assistant", None),
            ("function_call", "call_1"),
            ("function_call_output", "call_1"),
        ]
    else:
        roles = [message["role"] for message in server.bodies[-1]["messages"]]
        assert roles == ["system", "user", "assistant", "tool", "assistant", "tool"]


async def test_what_happens_is_shown_to_a_person(place: Place) -> None:
    async with person(place, REJECT):
        with api_server(Turn(text="I will.", calls=[removal(place)]), Turn(text="Then not.")) as server:
            done = await cmdop_run(place, server)
    assert done.returncode == 0, done.stderr
    for shown in ("[1] I will.", "APPROVAL_REJECTED", "[2] Then not.", "finished"):
        assert shown in done.stdout
    assert "a.log" in place.files()


async def test_a_run_that_a_person_ended_exits_3(place: Place) -> None:
    async with person(place, TERMINATE):
        with api_server(Turn(calls=[removal(place)]), Turn(text="Never asked.")) as server:
            done = await cmdop_run(place, server, "--json")
    assert (done.returncode, len(server.asked)) == (3, 1)
    assert json.loads(done.stdout)["status"] == "terminated"


async def test_a_run_that_reached_a_limit_exits_5(place: Place) -> None:
    looks = [Turn(calls=[call(f"call_{n}", "files_read", path=f"{place.path}/a.log")]) for n in range(3)]
    with api_server(*looks) as server:
        done = await cmdop_run(place, server, "--turns", "2", "--json")
    assert (done.returncode, len(server.asked)) == (5, 2)
    printed = json.loads(done.stdout)
    assert (printed["status"], printed["why"], len(printed["calls"])) == ("limited", "no answer within 2 turns", 2)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Status(500, "The server had an error", headers={"retry-after-ms": "1"}), "answered 500: "),
        (Cut(Turn(calls=[("call_1", "files_read", '{"path": "/')]), 2), "did not finish its answer"),
        (Turn(refusal="I will not."), "the model refused: I will not."),
    ],
)
async def test_a_model_that_fails_after_a_call_exits_5_and_keeps_the_call(
    place: Place, reply: Status | Cut | Turn, says: str
) -> None:
    look = Turn(calls=[call("call_0", "files_read", path=f"{place.path}/a.log")])
    with api_server(look, reply, reply, reply) as server:
        done = await cmdop_run(place, server, "--json")
    assert done.returncode == 5, done.stderr
    printed = json.loads(done.stdout)
    assert printed["status"] == "failed"
    assert says in printed["why"]
    assert [each["outcome"] for each in printed["calls"]] == ["applied"]


async def test_a_wrong_key_exits_5_and_says_where_to_look(place: Place) -> None:
    with api_server() as server:
        done = await cmdop_run(place, server, OPENAI_API_KEY="sk-wrong")
    assert (done.returncode, done.stdout) == (5, "")
    assert "401" in done.stderr and "OPENAI_API_KEY" in done.stderr and "Traceback" not in done.stderr


async def test_without_a_model_or_with_a_wrong_api_it_is_a_usage_error(place: Place) -> None:
    without = await cmdop_run(place, None, "--json")
    assert without.returncode == 2
    error = json.loads(without.stdout)["error"]
    assert "OPENAI_API_KEY" in error["message"] and "--script FILE" in error["remedy"]["expected"]
    wrong = await cmdop_run(place, None, OPENAI_API_KEY=KEY, CMDOP_API="grpc")
    assert wrong.returncode == 2
    assert "CMDOP_API" in wrong.stderr


async def test_a_script_takes_the_place_of_a_model(place: Place) -> None:
    effect = f"file.delete:{place.path}/a.log"
    turns = [
        {"tool": "files.list", "intent": "look", "arguments": {"path": place.path}},
        [
            {"tool": "files.read", "intent": "look closer", "arguments": {"path": f"{place.path}/a.log"}},
            {
                "tool": "terminal.exec",
                "intent": "tidy up",
                "expect": [effect],
                "arguments": {"command": "rm a.log", "cwd": place.path},
                "say": "I will.",
            },
        ],
        {"say": "I deleted a.log."},
    ]
    script = place.up.data.parent / f"{place.name}.jsonl"
    script.write_text("# a comment\n\n" + "".join(json.dumps(turn) + "\n" for turn in turns))
    async with person(place, APPROVE):
        done = await cmdop_run(place, None, "--script", str(script), "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["status"], printed["final_output"], printed["model"]) == (
        "finished",
        "I deleted a.log.",
        "scripted",
    )
    assert [(each["tool"], each["outcome"]) for each in printed["calls"]] == [
        ("files.list", "applied"),
        ("files.read", "applied"),
        ("terminal.exec", "applied"),
    ]
    assert "a.log" not in place.files()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "has no turns"),
        ('{"say": "a"}\n{"tool": "files.list"', "line 2"),
        ('{"say": "a", "say": "b"}', "stands twice"),
        ('{"say": "a"}\n\n{"tool": "files.list", "key": "k"}', "line 3: this is no call"),
        ('{"tool": "files.list", "arguments": "{}"}', "line 1: the arguments are no object"),
        ("[]", "line 1: this is no turn"),
        ("3", "line 1"),
    ],
)
async def test_a_script_that_is_none_is_a_usage_error_that_names_the_line(place: Place, lines: str, said: str) -> None:
    script = place.up.data.parent / f"{place.name}.jsonl"
    script.write_text(lines)
    done = await cmdop_run(place, None, "--script", str(script), "--json")
    assert done.returncode == 2, done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["reason"] == "MALFORMED_JSON"
    assert said in error["message"]
    assert not done.stderr


async def test_a_script_that_ends_without_a_word_ends_the_run_as_failed(place: Place) -> None:
    script = place.up.data.parent / f"{place.name}.jsonl"
    script.write_text(json.dumps({"tool": "files.list", "intent": "look", "arguments": {"path": place.path}}))
    done = await cmdop_run(place, None, "--script", str(script))
    assert done.returncode == 5
    assert "the script is over after 1 turns" in done.stderr
    missing = await cmdop_run(place, None, "--script", "no-such-file")
    assert (missing.returncode, "no-such-file cannot be read" in " ".join(missing.stderr.split())) == (2, True)


async def test_without_a_server_it_exits_7(place: Place) -> None:
    with api_server() as server:
        done = await cmdop_run(place, server, "--server", "127.0.0.1:1", "--json")
    assert done.returncode == 7
    assert json.loads(done.stdout)["error"]["reason"] == "UNREACHABLE"


async def test_a_run_that_is_interrupted_leaves_nothing_to_approve(place: Place) -> None:
    import signal

    from cmdop import Client

    with api_server(Turn(calls=[removal(place)]), Turn(text="Never asked.")) as server:
        environment = os.environ | {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.base_url}
        command = [sys.executable, "-m", "cmdop", "run", "x", "--agent", place.name, "--server", place.up.address]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            async with Client(place.up.address) as client, client.approvals.watch() as approvals:
                async for approval in approvals:
                    if approval.requester.agent == place.name:
                        break
                process.send_signal(signal.SIGINT)
                status = await anyio.to_thread.run_sync(lambda: process.wait(timeout=30))
                settled = await client.calls.get(approval.call_id)
                (run,) = [run for run in await client.runs.list() if run.actor.agent == place.name]
    assert status not in (0, 3, 5)
    assert (run.status, run.why) == (v1.RunStatus.RUN_STATUS_FAILED, "cancelled")
    assert settled.outcome == v1.Outcome.OUTCOME_NOT_APPLIED
    assert "a.log" in place.files()
