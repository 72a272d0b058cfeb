"""The figures of docs/performance.md, measured here and now: ``python -m bench``.

The server's CPU time is what counts (the wall clock is noise on a shared machine), always in turn with a bare uvicorn application that
runs beside it. Upstream and load generator are this package's own and stay on another core.
"""
