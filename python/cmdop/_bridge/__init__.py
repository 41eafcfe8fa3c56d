"""The Python end of the bridge. No other package imports `cmdop._core`.

Rust pushes items to a bounded queue and rings an eventfd; `Bridge` runs one pump per event loop that
drains batches and hands each item to whoever waits for it. Calls into the core never wait.
"""

from cmdop._bridge.bridge import Bridge, JudgementHandler
from cmdop._bridge.client import CoreClient
from cmdop._bridge.decider import CoreDecider, Foreseen
from cmdop._bridge.host import CoreHost
from cmdop._bridge.items import Kind
from cmdop._bridge.machine import (
    Spawner,
    check_json,
    core_version,
    die_with_parent,
    enter_fixture,
    meant_tool,
    probe,
    start_logging,
    start_spawner,
)
from cmdop._bridge.review import CoreSession, Finding, PolicyReview, Review, Reviewed, Ruling, packs, predict
from cmdop._bridge.server import CoreServer
from cmdop._bridge.stream import Stream

__all__ = [
    "Bridge",
    "CoreClient",
    "CoreDecider",
    "CoreHost",
    "CoreServer",
    "CoreSession",
    "Finding",
    "Foreseen",
    "JudgementHandler",
    "Kind",
    "PolicyReview",
    "Review",
    "Reviewed",
    "Ruling",
    "Spawner",
    "Stream",
    "check_json",
    "core_version",
    "die_with_parent",
    "enter_fixture",
    "meant_tool",
    "packs",
    "predict",
    "probe",
    "start_logging",
    "start_spawner",
]
