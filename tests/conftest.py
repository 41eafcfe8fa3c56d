"""What every room's tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Code with an event loop is tested on both."""
    backend: str = request.param
    return backend
