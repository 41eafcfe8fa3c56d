"""Whatever calls and approvals hold, a plain gRPC client that takes 4 MiB gets every answer, and sees what was cut."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from tests.live import Up, make_fixture, start_up

from cmdop import v1
from cmdop.v1 import approval_pb2_grpc, call_pb2_grpc, session_pb2_grpc, trace_pb2_grpc

pytestmark = pytest.mark.timeout(300)

MIB = 1 << 20
TAKEN = 4 * MIB
"""Bytes that a gRPC client takes by default."""

WHOLE = (("cmdop-max-bytes", str(64 * MIB)),)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A server of its own: what lies here would be in everybody's lists."""
    directory = tmp_path_factory.mktemp("big")
    running = start_up(directory / "data", make_fixture(directory / "fixture"))
    yield running
    running.stop()


@pytest.fixture
def channel(big: Up) -> Iterator[grpc.Channel]:
    """A channel with the options that gRPC has by default."""
    with grpc.insecure_channel(big.address) as channel:
        yield channel


@pytest.fixture
def wide(big: Up) -> Iterator[grpc.Channel]:
    """A channel of a client that takes as much as ours."""
    with grpc.insecure_channel(big.address, [("grpc.max_receive_message_length", 64 * MIB)]) as channel:
        yield channel


def proposal(tool: str, arguments: dict[str, Any], *, agent: str = "", expect: str = "") -> v1.Proposal:
    """A proposal with these arguments, which creates this file if it says so."""
    effects = [v1.ExpectedEffect(kind=v1.EffectKind.EFFECT_KIND_FILE_CREATE, target=expect)] if expect else []
    action = v1.Action(
        tool=tool, host="local", intent="for a test", arguments_json=json.dumps(arguments), expect=effects
    )
    return v1.Proposal(action=action, actor=v1.Actor(user="tester", agent=agent))


def command(line: str) -> v1.Proposal:
    """A command that changes nothing."""
    return proposal("terminal.exec", {"command": line, "cwd": "/srv/app"})


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_two_mebibytes_of_output_reach_a_plain_client(channel: grpc.Channel) -> None:
    calls = call_pb2_grpc.CallsStub(channel)
    call = calls.Propose(v1.ProposeRequest(proposal=command("head -c 2097152 /dev/zero | tr '\\0' x")), timeout=60)
    result = json.loads(call.result.result_json)
    assert (call.outcome, result["stdout_bytes"], result["stdout_truncated"]) == (
        v1.Outcome.OUTCOME_APPLIED,
        2 * MIB,
        True,
    )
    assert len(result["stdout"]) > MIB
    assert not call.abridged
    assert calls.Get(v1.GetCallRequest(call_id=call.call_id), timeout=60) == call


@pytest.mark.parametrize("where", ["/dev/zero", "/dev/urandom"])
def test_output_of_any_bytes_reaches_a_plain_client_cut_and_marked_and_whole_whoever_takes_more(
    channel: grpc.Channel, wide: grpc.Channel, where: str
) -> None:
    calls = call_pb2_grpc.CallsStub(channel)
    line = f"head -c 2097152 {where} | tee /dev/stderr"
    call = calls.Propose(v1.ProposeRequest(proposal=command(line)), timeout=60)
    assert call.outcome == v1.Outcome.OUTCOME_APPLIED, call.error
    assert call.ByteSize() < TAKEN
    asked = v1.GetCallRequest(call_id=call.call_id)
    assert calls.Get(asked, timeout=60) == call
    whole = call_pb2_grpc.CallsStub(wide).Get(asked, metadata=WHOLE, timeout=60)
    assert whole.ByteSize() > TAKEN
    assert not whole.abridged
    marks = {mark.pointer: mark for mark in call.abridged}
    result, text = json.loads(call.result.result_json), json.loads(whole.result.result_json)
    for stream in ("stdout", "stderr"):
        mark = marks[f"/result/result_json/{stream}"]
        assert (mark.bytes, mark.sha256) == (len(text[stream].encode()), sha256(text[stream]))
        note = f"\n[… cut here: all {mark.bytes} bytes have the SHA-256 {mark.sha256} …]\n"
        head, _, tail = result[stream].partition(note)
        assert text[stream].startswith(head)
        assert text[stream].endswith(tail)
        assert min(len(head), len(tail)) > 10_000
    assert marks["/result/result_json"].sha256 == sha256(whole.result.result_json)
    assert {name: value for name, value in result.items() if name not in ("stdout", "stderr")} == {
        name: value for name, value in text.items() if name not in ("stdout", "stderr")
    }


def test_the_same_is_so_on_a_watch_a_session_and_a_cancel(channel: grpc.Channel) -> None:
    stub = call_pb2_grpc.CallsStub(channel)
    line = "head -c 2097152 /dev/zero | tee /dev/stderr"

    def frames() -> Iterator[v1.ClientFrame]:
        yield v1.ClientFrame(hello=v1.ClientHello(min_protocol=1, max_protocol=1, client="plain"))
        yield v1.ClientFrame(session=1, open=v1.OpenSession())
        yield v1.ClientFrame(session=1, propose=v1.SessionProposal(request_id=7, proposal=command(line)))

    answers = session_pb2_grpc.SessionsStub(channel).Connect(frames(), timeout=60)
    (call,) = [frame.update.call for frame in answers if frame.update.HasField("call")]
    assert call.outcome == v1.Outcome.OUTCOME_APPLIED
    assert call.abridged
    (update,) = stub.Watch(v1.WatchCallRequest(call_id=call.call_id), timeout=60)
    assert update.call == call
    assert stub.Cancel(v1.CancelCallRequest(call_id=call.call_id), timeout=60) == call


def test_a_trace_comes_cut_and_marked_and_whole_to_who_takes_it(
    big: Up, channel: grpc.Channel, wide: grpc.Channel
) -> None:
    stub = call_pb2_grpc.CallsStub(channel)
    call = stub.Propose(v1.ProposeRequest(proposal=command("head -c 2097152 /dev/zero | tee /dev/stderr")), timeout=60)
    asked = v1.GetTraceRequest(id=call.call_id)
    whole = trace_pb2_grpc.TracesStub(wide).Get(asked, metadata=WHOLE, timeout=60)
    assert whole.ByteSize() > TAKEN
    assert not whole.abridged
    short = trace_pb2_grpc.TracesStub(channel).Get(asked, timeout=60)
    assert [event.WhichOneof("kind") for event in short.events] == [event.WhichOneof("kind") for event in whole.events]
    marked = {mark.pointer: mark for mark in short.abridged}
    at = [event.WhichOneof("kind") for event in whole.events].index("call_previewed")
    text = whole.events[at].call_previewed.report.result.result_json.encode()
    mark = marked[f"/events/{at}/call_previewed/report/result/result_json"]
    assert (mark.bytes, mark.sha256) == (len(text), hashlib.sha256(text).hexdigest())
    assert short.calls[0].abridged
    # Ours takes it whole.
    code, shown = big.call("trace", "show", call.call_id)
    assert (code, len(shown["events"])) == (0, len(whole.events))


def test_runs_are_listed_page_by_page(big: Up, channel: grpc.Channel) -> None:
    runs = trace_pb2_grpc.RunsStub(channel)
    actor = v1.Actor(user="tester", agent="worker")
    began = [runs.Start(v1.StartRunRequest(actor=actor, task=f"{at} " + "t" * 90_000)).run_id for at in range(5)]
    output = "done\n" * (2 * MIB // 5)
    for run_id in began:
        finished = v1.RunStatus.RUN_STATUS_FINISHED
        runs.Finish(v1.FinishRunRequest(run_id=run_id, status=finished, final_output=output), timeout=60)
    found: list[v1.Run] = []
    request = v1.ListRunsRequest(limit=2)
    while not found or request.before_run_id:
        page = runs.List(request, timeout=60)
        assert 0 < len(page.runs) <= 2
        found += page.runs
        request.before_run_id = page.next_before_run_id
    assert [run.run_id for run in found if run.run_id in began] == began[::-1]
    for run in found:
        assert run.ByteSize() <= 16 << 10
        assert {mark.pointer for mark in run.abridged} >= {"/task", "/final_output"}
    for list_, unknown in ((runs.List, "no run `no`"), (call_pb2_grpc.CallsStub(channel).List, "no call `no`")):
        request = (
            v1.ListRunsRequest(before_run_id="no") if list_ == runs.List else v1.ListCallsRequest(before_call_id="no")
        )
        with pytest.raises(grpc.RpcError) as refused:
            list_(request, timeout=60)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        assert unknown in (refused.value.details() or "")


def test_hundreds_of_approvals_with_large_diffs_are_listed_page_by_page(big: Up, channel: grpc.Channel) -> None:
    calls, approvals = call_pb2_grpc.CallsStub(channel), approval_pb2_grpc.ApprovalsStub(channel)
    content = "a line of the file that nobody can overlook\n" * 700

    def hold(at: int) -> str:
        path = f"/srv/app/held-{at}.txt"
        held = proposal("files.write", {"path": path, "content": f"{at}\n{content}"}, agent="janitor")
        call = calls.Propose(v1.ProposeRequest(proposal=held), timeout=120)
        assert call.state == v1.CallState.CALL_STATE_DIFF_HELD, call.error
        return call.approval.approval_id

    with ThreadPoolExecutor(8) as pool:
        held = [*pool.map(hold, range(300))]
    found: list[v1.Approval] = []
    request = v1.ListApprovalsRequest(limit=120)
    pages = 0
    while pages == 0 or request.before_approval_id:
        page = approvals.List(request, timeout=60)
        assert page.ByteSize() <= 2 * MIB
        found += page.approvals
        request.before_approval_id = page.next_before_approval_id
        pages += 1
    assert pages == 3
    assert sorted(one.approval_id for one in found) == sorted(held)
    for listed in found:
        pointers = {mark.pointer for mark in listed.abridged}
        assert "/action/arguments_json" in pointers
        assert (len(listed.diff.effects), listed.digest != "") == (1, True)
        json.loads(listed.action.arguments_json)
    whole = approvals.Get(v1.GetApprovalRequest(approval_id=held[7]), timeout=60)
    assert content in json.loads(whole.action.arguments_json)["content"]
    assert not whole.abridged
    # The command line follows the pages, and says how to see all of one.
    done = big.cmdop("approvals", "list", "--limit", "1000", "--json")
    assert len(json.loads(done.stdout)) == 300
    assert "300 of these are abridged; `cmdop approvals show` shows the whole of one" in done.stderr
    _, shown = big.call("approvals", "show", held[7])
    assert (shown["abridged"], content in shown["arguments"]["content"]) == ([], True)
    # Whoever watches is told all of them, whole.
    watched = approvals.Watch(v1.WatchApprovalsRequest(), timeout=60)
    told = [next(watched) for _ in held]
    watched.cancel()
    assert sorted(one.approval_id for one in told) == sorted(held)
    assert not any(one.abridged for one in told)


def test_a_thousand_calls_are_listed_page_by_page(big: Up, channel: grpc.Channel) -> None:
    calls = call_pb2_grpc.CallsStub(channel)
    (big.fixture / "srv/app/large.txt").write_text("read again and again\n" * 2_000)

    def read(_: int) -> str:
        look = proposal("files.read", {"path": "/srv/app/large.txt"}, agent="reader")
        call = calls.Propose(v1.ProposeRequest(proposal=look), timeout=120)
        assert call.outcome == v1.Outcome.OUTCOME_APPLIED, call.error
        assert not call.abridged
        return call.call_id

    with ThreadPoolExecutor(8) as pool:
        made = [*pool.map(read, range(1_000))]
    found: list[v1.Call] = []
    request = v1.ListCallsRequest(agent="reader", limit=1_000)
    while not found or request.before_call_id:
        page = calls.List(request, timeout=60)
        assert page.calls
        assert page.ByteSize() <= 2 * MIB
        found += page.calls
        request.before_call_id = page.next_before_call_id
    assert sorted(one.call_id for one in found) == sorted(made)
    for listed in found:
        assert listed.ByteSize() <= 16 << 10
        assert {mark.pointer for mark in listed.abridged} >= {"/result/result_json"}
    done = big.cmdop("calls", "list", "--agent", "reader", "--limit", "1000", "--json")
    assert [one["call_id"] for one in json.loads(done.stdout)] == [one.call_id for one in found]
    assert "1000 of these are abridged; `cmdop calls show` shows the whole of one" in done.stderr
    _, shown = big.call("calls", "show", made[0])
    assert (shown["abridged"], shown["result"]["content"]) == ([], "read again and again\n" * 2_000)
