"""What has no preview says where it is looked at."""

from __future__ import annotations

import pytest
from tests.live import Up

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("verb", ["show", "commit", "discard"])
def test_a_call_that_is_held_before_it_runs_names_its_approval(up: Up, verb: str) -> None:
    code, held = up.call(
        *("call", "files.read", "--host", "local", "--agent", "cleaner", "--intent", "look"),
        *("--arg", "path=/home/user/.ssh/id_ed25519"),
    )
    assert (code, held["state"]) == (4, "held"), held
    code, answer = up.call("preview", verb, held["call_id"])
    assert (code, answer["error"]["reason"]) == (4, "APPROVAL_REQUIRED"), answer
    assert f"`cmdop approvals show {held['approval_id']}`" in answer["error"]["message"]
    remedy = answer["error"]["remedy"]
    assert (remedy["kind"], remedy["approval_id"]) == ("request_approval", held["approval_id"])
    assert up.call("approvals", "reject", held["approval_id"])[0] == 0
    code, answer = up.call("preview", verb, held["call_id"])
    assert (code, answer["error"]["reason"]) == (2, "APPROVAL_NOT_PENDING"), answer
