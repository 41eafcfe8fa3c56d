"""The SDK: guarded calls from Python, on asyncio and on trio."""

from cmdop.client.approvals import Approvals
from cmdop.client.calls import Calls, raise_for_outcome, result_of
from cmdop.client.client import DEFAULT_ADDRESS, Client
from cmdop.client.deployments import Check, Deployments, Hook, Rollout
from cmdop.client.hosts import Files, HostClient, Hosts, Terminal
from cmdop.client.runs import Runs, Traces
from cmdop.client.tools import Tools

__all__ = [
    "DEFAULT_ADDRESS",
    "Approvals",
    "Calls",
    "Check",
    "Client",
    "Deployments",
    "Files",
    "Hook",
    "HostClient",
    "Hosts",
    "Rollout",
    "Runs",
    "Terminal",
    "Tools",
    "Traces",
    "raise_for_outcome",
    "result_of",
]
