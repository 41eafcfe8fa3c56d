"""Hosts, and the tools of one host as methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from cmdop import v1
from cmdop.client.calls import Calls
from cmdop.client.connection import Connection
from cmdop.client.deployments import Deployments
from cmdop.document.read import Expected


class Hosts:
    """`client.hosts`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self) -> list[v1.Host]:
        """Every host that ever attached, by name."""
        answer = await self._connection.unary("Hosts/List", v1.ListHostsRequest(), v1.ListHostsResponse)
        return [*answer.hosts]

    async def get(self, name: str) -> v1.Host:
        """One host, with what it was found to be able to do.

        Raises:
            UnknownHostError: None of that name ever attached.
        """
        return await self._connection.unary("Hosts/Get", v1.GetHostRequest(name=name), v1.Host)


class HostClient:
    """The tools of one host."""

    def __init__(self, calls: Calls, name: str) -> None:
        self.name = name
        """Name of the host."""
        self.terminal: Terminal = Terminal(calls, name)
        """Commands, each tried on a private copy of the machine first."""
        self.files: Files = Files(calls, name)
        """Files, without a shell; their effects follow from the arguments."""
        self.processes: Processes = Processes(calls, name)
        """Processes, listed and signalled."""
        self.services: Services = Services(calls, name)
        """Services, kept by systemd or by the host daemon itself."""
        self.deploy: Deployments = Deployments(calls, name, self.terminal, self.services)
        """Deployments: releases, health checks, and the way back."""


class Terminal:
    """`client.host(name).terminal`."""

    def __init__(self, calls: Calls, host: str) -> None:
        self._calls = calls
        self._host = host

    async def exec(
        self,
        command: str | Sequence[str],
        *,
        cwd: str,
        intent: str = "",
        expect: Iterable[Expected] = (),
        timeout_s: int | None = None,
        cpu_s: int | None = None,
        memory_mb: int | None = None,
        processes: int | None = None,
        file_mb: int | None = None,
        disk_mb: int | None = None,
        pty: tuple[int, int] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Runs a line for bash, or a program with its arguments.

        Args:
            command: Text is a line for bash; a sequence is a program and its arguments, which no shell reads.
            cwd: Absolute working directory.
            intent: Why, for whoever approves it.
            expect: Every change and contact it will have.
            timeout_s: It is killed with its descendants after this long; 1 to 3,600, default 60.
            cpu_s: Processor seconds of all its processes; 1 to 14,400, default 600.
            memory_mb: MiB of memory of all its processes; 1 to 65,536, default 4,096.
            processes: Processes and threads at the same time; 1 to 16,384, default 1,024.
            file_mb: MiB of one file that it writes; 1 to 262,144, default 16,384.
            disk_mb: MiB of everything that it changes; 1 to 262,144, default 16,384.
            pty: Give it a terminal of so many rows and columns; all its output is then in `stdout`.
            env: Variables beside the host's clean environment.
            stdin: Its standard input.
            key: Idempotency key; minted if absent.
            wait: Wait for a person's decision, too.

        Returns:
            The call; its result has `exit_code`, `signal`, `limit`, `stdout`, `stderr` and `usage`. See
            `Calls.propose`.
        """
        given = {
            "timeout_s": timeout_s,
            "cpu_s": cpu_s,
            "memory_mb": memory_mb,
            "processes": processes,
            "file_mb": file_mb,
            "disk_mb": disk_mb,
            "pty": None if pty is None else {"rows": pty[0], "cols": pty[1]},
            "env": None if env is None else dict(env),
            "stdin": stdin,
        }
        what = {"command": command} if isinstance(command, str) else {"argv": [*command]}
        arguments = what | {"cwd": cwd} | _present(given)
        return await self._calls.propose(
            "terminal.exec", self._host, arguments, intent=intent, expect=expect, key=key, wait=wait
        )


class Files:
    """`client.host(name).files`. Each returns the call; see `Calls.propose` and `result_of`."""

    def __init__(self, calls: Calls, host: str) -> None:
        self._calls = calls
        self._host = host

    async def read(
        self,
        path: str,
        *,
        offset: int | None = None,
        limit: int | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Reads `limit` bytes (at most 1 MiB) from `offset`; the result has `content`, `size`, `sha256`."""
        arguments = {"path": path} | _present({"offset": offset, "limit": limit})
        return await self._propose("read", arguments, intent, key, wait)

    async def list(
        self,
        path: str,
        *,
        recursive: bool | None = None,
        limit: int | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Lists a directory; the result has `entries` with path, type, size and mode."""
        arguments = {"path": path} | _present({"recursive": recursive, "limit": limit})
        return await self._propose("list", arguments, intent, key, wait)

    async def stat(
        self,
        path: str,
        *,
        digest: bool | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Describes what lies at a path; the result has `type`, `size`, `mode`, `user`, `modified_ms` and more.

        Args:
            path: Absolute path. A link is described, not followed.
            digest: Compute the SHA-256 of a regular file, too.
            intent: Why, for whoever approves it.
            key: Idempotency key; minted if absent.
            wait: Wait for a person's decision, too.
        """
        return await self._propose("stat", {"path": path} | _present({"digest": digest}), intent, key, wait)

    async def search(
        self,
        path: str,
        *,
        glob: str | None = None,
        pattern: str | None = None,
        ignore_case: bool | None = None,
        limit: int | None = None,
        timeout_s: int | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Finds files beneath a directory by name, by content, or by both.

        Args:
            path: Absolute path of the directory.
            glob: Names to find, relative to `path`: `*.py` in the directory itself, `**/*.py` anywhere beneath.
            pattern: Regular expression that a line must match, without look-around and back-references.
            ignore_case: Match `pattern` in either case.
            limit: Matches to return at most; 1 to 10,000, default 200.
            timeout_s: It answers with what it has after this long; 1 to 60, default 10.
            intent: Why, for whoever approves it.
            key: Idempotency key; minted if absent.
            wait: Wait for a person's decision, too.

        Returns:
            The call; its result has `matches` (path, line, text), `truncated` (the bound that ended it, or None),
            `files` and `skipped` (counts of binary, large, secret, unreadable files and of mounts).
        """
        given = {
            "glob": glob,
            "pattern": pattern,
            "ignore_case": ignore_case,
            "limit": limit,
            "timeout_s": timeout_s,
        }
        return await self._propose("search", {"path": path} | _present(given), intent, key, wait)

    async def write(
        self,
        path: str,
        content: str,
        *,
        encoding: Literal["utf-8", "base64"] | None = None,
        mode: str | None = None,
        if_exists: Literal["replace", "fail"] | None = None,
        offset: int | None = None,
        expected_sha256: str | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Writes a whole file, or with `offset` a part of one, atomically.

        Args:
            path: Absolute path.
            content: Text, or base64 if `encoding` says so.
            encoding: How `content` is written down. Default `utf-8`.
            mode: Permission bits in octal, such as `0644`.
            if_exists: What to do about a file that exists. Default `replace`.
            offset: Keep the file and put `content` at this byte, at most at its end; needs `expected_sha256`. A large
                file is written chunk by chunk, each with the `size` and `sha256` that the one before it returned.
            expected_sha256: Fails with `ContentChangedError` if the file is not the one that was read.
            intent: Why, for whoever approves it.
            key: Idempotency key; minted if absent.
            wait: Wait for a person's decision, too.
        """
        given = {
            "encoding": encoding,
            "mode": mode,
            "if_exists": if_exists,
            "offset": offset,
            "expected_sha256": expected_sha256,
        }
        return await self._propose("write", {"path": path, "content": content} | _present(given), intent, key, wait)

    async def edit(
        self,
        path: str,
        edits: Iterable[Mapping[str, Any]],
        *,
        expected_sha256: str | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Replaces exact pieces of a text file, all of them or none.

        Args:
            path: Absolute path of a file of UTF-8 text, at most 16 MiB.
            edits: Mappings with `old`, `new` and perhaps `count`, how often `old` must occur (default 1). Done one
                after the other. One whose text is not there as often fails with `ContentChangedError`, which names it.
            expected_sha256: Fails with `ContentChangedError` if the file is not the one that was read.
            intent: Why, for whoever approves it.
            key: Idempotency key; minted if absent.
            wait: Wait for a person's decision, too.

        Returns:
            The call; its result has `size`, `sha256`, `before_sha256` and `replaced`.
        """
        arguments = {"path": path, "edits": [dict(edit) for edit in edits]}
        return await self._propose(
            "edit", arguments | _present({"expected_sha256": expected_sha256}), intent, key, wait
        )

    async def mkdir(
        self,
        path: str,
        *,
        parents: int | None = None,
        mode: str | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Makes a directory; one that is there already is left as it is. The result has `created`.

        Args:
            path: Absolute path.
            parents: How many directories above it may be made, too; 0 to 32, default 0.
            mode: Permission bits in octal; default `0755`.
            intent: Why, for whoever approves it.
            key: Idempotency key; minted if absent.
            wait: Wait for a person's decision, too.
        """
        return await self._propose(
            "mkdir", {"path": path} | _present({"parents": parents, "mode": mode}), intent, key, wait
        )

    async def chmod(
        self, path: str, mode: str, *, intent: str = "", key: str | None = None, wait: bool = False
    ) -> v1.Call:
        """Sets permission bits, in octal such as `0640`, of a file or directory; the result has `before` and `mode`."""
        return await self._propose("chmod", {"path": path, "mode": mode}, intent, key, wait)

    async def move(
        self,
        source: str,
        to: str,
        *,
        overwrite: bool | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Moves a file or a directory within one file system, in one step.

        Args:
            source: Absolute path of what is moved.
            to: Absolute path that it shall have.
            overwrite: Replace a file that is there. Without it that fails with `PathExistsError`.
            intent: Why, for whoever approves it.
            key: Idempotency key; minted if absent.
            wait: Wait for a person's decision, too.

        Returns:
            The call; its result has `count`, `bytes` and `overwritten`. Between file systems it fails with
            `UnsupportedChangeError`: copy, then delete.
        """
        arguments = {"from": source, "to": to} | _present({"overwrite": overwrite})
        return await self._propose("move", arguments, intent, key, wait)

    async def copy(
        self,
        source: str,
        to: str,
        *,
        recursive: bool | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Copies a file, or a directory with `recursive`, to a free place, where all of it appears at once.

        Permission bits and modification times are kept and links are copied as links; owners are not copied.

        Returns:
            The call; its result has `count` and `bytes`.
        """
        arguments = {"from": source, "to": to} | _present({"recursive": recursive})
        return await self._propose("copy", arguments, intent, key, wait)

    async def delete(
        self,
        path: str,
        *,
        recursive: bool | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Deletes a file, or a directory with `recursive`; the result has `count` and `bytes`."""
        return await self._propose("delete", {"path": path} | _present({"recursive": recursive}), intent, key, wait)

    async def _propose(
        self, verb: str, arguments: Mapping[str, Any], intent: str, key: str | None, wait: bool
    ) -> v1.Call:
        intent = intent or f"{verb} {arguments.get('path') or arguments['from']}"
        return await self._calls.propose(f"files.{verb}", self._host, arguments, intent=intent, key=key, wait=wait)


class Processes:
    """`client.host(name).processes`. Each returns the call; see `Calls.propose` and `result_of`."""

    def __init__(self, calls: Calls, host: str) -> None:
        self._calls = calls
        self._host = host

    async def list(
        self,
        name: str | None = None,
        *,
        limit: int | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Lists processes, or those of one program name; the result has `processes` and `truncated`."""
        intent = intent or f"list processes {name or ''}".rstrip()
        arguments = _present({"name": name, "limit": limit})
        return await self._calls.propose("process.list", self._host, arguments, intent=intent, key=key, wait=wait)

    async def signal(
        self,
        pid: int,
        name: str,
        *,
        started: int | None = None,
        signal: Literal["TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT"] | None = None,
        intent: str = "",
        key: str | None = None,
        wait: bool = False,
    ) -> v1.Call:
        """Sends a signal to one process, after a person approved it: no private copy holds it back.

        Args:
            pid: Its id.
            name: Its `name` in `list`; another process under the id fails with `ContentChangedError`.
            started: Its `started` in `list`, which tells even two processes of one name apart.
            signal: Which signal. Default `TERM`.
            intent: Why, for whoever approves it.
            key: Idempotency key; minted if absent.
            wait: Wait for a person's decision, too.

        Returns:
            The call; its result has `after`: `exited`, `running` or `stopped`, a second later at most.
        """
        intent = intent or f"signal {name} ({pid})"
        arguments = {"pid": pid, "name": name} | _present({"started": started, "signal": signal})
        return await self._calls.propose("process.signal", self._host, arguments, intent=intent, key=key, wait=wait)


class Services:
    """`client.host(name).services`. Each returns the call; see `Calls.propose` and `result_of`.

    Every change waits for a person's approval: no private copy holds it back. A service that does not do as it is told
    fails with `CommandFailedError`, which says what it said last.
    """

    def __init__(self, calls: Calls, host: str) -> None:
        self._calls = calls
        self._host = host

    async def status(self, name: str, *, intent: str = "", key: str | None = None, wait: bool = False) -> v1.Call:
        """Says how a service is; the result has `state`, `pid`, `exit_code`, `healthy` and `supervisor`."""
        return await self._propose("status", {"name": name}, intent, key, wait)

    async def logs(
        self, name: str, *, lines: int | None = None, intent: str = "", key: str | None = None, wait: bool = False
    ) -> v1.Call:
        """Reads the last `lines` (default 100) that a service wrote; the result has `text` and `truncated`."""
        return await self._propose("logs", {"name": name} | _present({"lines": lines}), intent, key, wait)

    async def start(self, name: str, *, intent: str = "", key: str | None = None, wait: bool = False) -> v1.Call:
        """Starts a service and waits until it runs and its check passes; the result is as that of `status`."""
        return await self._propose("start", {"name": name}, intent, key, wait)

    async def stop(self, name: str, *, intent: str = "", key: str | None = None, wait: bool = False) -> v1.Call:
        """Stops a service; the result is as that of `status`."""
        return await self._propose("stop", {"name": name}, intent, key, wait)

    async def restart(self, name: str, *, intent: str = "", key: str | None = None, wait: bool = False) -> v1.Call:
        """Stops and starts a service and waits until its check passes; the result is as that of `status`."""
        return await self._propose("restart", {"name": name}, intent, key, wait)

    async def reload(self, name: str, *, intent: str = "", key: str | None = None, wait: bool = False) -> v1.Call:
        """Has a running service read its configuration again; the result is as that of `status`."""
        return await self._propose("reload", {"name": name}, intent, key, wait)

    async def _propose(
        self, verb: str, arguments: Mapping[str, Any], intent: str, key: str | None, wait: bool
    ) -> v1.Call:
        intent = intent or f"{verb} {arguments['name']}"
        return await self._calls.propose(f"service.{verb}", self._host, arguments, intent=intent, key=key, wait=wait)


def _present(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was left out: the tool's own defaults apply."""
    return {name: value for name, value in arguments.items() if value is not None}
