"""`cmdop errors`: the table of reasons."""

from __future__ import annotations

import difflib
from typing import Any

from cmdop import v1
from cmdop.cli.exit import OF_REASON
from cmdop.cli.session import AsJson, print_json, usage_error
from cmdop.errors import BY_REASON, reason_name
from cmdop.v1.error_pb2 import reason_spec


def errors(reason: str | None = None, /, *, as_json: AsJson = False) -> int:
    """List the reasons of errors, or show one: what it means, whether to retry, and what to do. Asks no server.

    Args:
        reason: A reason, such as POLICY_DENIED.
    """
    table = {row["reason"]: row for row in _rows()}
    if reason is None:
        if as_json:
            print_json([*table.values()])
        else:
            width = max(map(len, table))
            print("\n".join(f"{name:{width}}  {row['exit_code']}  {row['summary']}" for name, row in table.items()))
        return 0
    row = table.get(reason.upper().replace("-", "_"))
    if row is None:
        near = difflib.get_close_matches(reason.upper(), table, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return usage_error(
            f"no reason is called {reason}{meant}", as_json=as_json, expected="a reason of `cmdop errors`"
        )
    if as_json:
        print_json(row)
        return 0
    print(f"{row['reason']}: {row['summary']}")
    print(f"What to do: {row['mend']}")
    print(f"Remedy: {row['remedy']}{', which a machine can follow where it says how' if row['mechanical'] else ''}")
    print(f"Retry: {row['retry'].replace('_', ' ')}. gRPC code: {row['grpc_code']}. Python: {row['class']}")
    print(f"Exit code: {row['exit_code']}")
    return 0


def _rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for value in v1.Reason.DESCRIPTOR.values:
        # What the stubs of protobuf know of an extension is less than what protoc writes about this one.
        extensions: Any = value.GetOptions().Extensions
        spec, name = extensions[reason_spec], reason_name(value.number)
        if kind := BY_REASON.get(name):
            row = {"reason": name, "summary": spec.summary, "mend": spec.mend, "remedy": spec.remedy}
            row |= {"mechanical": spec.mechanical, "retry": kind.retry, "grpc_code": kind.grpc_code}
            rows.append(row | {"class": kind.__name__, "exit_code": int(OF_REASON[name])})
    return rows
