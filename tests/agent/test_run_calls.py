"""What becomes of a model's calls, and what it hears of them: a real server and host, both event loops."""

from __future__ import annotations

import json

import pytest
from tests.agent.living import APPROVE, REJECT, Place, ask, events_of, make_place, person, told, work
from tests.live import Up

from cmdop import Client, v1
from cmdop.agent import CallAnswered, CallHeld, Limits, RunEvent, RunFinished, TurnTaken
from cmdop.testing import Ask, Say, ScriptedModel

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

FINISHED = v1.RunStatus.RUN_STATUS_FINISHED
APPLIED = v1.Outcome.OUTCOME_APPLIED


@pytest.fixture
def place(up: Up) -> Place:
    return make_place(up)


async def test_an_agent_looks_and_answers(place: Place) -> None:
    model = ScriptedModel([ask("files_list", path=place.path, recursive=None, limit=None), Say("Two logs.")])
    events: list[RunEvent] = []
    done = await work(place, model, observe=events.append)
    assert (done.run.status, done.output, done.run.turns) == (FINISHED, "Two logs.", 2)
    assert [call.outcome for call in done.calls] == [APPLIED]
    (heard,) = told(model)
    assert {entry["path"].rpartition("/")[2] for entry in heard["result"]["entries"]} == {"a.log", "b.log", "keep.db"}
    assert [type(event) for event in events] == [TurnTaken, CallAnswered, TurnTaken, RunFinished]


async def test_what_is_denied_comes_back_with_its_remedy_and_does_not_happen(place: Place) -> None:
    model = ScriptedModel([place.exec("rm -rf /logs", "/logs"), Say("I may not.")])
    done = await work(place, model)
    (heard,) = told(model)
    assert done.run.status == FINISHED
    assert heard["error"]["reason"] == "POLICY_DENIED"
    assert heard["error"]["remedy"]["kind"] == "narrow_effect"
    assert [policy["id"] for policy in heard["error"]["policies"]] == ["workspace.outside"]
    assert heard["error"]["policies"][0]["remedy"]
    assert (place.up.fixture / "logs" / "system.log").exists()


async def test_a_malformed_call_is_taught_in_the_function_s_own_words_and_mended(place: Place) -> None:
    wrong = ask(
        "terminal_exec", command="ls", cwd="srv/app", timeout_s="5", env=[{"name": "A", "value": 1}], stdin=None
    )
    right = ask("terminal_exec", command="echo $A", cwd="/srv/app", timeout_s=5, env=[{"name": "A", "value": "1"}])
    model = ScriptedModel([wrong, right, right, Say("Done.")])
    done = await work(place, model)
    first, second, _ = told(model)
    assert first["error"]["reason"] == "INVALID_ARGUMENTS"
    assert {fault["pointer"] for fault in first["error"]["violations"]} == {"/cwd", "/timeout_s", "/env/A"}
    assert all(fault["remedy"]["path"] == fault["pointer"] for fault in first["error"]["violations"])
    assert second["result"]["stdout"] == "1\n"
    assert [call.proposal.author_attempt for call in done.calls] == [1, 2, 1]
    assert [call.score.validity for call in done.calls] == [0, 1, 1]
    assert [call.score.clean for call in done.calls] == [False, False, True]


@pytest.mark.parametrize(
    ("arguments", "pointers"),
    [
        ('{"path": ', {""}),
        ("[]", None),
        ('"rm -rf /"', None),
        ("\\", None),
        ("[" * 100_000, None),
        ('{"intent": "x", "expect": [], "path": "\\ud83d"}', None),
        ('{"intent": "x", "expect": "file.delete:/", "path": "/srv"}', {"/expect"}),
        (
            '{"intent": ["x"], "expect": [{"target": 5}, 7], "path": "/srv"}',
            {"/intent", "/expect/0/target", "/expect/1"},
        ),
        ('{"intent": "x", "expect": [], "path": NaN}', {""}),
    ],
)
async def test_whatever_a_model_writes_is_answered_and_nothing_runs(
    place: Place, arguments: str, pointers: set[str] | None
) -> None:
    model = ScriptedModel([Ask("files_delete", arguments), Say("I give up.")])
    done = await work(place, model)
    (heard,) = told(model)
    assert done.run.status == FINISHED
    assert heard["error"]["reason"] in ("MALFORMED_JSON", "INVALID_ARGUMENTS", "INVALID_ACTION"), heard
    assert pointers is None or pointers <= {fault["pointer"] for fault in heard["error"]["violations"]}, heard
    assert place.files() == ["a.log", "b.log", "keep.db"]


@pytest.mark.parametrize("function", ["files_delete", "files.delete", "files_read2", "", "x" * 300])
async def test_a_function_that_was_not_offered_is_not_proposed(place: Place, function: str) -> None:
    arguments = {"path": f"{place.path}/a.log"}
    model = ScriptedModel([Ask(function, arguments), Say("Then not.")])
    async with person(place, APPROVE) as decided:
        done = await work(place, model, tools=("files.read", "files.list"))
    (heard,) = told(model)
    assert heard["error"]["reason"] == "UNKNOWN_TOOL"
    assert "files_list, files_read" in heard["error"]["message"]
    remedy = heard["error"]["remedy"]
    # What reads is not meant by what deletes.
    assert remedy["kind"] == ("use_tool" if function == "files_read2" else "stop")
    assert done.calls == () and decided == []
    assert "a.log" in place.files()


async def test_a_function_under_another_name_is_answered_with_the_one_that_was_meant(place: Place) -> None:
    model = ScriptedModel([Ask("bash", {"command": "ls"}), Say("Then so.")])
    await work(place, model, tools=("files.read", "terminal.exec"))
    (heard,) = told(model)
    assert heard["error"]["remedy"] == {"kind": "use_tool", "name": "terminal_exec"}


async def test_another_host_than_those_of_the_run_is_not_acted_on(place: Place) -> None:
    path = f"{place.path}/a.log"
    script = [ask("files_read", host="elsewhere", path=path), ask("files_read", host="local", path=path), Say("Read.")]
    model = ScriptedModel(script)
    await work(place, model, hosts=("local", "spare"))
    refused, read = told(model)
    assert (refused["error"]["reason"], refused["error"]["remedy"]["path"]) == ("UNKNOWN_HOST", "/host")
    assert read["result"]["content"] == "a.log"


async def test_calls_of_one_turn_are_each_answered_under_their_id(place: Place) -> None:
    asks = [
        ask("files_read", path=f"{place.path}/a.log"),
        Ask("files_read", "{oops"),
        ask("files_read", path=f"{place.path}/none"),
        Ask("no_such", {}),
        ask("files_read", path=f"{place.path}/b.log"),
    ]
    model = ScriptedModel([asks, Say("Read.")])
    done = await work(place, model)
    assert [item.id for item in model.seen[-1].items[1:]] == [f"scripted-1-{n}" for n in range(5)] * 2  # type: ignore[union-attr]
    results = [heard.get("result", {}).get("content") or heard["error"]["reason"] for heard in told(model)]
    assert results == ["a.log", "MALFORMED_JSON", "PATH_NOT_FOUND", "UNKNOWN_TOOL", "b.log"]
    assert [call.proposal.model_call_id for call in done.calls] == [f"scripted-1-{n}" for n in (0, 1, 2, 4)]


async def test_what_a_person_approves_is_applied(place: Place) -> None:
    model = ScriptedModel([place.exec("rm *.log", "*.log"), Say("Deleted.")])
    events: list[RunEvent] = []
    async with person(place, APPROVE) as decided:
        done = await work(place, model, observe=events.append)
    assert place.files() == ["keep.db"]
    assert [call.outcome for call in done.calls] == [APPLIED]
    assert [[effect.target for effect in approval.diff.effects] for approval in decided] == [
        [f"{place.path}/a.log", f"{place.path}/b.log"]
    ]
    (heard,) = told(model)
    assert heard["outcome"] == "applied"
    assert [effect["target"] for effect in heard["observed"]] == [f"{place.path}/a.log", f"{place.path}/b.log"]
    assert [type(event) for event in events] == [TurnTaken, CallHeld, CallAnswered, TurnTaken, RunFinished]


async def test_what_a_person_rejects_does_not_happen_and_is_heard(place: Place) -> None:
    model = ScriptedModel([place.exec("rm *", "*.log"), Say("Then not.")])
    async with person(place, REJECT):
        done = await work(place, model)
    assert place.files() == ["a.log", "b.log", "keep.db"]
    assert done.run.status == FINISHED
    (heard,) = told(model)
    assert (heard["outcome"], heard["error"]["reason"]) == ("not_applied", "APPROVAL_REJECTED")
    assert [(effect["target"], effect["severity"]) for effect in heard["side_effects"]] == [
        (f"{place.path}/keep.db", "high")
    ]
    assert "seen" in heard["error"]["message"], "what the person said"


async def test_a_command_that_failed_is_heard_with_its_output(place: Place) -> None:
    model = ScriptedModel([place.exec("cat none; exit 3"), Say("It failed.")])
    await work(place, model)
    (heard,) = told(model)
    assert heard["error"]["reason"] == "COMMAND_FAILED"
    assert (heard["result"]["exit_code"], "none" in heard["result"]["stderr"]) == (3, True)


async def test_long_results_are_cut_and_say_so(place: Place) -> None:
    (place.disk / "long.log").write_text("x" * 900_000)
    for number in range(300):
        (place.disk / f"{number}.log").touch()
    model = ScriptedModel(
        [[ask("files_read", path=f"{place.path}/long.log"), ask("files_list", path=place.path)], Say("I see.")]
    )
    await work(place, model)
    read, listed = told(model)
    assert len(read["result"]["content"]) < 20_000
    assert "884000 characters are left out here" in read["result"]["content"]
    assert (len(listed["result"]["entries"]), listed["result"]["entries"][-1]) == (101, "… and 204 more")


async def test_everything_of_a_run_is_in_its_trace(place: Place) -> None:
    model = ScriptedModel([ask("files_read", path=f"{place.path}/a.log"), Say("Read.")], name="gpt-script")
    done = await work(place, model, task="Read it.")
    events = await events_of(place.up, done.run.run_id)
    assert [event["kind"] for event in events if event["kind"].startswith(("run_", "turn_"))] == [
        *("run_started", "turn_recorded", "turn_recorded", "run_finished"),
    ]
    assert [event["kind"] for event in events if event["kind"] == "call_settled"] == ["call_settled"]
    first, second = (event["content"]["turn"] for event in events if event["kind"] == "turn_recorded")
    prompt = json.loads(first["prompt_json"])
    assert [entry["type"] for entry in prompt] == ["Instructions", "UserText"]
    assert prompt[1]["text"] == "Read it."
    assert first["model_call_ids"] == ["gpt-script-1-0"]
    # Each turn records what is new: the second only what became of the call.
    prompt = json.loads(second["prompt_json"])
    assert [entry["type"] for entry in prompt] == ["FunctionResult"]
    assert json.loads(prompt[0]["output"])["result"]["content"] == "a.log"


async def test_an_agent_is_offered_only_its_tools_in_strict_schemas(place: Place) -> None:
    from tests.agent.openai_server import Asked, fault_in

    model = ScriptedModel([Say("Nothing to do.")])
    await work(place, model, hosts=("local", "spare"), limits=Limits(turns=1))
    functions = {function.name: function for function in model.seen[0].functions}
    assert sorted(functions) == ["files_delete", "files_list", "files_read", "files_write", "terminal_exec"]
    tools = [{"name": each.name, "parameters": each.parameters, "strict": True} for each in functions.values()]
    assert fault_in(Asked("/v1/responses", {}, {"tools": tools, "input": []})) == ""
    properties = functions["terminal_exec"].parameters["properties"]
    limits = ["timeout_s", "cpu_s", "memory_mb", "processes", "file_mb", "disk_mb", "pty"]
    assert list(properties) == ["intent", "expect", "host", "command", "argv", "cwd", *limits, "env", "stdin"]
    assert properties["host"]["enum"] == ["local", "spare"]
    assert (properties["timeout_s"]["type"], properties["command"]["type"]) == (
        ["integer", "null"],
        ["string", "null"],
    )
    assert "Null means 60" in properties["timeout_s"]["description"]
    assert properties["env"]["items"]["required"] == ["name", "value"]


async def test_a_tool_or_client_that_does_not_fit_is_said_before_the_run(place: Place) -> None:
    model = ScriptedModel([Say("Never asked.")])
    with pytest.raises(ValueError, match=r"teminal\.exec.*terminal\.exec"):
        await work(place, model, tools=("teminal.exec",))
    with pytest.raises(ValueError, match="host"):
        await work(place, model, hosts=())
    from cmdop.agent import Agent, run

    async with Client(place.up.address, agent="other") as client:
        with pytest.raises(ValueError, match="other"):
            await run(Agent(place.name, "", model), "x", client=client)
    assert model.seen == []
