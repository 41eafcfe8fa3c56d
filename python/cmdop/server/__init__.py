"""The server process: configuration from files, the core, the vocabulary, and signals. Runs on trio."""

from cmdop.server.process import serve, serve_until_signal
from cmdop.server.settings import read_config

__all__ = ["read_config", "serve", "serve_until_signal"]
