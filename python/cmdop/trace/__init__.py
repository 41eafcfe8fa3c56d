"""Traces: everything recorded about a call or a run, as one document or one readable tree."""

from cmdop.trace.document import trace_document
from cmdop.trace.tree import trace_tree

__all__ = ["trace_document", "trace_tree"]
