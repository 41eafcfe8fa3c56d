"""`cmdop policy`: what a server decides by, and the tools of those who write it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import Parameter

from cmdop import v1
from cmdop.cli.exit import ExitCode
from cmdop.cli.session import AsJson, Server, print_json, reported, usage_error, with_client
from cmdop.client import Client
from cmdop.document import decision_document, error_document, time_text
from cmdop.document.text import in_row
from cmdop.document.words import word

if TYPE_CHECKING:
    from cmdop._bridge import PolicyReview, Review
    from cmdop.policy.cases import Tried
    from cmdop.policy.review import Situation

Entities: TypeAlias = Annotated[
    Path | None, Parameter(help="File with groups and with labels of hosts. [default: none]")
]
Names: TypeAlias = Annotated[list[str] | None, Parameter(name="--policy", negative="", help="A pack or a file.")]


def show_policy(*, as_json: AsJson = False, server: Server = None) -> int:
    """Show the policy of a server: version, files and packs, groups and labels."""

    async def act(client: Client) -> int:
        return _print_status(await client.policies.get(), as_json=as_json)

    return with_client(act, as_json=as_json, server=server)


def reload_policy(*, as_json: AsJson = False, server: Server = None) -> int:
    """Have a server read its policy files anew, with the levels of agents and the approvers of its data directory.

    A broken file is named, and all stays as it was.
    """

    async def act(client: Client) -> int:
        return _print_status(await client.policies.reload(), as_json=as_json)

    return with_client(act, as_json=as_json, server=server)


def check_policy(*names: str, entities: Entities = None, as_json: AsJson = False) -> int:
    """Check policies as a server loads them: all that are given, together.

    Exit code 0: nothing to mend; 2: broken, a server would not take it; 5: a rule never decides.

    Args:
        names: Packs, Cedar files and directories of them.
    """

    def act() -> int:
        policy = _loaded(names, entities)
        findings = policy.findings()
        if as_json:
            print_json({"version": policy.version, "findings": [vars(finding) for finding in findings], "error": None})
        else:
            lines = [f"{it.file}:{it.line}: {it.kind}: {it.problem}; {it.mend}" for it in findings]
            _print([*lines, f"policy {policy.version[:16]}: {len(findings) or 'nothing'} to mend"])
        return ExitCode.FAILED if findings else ExitCode.DONE

    if not names:
        return usage_error("there is nothing to check", as_json=as_json, expected="a pack, a file or a directory")
    return reported(act, as_json=as_json, blank=lambda: {"version": None, "findings": []})


def explain(
    call: str | None = None,
    /,
    *,
    command: str | None = None,
    effect: str | None = None,
    cwd: str | None = None,
    policy: Names = None,
    entities: Entities = None,
    user: str = "user",
    agent: str = "",
    level: str = "ask",
    host: str | None = None,
    workspace: Annotated[list[str] | None, Parameter(negative="")] = None,
    label: Annotated[list[str] | None, Parameter(negative="")] = None,
    home: str | None = None,
    host_facts: Path | None = None,
    as_json: AsJson = False,
    server: Server = None,
) -> int:
    """Say what policy says about a call, a command or an effect, and who decided. Nothing is run.

    A call is explained by what was predicted when it was decided and by its server's policy now, or by --policy.
    A command and an effect need no server.

    Args:
        call: Id of a call.
        command: A shell command.
        effect: KIND:TARGET.
        cwd: Where the command would run. [default: the first workspace, else here]
        user: Who acts.
        agent: The agent that acts for the user. [default: none, a person]
        level: The agent's level.
        host: Name of the host. [default: local]
        workspace: A directory in which agents may change things. Repeat it for more. [default: cwd]
        label: NAME=VALUE of the host. Repeat it for more.
        home: Home directory on the host. [default: yours]
        host_facts: JSON of the host and of what the run did before, as `cmdop policy decide` takes it. What is said
            by another option counts.
    """
    from cmdop.policy.review import Situation, review_command, review_effect

    if sum(it is not None for it in (call, command, effect)) != 1:
        return usage_error("explain exactly one of CALL, --command and --effect", as_json=as_json)
    if level not in ("shadow", "ask", "preview", "auto"):
        return usage_error(f"--level {level} is none", as_json=as_json, expected="shadow, ask, preview or auto")
    if call is not None:
        return _explain_call(call, policy, entities, as_json=as_json, server=server)

    def act() -> int:
        from cmdop.cli.decide import host_of

        facts = None if host_facts is None else host_of(host_facts)
        workspaces = workspace or ([] if facts is None else facts.workspaces)
        here = cwd or (workspaces[0] if workspaces else str(Path.cwd()))
        labels = {name: value for name, _, value in (pair.partition("=") for pair in label or [])}
        situation = Situation(
            user=user,
            agent=agent,
            level=level,
            host=host or ("local" if facts is None else facts.name),
            workspaces=workspaces or [here],
            labels=labels if facts is None else facts.labels | labels,
            home=home or (str(Path.home()) if facts is None else facts.home),
            session=None if facts is None else facts.session,
        )
        loaded = _loaded(policy or ["workspace"], entities)
        if effect is not None:
            return _explain_effect(loaded, effect, situation)
        prediction, review = review_command(loaded, command or "", here, situation)
        return _print_review(loaded.version, prediction, review, as_json=as_json)

    def _explain_effect(loaded: PolicyReview, effect: str, situation: Situation) -> int:
        try:
            found = review_effect(loaded, effect, "terminal.exec", situation)
        except ValueError as error:
            return usage_error(f"--effect {effect}: {error}", as_json=as_json, expected="KIND:TARGET")
        if as_json:
            print_json({"policy_version": loaded.version, **_ruling_document(found.effect, found.ruling)})
        else:
            _print(_ruling_lines(found.effect, found.ruling))
        return ExitCode.DENIED if found.ruling.word == "deny" else ExitCode.DONE

    return reported(act, as_json=as_json)


def _explain_call(call_id: str, policy: Names, entities: Entities, *, as_json: bool, server: str | None) -> int:
    from cmdop._bridge import PolicyReview

    async def act(client: Client) -> int:
        call = await client.calls.get(call_id)
        host = await client.hosts.get(call.proposal.action.host)
        if policy:
            loaded = _loaded(policy, entities)
        else:
            status = await client.policies.get()
            loaded = PolicyReview(v1.PolicySet(files=status.files, entities=status.entities))
        review = loaded.review(call.proposal, call.prediction, level=call.decision.level, host=host)
        return _print_review(loaded.version, call.prediction, review, as_json=as_json)

    return with_client(act, as_json=as_json, server=server)


def try_policy(*files: Path, as_json: AsJson = False) -> int:
    """Try the cases of files: what a policy must say about effects and commands. `docs/policy` shows the format.

    Exit code 0: all hold; 2: a file or a policy is broken; 5: a case does not hold.

    Args:
        files: TOML files of cases.
    """
    from cmdop.policy.cases import load_cases, try_cases

    if not files:
        return usage_error("there is nothing to try", as_json=as_json, expected="a TOML file of cases")

    def act() -> int:
        tried = [(path, each) for path in files for each in try_cases(load_cases(path))]
        failed = [(path, each) for path, each in tried if not each.holds]
        if as_json:
            print_json([_case_document(path, each) for path, each in tried])
        else:
            lines = [f"{path}:{each.line}: {_case_line(each)}" for path, each in failed]
            _print([*lines, f"{len(tried) - len(failed)} of {len(tried)} cases hold"])
        return ExitCode.FAILED if failed else ExitCode.DONE

    return reported(act, as_json=as_json)


def diff_policy(old: str, new: str, /, *, over: Path, entities: Entities = None, as_json: AsJson = False) -> int:
    """Say which recorded calls another policy would decide otherwise. The ledger is only read.

    Calls are decided anew by what was predicted of them. Exit code 0: none differ; 5: some do.

    Args:
        old: A pack, a file or a directory; several with commas between them.
        new: The same of the policy it is compared with.
        over: A server's data directory, or the ledger's directory in it.
    """

    def act() -> int:
        one, two = (_loaded(names.split(","), entities) for names in (old, new))
        ledger = over / "server" if (over / "server" / "log").is_dir() else over
        if not (ledger / "log").is_dir():
            return usage_error(f"--over {over} holds no ledger", as_json=as_json, expected="a server's data directory")
        compared = one.compare(two, ledger)
        if as_json:
            print_json(
                {
                    "old": one.version,
                    "new": two.version,
                    "decided": compared.decided,
                    "skipped": compared.skipped,
                    "differing": [_differing_document(*each) for each in compared.differing],
                }
            )
        else:
            lines = [_differing_line(*each) for each in compared.differing]
            skipped = f", {compared.skipped} of which too little is recorded" if compared.skipped else ""
            _print([*lines, f"{len(compared.differing)} of {compared.decided} calls differ{skipped}"])
        return ExitCode.FAILED if compared.differing else ExitCode.DONE

    return reported(act, as_json=as_json)


def status_document(status: v1.PolicyStatus) -> dict[str, Any]:
    """A policy as JSON."""
    entities = status.entities
    return {
        "version": status.version,
        "loaded_at": time_text(status.loaded_at),
        "files": [{"name": file.name, "pack": file.pack or None, "text": file.text} for file in status.files],
        "groups": {
            "users": {name: [*members.names] for name, members in entities.user_groups.items()},
            "agents": {name: [*members.names] for name, members in entities.agent_groups.items()},
            "hosts": {name: [*members.names] for name, members in entities.host_groups.items()},
        },
        "host_labels": {host: dict(labels.labels) for host, labels in entities.host_labels.items()},
        "levels": _levels(status.autonomy),
        "warnings": [*status.warnings],
    }


def _levels(autonomy: v1.AutonomyConfig) -> dict[str, Any]:
    """Levels by their words; what nobody set is `ask`."""
    agents = {name: word(v1.AutonomyLevel, level) or "ask" for name, level in sorted(autonomy.agents.items())}
    return {"default": word(v1.AutonomyLevel, autonomy.default_level) or "ask", "agents": agents}


def _loaded(names: Sequence[str], entities: Path | None) -> PolicyReview:
    from cmdop._bridge import PolicyReview
    from cmdop.policy.entities import load_entities
    from cmdop.policy.sources import read_sources

    known = v1.PolicyEntities() if entities is None else load_entities(entities)
    return PolicyReview(v1.PolicySet(files=read_sources(names), entities=known))


def _ruling_document(effect: str, ruling: Any) -> dict[str, Any]:
    return {
        "effect": effect,
        "word": ruling.word,
        "policies": [{"id": it.id, "reason": it.reason, "remedy": it.remedy or None} for it in ruling.policies],
        "failed": ruling.failed or None,
    }


def _review_document(version: str, prediction: v1.Prediction, review: Review) -> dict[str, Any]:
    effects = [
        _ruling_document(it.effect, it.ruling) | {"predicted": it.predicted, "declared": it.declared}
        for it in review.effects
    ]
    return {
        "policy_version": version,
        "word": review.word,
        "effects": effects,
        "unanalysable": [*prediction.unanalysable],
        "decision": decision_document(review.decision),
        "error": None if review.error is None else error_document(review.error),
        "nearest": _nearest(review),
    }


def _nearest(review: Review) -> str | None:
    """What of it would be allowed, as near as the engine knows."""
    if review.error is None or review.error.remedy.WhichOneof("kind") != "narrow_effect":
        return None
    narrow = review.error.remedy.narrow_effect
    if narrow.declared or not narrow.allowed_beneath:
        return narrow.declared or None
    kind = narrow.predicted.partition(":")[0]
    return f"{kind}:{narrow.allowed_beneath[0].rstrip('/')}/*"


def _print_review(version: str, prediction: v1.Prediction, review: Review, *, as_json: bool) -> int:
    document = _review_document(version, prediction, review)
    if as_json:
        print_json(document)
    else:
        lines = [f"{review.word}: {review.decision.reason}"]
        lines += [line for it in review.effects for line in _ruling_lines(it.effect, it.ruling, "  ")]
        lines += [f"  cannot be known: {why}" for why in prediction.unanalysable]
        if document["nearest"]:
            lines.append(f"  would be allowed: {document['nearest']}")
        _print(lines)
    return ExitCode.DENIED if review.word == "deny" else ExitCode.DONE


def _ruling_lines(effect: str, ruling: Any, indent: str = "") -> list[str]:
    head = f"{indent}{ruling.word:<8}{effect}"
    if ruling.failed:
        return [head, f"{indent}        policy could not be evaluated: {ruling.failed}"]
    said = [f"{indent}        {it.id}: {it.reason}" for it in ruling.policies]
    return [head, *(said or [f"{indent}        nothing permits it"])]


def _case_document(path: Path, tried: Tried) -> dict[str, Any]:
    return {
        "file": str(path),
        "line": tried.line,
        "name": tried.case.name or None,
        "about": tried.case.effect or tried.case.command,
        "expect": tried.case.expect,
        "by": tried.case.by,
        "word": tried.word,
        "policies": tried.policies,
        "holds": tried.holds,
    }


def _case_line(tried: Tried) -> str:
    name = f"{tried.case.name}: " if tried.case.name else ""
    expected = f"{tried.case.expect} by {tried.case.by}" if tried.case.by else tried.case.expect
    by = f" by {', '.join(tried.policies)}" if tried.policies else ""
    return f"{name}{tried.case.effect or tried.case.command}: expected {expected}, is {tried.word}{by}"


def _about(call: v1.Call) -> str:
    action = call.proposal.action
    if action.tool == "terminal.exec":
        arguments = json.loads(action.arguments_json)
        return str(arguments.get("command") or arguments.get("argv"))
    return f"{action.tool} {action.arguments_json}"


def _because(review: Review) -> list[str]:
    worst = max((_RANK[it.ruling.word] for it in review.effects), default=0)
    found = [it for it in review.effects if _RANK[it.ruling.word] == worst]
    return sorted({policy.id for it in found for policy in it.ruling.policies})


_RANK = {"allow": 0, "depends": 1, "ask": 2, "deny": 3}


def _differing_document(call: v1.Call, one: Review, two: Review) -> dict[str, Any]:
    actor = call.proposal.actor
    return {
        "call_id": call.call_id,
        "about": _about(call),
        "host": call.proposal.action.host,
        "user": actor.user,
        "agent": actor.agent or None,
        "old": {"word": one.word, "policies": _because(one)},
        "new": {"word": two.word, "policies": _because(two)},
    }


def _differing_line(call: v1.Call, one: Review, two: Review) -> str:
    by = ", ".join(_because(two))
    return f"{call.call_id}  {one.word} → {two.word}{f' by {by}' if by else ''}  {_about(call)}"


def _print_status(status: v1.PolicyStatus, *, as_json: bool) -> int:
    if as_json:
        print_json(status_document(status))
        return ExitCode.DONE
    lines = [f"policy {status.version[:16]}, loaded {time_text(status.loaded_at)}"]
    lines += [f"  {file.name}{' (a pack of cmdop)' if file.pack else ''}" for file in status.files]
    levels = _levels(status.autonomy)
    agents = [f"{name} {level}" for name, level in levels["agents"].items()]
    lines.append("  levels: " + ", ".join([*agents, f"other agents {levels['default']}"]))
    lines += [f"  warning: {warning}" for warning in status.warnings]
    _print(lines)
    return ExitCode.DONE


def _print(lines: Sequence[str]) -> None:
    from cmdop.cli.output import console

    text = "\n".join(in_row(line) for line in lines)
    console().print(text, markup=False, highlight=False, soft_wrap=True)
