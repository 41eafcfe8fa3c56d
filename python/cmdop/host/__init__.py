"""The host process: the fixture, the spawner, then the core's daemon. Runs on trio."""

from cmdop.host.process import HostOptions, run
from cmdop.host.supervisor import supervise

__all__ = ["HostOptions", "run", "supervise"]
