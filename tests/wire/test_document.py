"""Actions as JSON, calls as JSON."""

from __future__ import annotations

import json

import pytest

from cmdop import v1
from cmdop.document import (
    Expect,
    call_document,
    kind_name,
    parse_expect,
    parse_kind,
    proposal_from_document,
)
from cmdop.errors import MalformedJsonError


def test_every_kind_has_a_text_form_that_reads_back() -> None:
    for number in v1.EffectKind.values():
        if number:
            assert parse_kind(kind_name(number)) == number


def test_the_design_s_example_becomes_a_proposal() -> None:
    proposal = proposal_from_document(
        {
            "tool": "terminal.exec",
            "host": "web-1",
            "intent": "free disk space",
            "arguments": {"command": "rm -rf ./logs/*.gz", "cwd": "/srv/app", "timeout_s": 30},
            "expect": [{"kind": "file.delete", "target": "/srv/app/logs/*.gz", "max_count": 500}],
            "idempotency_key": "k1",
        }
    )
    assert proposal.idempotency_key == "k1"
    assert json.loads(proposal.action.arguments_json)["timeout_s"] == 30
    (effect,) = proposal.action.expect
    assert effect.kind == v1.EffectKind.EFFECT_KIND_FILE_DELETE
    assert effect.max_count == 500
    assert not effect.HasField("min_count")


def test_all_faults_of_an_action_s_shape_come_at_once() -> None:
    with pytest.raises(MalformedJsonError) as caught:
        proposal_from_document(
            {"tool": 5, "arguments": [], "expects": [], "expect": [{"kind": "file.read", "max_count": -1}, "x"]}
        )
    pointers = {violation.pointer for violation in caught.value.violations}
    assert pointers == {"/tool", "/arguments", "/expects", "/expect/0/max_count", "/expect/1"}
    assert caught.value.remedy is not None and caught.value.remedy["kind"] == "fix_arguments"


@pytest.mark.parametrize("document", [None, 3, "x", []])
def test_what_is_no_object_is_refused(document: object) -> None:
    with pytest.raises(MalformedJsonError):
        proposal_from_document(document)


def test_expect_text_keeps_colons_of_its_target() -> None:
    effect = parse_expect("net.connect:db.internal:5432")
    assert (kind_name(effect.kind), effect.target) == ("net.connect", "db.internal:5432")


def test_expect_is_a_tuple_with_counts() -> None:
    assert Expect("file.delete", "/x", max_count=2).min_count is None


def test_a_call_without_an_outcome_prints_null() -> None:
    document = call_document(v1.Call(call_id="c", state=v1.CallState.CALL_STATE_HELD))
    assert document["outcome"] is None
    assert document["state"] == "held"
    json.dumps(document)
