import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rini.telemetry import metrics


def value(name, **labels):
    return metrics._registry.get_sample_value(name, {key: str(label) for key, label in labels.items()}) or 0


def test_a_call_is_counted_and_timed():
    before = value("rini_model_calls_total", provider="p1", model="m", outcome="complete")
    metrics.observe_call("p1", "m", "complete", 0.2, first_token_seconds=0.05)
    metrics.observe_call("p1", "m", "complete", 0.3)
    assert value("rini_model_calls_total", provider="p1", model="m", outcome="complete") == before + 2
    assert value("rini_model_call_seconds_count", provider="p1") == 2
    assert value("rini_model_call_seconds_sum", provider="p1") == pytest.approx(0.5)
    assert value("rini_model_first_token_seconds_count", provider="p1") == 1


def test_names_that_no_provider_knows_make_no_series():
    for number in range(50):
        metrics.observe_call("p2", f"invented-{number}", "refused", 0.1)
    assert value("rini_model_calls_total", provider="p2", model="other", outcome="refused") == 50
    assert b"invented" not in metrics.render()[0]


def test_models_beyond_the_bound_share_a_label(monkeypatch):
    monkeypatch.setattr(metrics, "_models", set())
    for number in range(metrics.MAX_MODELS + 20):
        metrics.observe_call("p3", f"model-{number}", "complete", 0.1)
    assert value("rini_model_calls_total", provider="p3", model="other", outcome="complete") == 20
    assert len(re.findall(rb'rini_model_calls_total.*provider="p3"', metrics.render()[0])) == metrics.MAX_MODELS + 1


def test_a_known_models_failures_are_its_own(monkeypatch):
    monkeypatch.setattr(metrics, "_models", set())
    metrics.observe_call("p4", "m", "complete", 0.1)
    metrics.observe_call("p4", "m", "provider_failed", 0.1)
    assert value("rini_model_calls_total", provider="p4", model="m", outcome="provider_failed") == 1


def test_each_token_is_in_one_class():
    metrics.observe_tokens("p5", 100, 50, cache_read_tokens=60, cache_write_tokens=10, reasoning_tokens=20)
    metrics.observe_tokens("p5", 1, 0)
    found = {
        name: value("rini_tokens_total", **{"provider": "p5", "class": name})
        for name in ("input", "cache_read", "cache_write", "output", "reasoning")
    }
    assert found == {"input": 31, "cache_read": 60, "cache_write": 10, "output": 30, "reasoning": 20}


def test_streams_rows_and_units():
    rows, streams = value("rini_ledger_rows_total"), value("rini_streams_open")
    metrics.observe_ledger_rows(3)
    metrics.observe_db_unit("write", 0.002)
    metrics.stream_opened()
    assert value("rini_streams_open") == streams + 1
    metrics.stream_closed()
    assert value("rini_streams_open") == streams
    assert value("rini_ledger_rows_total") == rows + 3
    assert value("rini_db_unit_seconds_bucket", kind="write", le="0.0025") >= 1


def test_the_text_is_what_prometheus_reads():
    metrics.observe_request("GET", "/a/{b}", 200, 0.01)
    text, kind = metrics.render()
    assert kind.startswith("text/plain")
    assert b"# TYPE rini_http_requests_total counter" in text
    assert b'rini_http_requests_total{method="GET",route="/a/{b}",status="200"}' in text
    assert b"_created" not in text
    metrics.request_started()


APP = """
    import os, sys, time
    from pathlib import Path
    from fastapi import FastAPI, Response
    from rini.telemetry import metrics
    from rini.telemetry.logs import configure_logs
    from rini.telemetry.middleware import RequestContext

    configure_logs("json", "warning")
    api = FastAPI()

    @api.get("/pid/{any}")
    async def pid(any: str):
        time.sleep(0.01)  # so that the other worker takes the next connection
        return os.getpid()

    @api.get("/stuck")
    async def stuck():
        metrics.stream_opened()
        return os.getpid()

    @api.get("/metrics")
    def show():
        text, kind = metrics.render()
        return Response(text, media_type=kind)

    app = RequestContext(api)

    if __name__ == "__main__":
        import uvicorn
        metrics.prepare_multiprocess(Path(sys.argv[2]))
        uvicorn.run("served:app", host="127.0.0.1", port=int(sys.argv[1]), workers=2, log_config=None)
"""


@pytest.fixture
def served(tmp_path):
    """Two real workers; returns a function that asks one path, each time over a new connection."""
    (tmp_path / "served.py").write_text(textwrap.dedent(APP))
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "counter_1.db").write_bytes(b"left by a former server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    source = str(Path(metrics.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((source, str(tmp_path)))}
    server = subprocess.Popen([sys.executable, "served.py", str(port), str(folder)], cwd=tmp_path, env=environment)

    def ask(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.read().decode()

    try:
        for _ in range(200):
            try:
                ask("/metrics")
                break
            except OSError:
                time.sleep(0.1)
        ask.folder = folder
        yield ask
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def sample(text, series):
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(series + " "))


def settled(served, expected):
    """Ask until the samples are as expected, for two seconds at most: a worker counts just after its answer has left."""
    for _ in range(100):
        text = served("/metrics")
        samples = {series: sample(text, series) for series in expected}
        if samples == expected:
            break
        time.sleep(0.02)
    return samples


def test_two_processes_add_up(served, monkeypatch):
    pids = []
    with ThreadPoolExecutor(8) as together:
        while len(pids) < 400 and len(set(pids)) < 2:
            pids += map(int, together.map(served, [f"/pid/{number}" for number in range(40)]))
    assert len(set(pids)) == 2
    series = 'rini_http_requests_total{method="GET",route="/pid/{any}",status="200"}'
    expected = {
        series: len(pids),
        'rini_http_request_seconds_count{route="/pid/{any}"}': len(pids),
        'rini_http_request_seconds_bucket{le="+Inf",route="/pid/{any}"}': len(pids),
        "rini_http_requests_in_flight": 1,  # the one that asks
    }
    for _ in range(4):  # whichever worker answers
        assert settled(served, expected) == expected
    stuck = int(served("/stuck"))
    assert settled(served, {"rini_streams_open": 1}) == {"rini_streams_open": 1}
    # What a dead worker had in flight is forgotten, what it counted is not.
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(served.folder))
    metrics.worker_died(stuck)
    text = served("/metrics")
    assert sample(text, "rini_streams_open") == 0
    assert sample(text, series) == len(pids)
