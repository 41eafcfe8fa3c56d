"""The JSON face of the wire: one object for a call, an effect, an error, with enums in their text forms.

The command line prints these, agents are answered with them, and `cmdop call --from` reads one.
Messages of `cmdop.v1` go in, plain dictionaries come out, and the other way round for proposals.
"""

from cmdop.document.read import Expect, action_from_document, expected_effect, parse_expect, proposal_from_document
from cmdop.document.render import (
    Document,
    approval_document,
    call_document,
    decision_document,
    effect_document,
    error_document,
    host_document,
    observation_document,
    remedy_document,
    run_document,
    side_effect_document,
    tool_document,
)
from cmdop.document.words import KINDS, kind_name, parse_kind, time_text, word

__all__ = [
    "KINDS",
    "Document",
    "Expect",
    "action_from_document",
    "approval_document",
    "call_document",
    "decision_document",
    "effect_document",
    "error_document",
    "expected_effect",
    "host_document",
    "kind_name",
    "observation_document",
    "parse_expect",
    "parse_kind",
    "proposal_from_document",
    "remedy_document",
    "run_document",
    "side_effect_document",
    "time_text",
    "tool_document",
    "word",
]
