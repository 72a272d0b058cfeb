"""Run the gateway that TensorZero's wheel embeds, in the wheel's own environment: ``python tensorzero_gateway.py CONFIG``.

Its address is printed. The function is private: the container image is the supported way, and there is none on most machines.
"""

import signal
import sys

from tensorzero.tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
print(gateway.base_url, flush=True)
signal.pause()
