"""Deployments of one host: the tools as methods, and the whole way from a plan to a release that is healthy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cmdop import v1
from cmdop.client.calls import HELD_STATES, Calls, raise_for_outcome, result_of
from cmdop.document.read import Expected
from cmdop.errors import (
    CmdopError,
    ContentChangedError,
    HealthCheckFailedError,
    OutcomeUnknownError,
    ResultLostError,
)

if TYPE_CHECKING:
    from cmdop.client.hosts import Services, Terminal


@dataclass(frozen=True)
class Check:
    """A health check against loopback of the host."""

    port: int
    """Port on 127.0.0.1."""
    path: str | None = None
    """Path of an HTTP GET; without one an open port is enough."""
    status: int | None = None
    """Status that the answer must have. Default 200."""
    timeout_ms: int | None = None
    """How long one attempt may take. Default 2,000."""
    retries: int | None = None
    """Further attempts after the first one failed. Default 5."""
    interval_ms: int | None = None
    """Pause between attempts. Default 500. All of them together take two minutes at most."""

    def arguments(self) -> dict[str, Any]:
        """As the tools take it."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Hook:
    """A command of a deployment. It is a guarded call of its own, decided and recorded like any other."""

    command: str
    expect: tuple[Expected, ...] = ()
    """Every change and contact it will have."""
    cwd: str | None = None
    """Absolute working directory. Default: the source before the switch, `ROOT/current` after it."""
    timeout_s: int | None = None


@dataclass
class Rollout:
    """What became of a `roll_out`."""

    plan: dict[str, Any]
    """The result of `deploy.plan`."""
    release: dict[str, Any] = field(default_factory=dict[str, Any])
    """The result of `deploy.release`."""
    calls: list[v1.Call] = field(default_factory=list[v1.Call])
    """Every call that was made, in order."""


class Deployments:
    """`client.host(name).deploy`. Each tool returns the call; see `Calls.propose` and `result_of`.

    A person may deploy inside a workspace; what an agent deploys is planned, shown and held for a person.
    """

    def __init__(self, calls: Calls, host: str, terminal: Terminal, services: Services) -> None:
        self._calls = calls
        self._host = host
        self._terminal = terminal
        self._services = services

    async def plan(
        self,
        root: str,
        release: str,
        source: str,
        *,
        digest: str | None = None,
        keep: int | None = None,
        check_before: Check | None = None,
        check_after: Check | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Says everything that `release` would do with the same arguments, and changes nothing.

        Returns:
            The call; its result has `digest`, which `release` needs, `standing`, `live`, `previous`, `prunes`,
            `declares` (the whole effect) and `changes` (the single effects, 200 at most).
        """
        given = {"digest": digest, "keep": keep} | _checks(check_before=check_before, check_after=check_after)
        arguments = {"root": root, "release": release, "source": source} | given
        return await self._propose("plan", arguments, intent, key, wait)

    async def release(
        self,
        root: str,
        release: str,
        source: str,
        digest: str,
        *,
        keep: int | None = None,
        check_before: Check | None = None,
        check_after: Check | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Makes a release live; the same one again changes nothing, and only asks `check_after`.

        One that died after the switch and before its check was over is proved when it is asked for again.

        Args:
            root: Absolute path of the deployment's directory.
            release: Id of the release. One that exists with other content fails with `ReleaseConflictError`.
            source: Absolute path of the directory to release.
            digest: Digest of its tree, as `plan` told it.
            keep: Releases to keep, at least 2; older ones are deleted last. By default all are kept.
            check_before: Asked before the switch; if it fails, nothing is applied.
            check_after: Asked after the switch; if it fails, the release before is live again. Both fail with
                `HealthCheckFailedError`, and the call's outcome and effects say what is on the machine.
            intent: Why, for whoever approves it.
            key: Idempotency key; minted if absent.
            wait: Wait for a person's decision, too.

        Returns:
            The call; its result has `outcome`, `live`, `previous`, `check_before`, `check_after` and `pruned`. While
            somebody else deploys to the root it fails with `DeployLockedError`, which names them.
        """
        given = {"keep": keep} | _checks(check_before=check_before, check_after=check_after)
        arguments = {"root": root, "release": release, "source": source, "digest": digest} | given
        return await self._propose("release", arguments, intent, key, wait)

    async def status(
        self, root: str, *, check: Check | None = None, intent: str = "", key: str | None = None, wait: bool = False
    ) -> v1.Call:
        """Says what is live, which releases are there and what happened; with `check` also whether it is healthy."""
        return await self._propose("status", {"root": root} | _checks(check=check), intent, key, wait)

    async def rollback(
        self,
        root: str,
        *,
        release: str | None = None,
        only_if_live: str | None = None,
        check_after: Check | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Makes the release before, or the one that is named, live again; the result has `live` and `from`.

        With `only_if_live`, the release to go back from, it fails with `ContentChangedError` and changes nothing if
        another one is live by now.
        """
        arguments = {"root": root, "release": release, "only_if_live": only_if_live}
        arguments |= _checks(check_after=check_after)
        return await self._propose("rollback", arguments, intent, key, wait)

    async def roll_out(
        self,
        root: str,
        release: str,
        source: str,
        *,
        before: Iterable[Hook] = (),
        after: Iterable[Hook] = (),
        service: str | None = None,
        check_before: Check | None = None,
        check: Check | None = None,
        keep: int | None = None,
        intent: str = "",
        wait: bool = True,
    ) -> Rollout:
        """Goes the whole way: plan, hooks, release, hooks, restart, check, and back if any of that fails.

        Hooks and the restart are guarded calls of their own. What happens after the switch and fails (a hook, the
        restart, the check) rolls back to the release that was live, and restarts the service once more; so does a host
        that died behind the switch, because nobody knows whether its release works.

        Args:
            root: Absolute path of the deployment's directory.
            release: Id of the release.
            source: Absolute path of the directory to release.
            before: Commands before anything is released; one that fails ends it with nothing released. They may
                change the source: the plan is made after them.
            after: Commands after the switch and before the restart.
            service: Restarted after the switch; see `services`.
            check_before: Asked before the switch.
            check: Asked after the switch, and after the restart if there is one.
            keep: Releases to keep.
            intent: Why, for whoever approves it.
            wait: Wait for a person's decision on whatever is held.

        Raises:
            CmdopError: What failed, after the way back; notes say which release is live, and what waits for a person:
                what was to follow the switch is cancelled, a release that is held is not.
        """
        rollout = Rollout(plan={})
        intent = intent or f"release {release} to {root}"
        # With something to be done between switch and check, the check is not the release's own.
        after = tuple(after)
        later = service is not None or bool(after)
        own = None if later else check
        given: dict[str, Any] = {"keep": keep, "check_before": check_before, "check_after": own, "intent": intent}
        try:
            await self._hooks(before, source, intent, wait, rollout)
            planned = await self.plan(root, release, source, wait=wait, **given)
            rollout.calls.append(planned)
            rollout.plan = result_of(planned)
            released = await self.release(root, release, source, rollout.plan["digest"], wait=wait, **given)
            rollout.calls.append(released)
            rollout.release = result_of(released)
        except CmdopError as error:
            if isinstance(error, ResultLostError) and rollout.plan:
                rollout.release = _lost(rollout.plan, release)
                error.add_note(await self._back(root, service, rollout, intent, wait))
            if isinstance(error, OutcomeUnknownError):
                error.add_note(
                    f"nobody can tell whether {release} is live: ask the status of {root} once the host is back"
                )
            _note_held(error, rollout)
            raise
        if not later:
            return rollout
        try:
            await self._hooks(after, f"{root}/current", intent, wait, rollout)
            await self._settle(root, service, check, intent, wait, rollout)
        except CmdopError as error:
            let_go = await self._let_go(rollout)
            error.add_note(await self._back(root, service, rollout, intent, wait))
            for note in let_go:
                error.add_note(note)
            _note_held(error, rollout)
            raise
        return rollout

    async def _hooks(self, hooks: Iterable[Hook], cwd: str, intent: str, wait: bool, rollout: Rollout) -> None:
        for hook in hooks:
            call = await self._terminal.exec(
                hook.command,
                cwd=hook.cwd or cwd,
                intent=f"{intent}: hook",
                expect=hook.expect,
                timeout_s=hook.timeout_s,
                wait=wait,
            )
            rollout.calls.append(call)
            raise_for_outcome(call)

    async def _settle(
        self, root: str, service: str | None, check: Check | None, intent: str, wait: bool, rollout: Rollout
    ) -> None:
        """Restarts the service and asks whether it is healthy."""
        if service is not None:
            restarted = await self._services.restart(service, intent=intent, wait=wait)
            rollout.calls.append(restarted)
            raise_for_outcome(restarted)
        if check is None:
            return
        asked = await self.status(root, check=check, intent=intent, wait=wait)
        rollout.calls.append(asked)
        found = result_of(asked)["check"]
        if not found["healthy"]:
            raise HealthCheckFailedError(f"the health check after the restart failed: {found['why']}")

    async def _let_go(self, rollout: Rollout) -> list[str]:
        """Cancels what waits for a person: approved later, it would meet another release than the one it was for."""
        notes: list[str] = []
        for at, call in enumerate(rollout.calls):
            if call.state not in HELD_STATES:
                continue
            try:
                await self._calls.cancel(call.call_id, why="what it was to follow is taken back")
                rollout.calls[at] = await self._calls.settled(call.call_id)
            except CmdopError as error:
                notes.append(f"{_named(call)} could not be cancelled: {error}")
                continue
            is_undone = rollout.calls[at].outcome == v1.Outcome.OUTCOME_NOT_APPLIED
            notes.append(f"{_named(call)} {'is cancelled' if is_undone else 'was approved meanwhile, and ran'}")
        return notes

    async def _back(self, root: str, service: str | None, rollout: Rollout, intent: str, wait: bool) -> str:
        """Goes back to what was live, and says what is live now. Never hides the failure that led here."""
        previous = rollout.release["previous"]
        live: str = rollout.release["live"]
        if rollout.release["outcome"] == "unchanged":
            # Whoever made it live may have done so long ago, and nothing of this has changed it.
            return f"{live} was live before, too, and stays live" + (f"; before it was {previous}" if previous else "")
        if previous is None:
            return f"no release was live before, so {live} stays live"
        try:
            back = f"{intent}: back"
            undone = await self.rollback(root, release=previous, only_if_live=live, intent=back, wait=wait)
            rollout.calls.append(undone)
            live = result_of(undone)["live"]
        except ContentChangedError as error:
            return f"nothing was rolled back, because somebody else deployed meanwhile: {error}"
        except ResultLostError:
            # The host died behind this switch, too, and came again: it is applied.
            live = previous
        except OutcomeUnknownError as error:
            return f"nobody can tell whether {live} or {previous} is live: {error}"
        except CmdopError as error:
            return f"{live} is live; it could not be rolled back: {error}"
        try:
            await self._settle(root, service, None, f"{intent}: back", wait, rollout)
        except CmdopError as error:
            return f"rolled back: {live} is live, but service {service} could not be restarted: {error}"
        return f"rolled back: {live} is live"

    async def _propose(
        self, verb: str, arguments: Mapping[str, Any], intent: str, key: str | None, wait: bool
    ) -> v1.Call:
        given = {name: value for name, value in arguments.items() if value is not None}
        intent = intent or f"{verb} {given['root']}"
        return await self._calls.propose(f"deploy.{verb}", self._host, given, intent=intent, key=key, wait=wait)


def _lost(plan: Mapping[str, Any], release: str) -> dict[str, Any]:
    """What became of a release whose host died behind the switch, by its plan."""
    was_live = plan["live"] == release
    previous = plan["previous"] if was_live else plan["live"]
    return {"outcome": "unchanged" if was_live else "released", "live": release, "previous": previous}


def _note_held(error: CmdopError, rollout: Rollout) -> None:
    for call in rollout.calls:
        if call.state in HELD_STATES:
            error.add_note(f"{_named(call)} still waits for a person; approved, it happens without what was to follow")


def _named(call: v1.Call) -> str:
    return f"{call.proposal.action.tool} of call {call.call_id}"


def _checks(**checks: Check | None) -> dict[str, Any]:
    return {name: check.arguments() for name, check in checks.items() if check is not None}
