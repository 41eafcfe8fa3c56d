"""Renders `docs/errors`: a page for each reason of the table, with what a command was answered.

The facts are the table's; the examples are those of `tools/error_examples.py`. `tools/regenerate.py` writes them.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

Row = Mapping[str, Any]

FOLDER: Final = Path("docs/errors")
EXAMPLES: Final = FOLDER / "examples.json"

EXIT: Final = Path("python/cmdop/cli/exit.py")
"""Read as a file: these pages are written before the package can be imported."""

CODES: Final = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""Names of the canonical gRPC status codes, by number."""

RETRIES: Final = {
    "never": "No. The same call fails again.",
    "after_fix": "When it is mended as the remedy says, under a new key.",
    "after_delay": "Yes, the same call, later.",
    "same_key": "Yes, under the same idempotency key: it runs at most once.",
    "reconcile": "Not before it is known what became of it.",
}

KINDS: Final = {
    "fix_arguments": "`fix_arguments {path, expected, change}`: `path` is a JSON pointer into the action. A `change`, "
    "if there is one, is certain and makes the call do no more than it said: put this `value` there, `remove` what is "
    "there, or `rename` it.",
    "narrow_effect": "`narrow_effect {predicted, declared, allowed_beneath, refused}`: `refused` are the entries of "
    "`expect` without which nothing reaches too far; `declared` and `allowed_beneath` say what policy allows.",
    "declare_effect": "`declare_effect {effects}`: add these to `expect`, if they are meant.",
    "request_approval": "`request_approval {approval_id}`: a person decides; the call is held until then.",
    "use_tool": "`use_tool {name, arguments}`: call this tool. `arguments` says with which arguments, if that is certain.",
    "retry_after": "`retry_after {ms, new_key}`: the same action after that time, under a new key if `new_key` is true.",
    "reconcile": "`reconcile {call_id}`: look on the machine what became of this call, then say so: "
    "`cmdop calls reconcile CALL --outcome applied|not_applied --why TEXT`.",
    "stop": "`stop {why}`: nothing that the caller can do helps.",
}

WHO: Final = {
    True: "A machine can follow the remedy by itself wherever it says the change, the tool or the time.",
    False: "No machine can mend it by itself: the author of the call, or a person, decides what to do.",
}


def pages(root: Path, rows: Sequence[Row], families: Sequence[tuple[int, int, str]]) -> dict[Path, str]:
    """Every page by its path, and their index."""
    file = root / EXAMPLES
    examples: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    exits = runpy.run_path(str(root / EXIT))
    named = [dict(row) | {"exit": _exit(exits, row["name"])} for row in rows if row["number"]]
    found = {FOLDER / f"{row['name']}.md": _page(row, examples.get(row["name"])) for row in named}
    return found | {FOLDER / "README.md": _index(named, families, _meanings(exits))}


def _exit(exits: Mapping[str, Any], reason: str) -> str:
    code, as_end = exits["OF_REASON"][reason], exits["AS_END"].get(reason)
    return f"{int(code)}" if as_end is None else f"{int(code)}; {int(as_end)} as the end of a call"


def _page(row: Row, example: Mapping[str, Any] | None) -> str:
    return f"""# {row["name"]}

{row["summary"]}

| | |
|---|---|
| number | {row["number"]} |
| gRPC status | {CODES[row["grpc_code"]]} ({row["grpc_code"]}) |
| Python class | `cmdop.errors.{row["class"]}` |
| may it be retried | {RETRIES[row["retry"]]} (`{row["retry"]}`) |
| exit code of `cmdop` | {row["exit"]} |
| remedy | `{row["remedy"]}` |
| mended by a machine | {"where the remedy says how" if row["mechanical"] else "no"} |

## What to do

{row["mend"]} {WHO[row["mechanical"]]}

{KINDS[row["remedy"]]}

## Example

{_example(row, example)}"""


def _example(row: Row, example: Mapping[str, Any] | None) -> str:
    if example is None or "why_none" in example:
        why = f" {example['why_none']}" if example else ""
        intro = f"No command brings it about alone.{why} Without details of its own it is told like this:"
        return f"{intro}\n\n{_json(_made(row))}"
    error = example["error"]
    kind = (error["remedy"] or {}).get("kind")
    also = "" if kind == row["remedy"] else f"\nHere the remedy is another:\n\n{KINDS[kind]}\n"
    return f"""```sh
{chr(10).join(example["typed"])}
```

The last command is answered with:

{_json(error)}{also}"""


def _json(document: Any) -> str:
    return f"```json\n{json.dumps(document, indent=2, ensure_ascii=False)}\n```\n"


def _made(row: Row) -> dict[str, Any]:
    """The error of a reason without details, as the libraries make it."""
    match row["remedy"]:
        case "retry_after":
            remedy: dict[str, Any] = {"kind": "retry_after", "ms": 1000, "new_key": False}
        case "request_approval":
            remedy = {"kind": "request_approval", "approval_id": ""}
        case "stop" | "reconcile":
            remedy = {"kind": "stop", "why": row["mend"]}
        case _:
            remedy = {"kind": "fix_arguments", "path": "", "expected": row["mend"]}
    return {"reason": row["name"], "message": row["summary"], "remedy": remedy}


def _meanings(exits: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {int(code)} | {meaning} |" for code, meaning in exits["MEANINGS"].items())
    return f"| exit code | what it says |\n|---|---|\n{rows}"


def _index(rows: Sequence[Row], families: Sequence[tuple[int, int, str]], exits: str) -> str:
    parts = [
        "# Errors\n\nEvery refusal and failure has a reason of one table, `proto/cmdop/v1/error.proto`, and a remedy that a\n"
        "program can follow; `cmdop errors REASON` prints a row of it. `cmdop.agent.follow` is what a machine does with\n"
        "one, and `cmdop.testing.MechanicalAgent` does nothing else. These pages are written by `make regenerate`;\n"
        "their examples by `make errors`. The exit code is that of a command that was answered with it:\n\n"
        f"{exits}\n"
    ]
    for family in dict.fromkeys(name for _, _, name in families[1:]):
        blocks = [range(low, high) for low, high, name in families if name == family]
        lines = [
            f"| [{row['name']}]({row['name']}.md) | {row['summary']} | `{row['remedy']}` |"
            f" {'yes' if row['mechanical'] else ''} | {row['exit']} |"
            for row in rows
            if any(row["number"] in block for block in blocks)
        ]
        head = f"## {family}\n\n| reason | what it means | remedy | mended by a machine | exit code |\n|---|---|---|---|---|\n"
        parts.append(head + "\n".join(lines) + "\n")
    return "\n".join(parts)
