"""Rini beside other gateways, measured here and now: ``python -m bench.peers``.

Each gateway is installed in a folder of its own outside the project (``RINI_PEERS_DIR``), runs as one worker on the same core before the
same upstream, and is measured in turn with the others.
"""
