import io
import json
import logging

import pytest
import structlog

from rini.telemetry import logs


class Lines(io.BytesIO):
    """What was logged."""

    def raw(self) -> list[bytes]:
        return self.getvalue().split(b"\n")[:-1]

    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.raw()]


@pytest.fixture
def logged():
    """Logs as JSON from level info on, into memory; everything as before afterwards."""
    level = logging.root.level
    stream = Lines()
    logs.configure_logs("json", "info", stream=stream)
    yield stream
    logging.captureWarnings(False)
    logging.root.handlers = [each for each in logging.root.handlers if not isinstance(each, logs._FromLibraries)]
    logging.root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()
