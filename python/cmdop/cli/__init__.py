"""The command line."""

from cmdop.cli.app import main

__all__ = ["main"]
