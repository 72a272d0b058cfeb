"""Schemathesis finds no 5xx and no answer outside its schema: a short run; `make fuzz` is the long one."""

import json

from tests.fuzz.run import fuzz


def test_a_short_run_finds_nothing(tmp_path):
    status, report, server = fuzz(tmp_path, "--phases", "examples,coverage,fuzzing", "--max-examples", "3")
    assert status == 0, report
    lines = [json.loads(line) for line in server.logged().splitlines() if line.startswith("{")]
    answered = {
        (line["method"], line["route"]) for line in lines if line["event"] == "request" and line["status"] < 300
    }
    # Nearly every operation did what it is there for, and not only refuse what was wrong.
    assert len(answered) >= 38, sorted(answered)
    assert "Traceback" not in server.logged()
