"""Agents: a model that proposes actions, and the loop that lets none of them run because it said so.

agent = Agent(name="janitor", instructions="Free disk space.", model=OpenAIResponses("gpt-5-mini"))
async with cmdop.Client(agent=agent.name) as client:
    result = await run(agent, "The disk of /srv/app is full.", client=client)
"""

from cmdop.agent.agent import Agent, Limits
from cmdop.agent.events import CallAnswered, CallHeld, RunEvent, RunFinished, TurnTaken
from cmdop.agent.follow import Again, Later, Look, Step, Stop, Wait, follow
from cmdop.agent.loop import Observer, RunResult, run
from cmdop.agent.model import (
    Function,
    FunctionCall,
    FunctionResult,
    Item,
    Model,
    ModelError,
    ModelRequest,
    ModelResponse,
    ModelText,
    OnText,
    Reasoning,
    UserText,
)
from cmdop.agent.offer import Offer

__all__ = [
    "Again",
    "Agent",
    "CallAnswered",
    "CallHeld",
    "Function",
    "FunctionCall",
    "FunctionResult",
    "Item",
    "Later",
    "Limits",
    "Look",
    "Model",
    "ModelError",
    "ModelRequest",
    "ModelResponse",
    "ModelText",
    "Observer",
    "Offer",
    "OnText",
    "Reasoning",
    "RunEvent",
    "RunFinished",
    "RunResult",
    "Step",
    "Stop",
    "TurnTaken",
    "UserText",
    "Wait",
    "follow",
    "run",
]
