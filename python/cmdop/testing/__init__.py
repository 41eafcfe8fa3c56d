"""Public fakes: what a test or a demo puts in the place of something that costs money."""

from cmdop.testing.mechanical import Ended, MechanicalAgent
from cmdop.testing.script import read_script
from cmdop.testing.scripted import Ask, Say, ScriptedModel

__all__ = ["Ask", "Ended", "MechanicalAgent", "Say", "ScriptedModel", "read_script"]
