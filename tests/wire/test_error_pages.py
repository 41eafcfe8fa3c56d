"""Each reason has its page, and what the page shows is an error of that reason."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cmdop import v1
from cmdop.cli import main
from cmdop.errors import BY_REASON, reason_name
from cmdop.v1.error_pb2 import reason_spec

PAGES = Path(__file__).resolve().parents[2] / "docs/errors"
KNOWN = json.loads((PAGES / "examples.json").read_text())
EXAMPLES = {reason: example for reason, example in KNOWN.items() if "why_none" not in example}
BROUGHT_ABOUT = 50
"""How many examples are at least answers of a running server."""


@pytest.mark.parametrize("reason", sorted(BY_REASON))
def test_a_reason_has_a_page_with_the_facts_of_the_table_and_an_error_of_it(reason: str) -> None:
    page = (PAGES / f"{reason}.md").read_text()
    value = v1.Reason.DESCRIPTOR.values_by_name[f"REASON_{reason}"]
    spec = value.GetOptions().Extensions[reason_spec]
    for fact in (spec.summary, spec.mend, f"({spec.grpc_code})", f"`{spec.remedy}`", BY_REASON[reason].__name__):
        assert fact in page, fact
    assert f"`{BY_REASON[reason].retry}`" in page
    (shown,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    error = json.loads(shown)
    assert error["reason"] == reason and error["message"]
    # It tells what to do in the kind that the table names, or says that it has another.
    assert error["remedy"]["kind"] == spec.remedy or "the remedy is another" in page or reason not in EXAMPLES


def test_no_page_is_left_of_a_reason_that_is_gone() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {*BY_REASON, "README"}


def test_each_reason_has_an_example_or_says_why_there_is_none() -> None:
    assert set(KNOWN) == set(BY_REASON)
    for reason, known in KNOWN.items():
        assert reason in EXAMPLES or known["why_none"] in (PAGES / f"{reason}.md").read_text()


def test_examples_are_answers_of_running_servers() -> None:
    assert len(EXAMPLES) >= BROUGHT_ABOUT
    for reason, example in EXAMPLES.items():
        assert example["typed"] and example["error"]["reason"] == reason


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "policy-denied", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["reason"] == "POLICY_DENIED" and shown["remedy"] == "narrow_effect"
    assert main(["errors"]) == 0
    assert all(reason in capsys.readouterr().out for reason in ["FLOOR_DENIED"])
    assert main(["errors", "POLICY_DENYED"]) == 2
    assert "POLICY_DENIED" in capsys.readouterr().err


def test_names_are_numbers_of_the_wire() -> None:
    assert {reason_name(number) for number in v1.Reason.values()} == {*BY_REASON, "UNSPECIFIED"}
