"""The endpoints that stand before FastAPI, whose layers cost a call of a model a sixth of its CPU time (docs/performance.md)."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from rini.api import problems
from rini.errors import BodyTooLargeError, MethodNotAllowedError, RiniError

Render = Callable[[Scope, RiniError], ASGIApp]
"""Makes the answer that tells a client of an error."""


class Answering(Protocol):
    """What answers requests, and tells in the form of the endpoint that is asked of an error that came before it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        ...

    def render(self, scope: Scope, error: RiniError) -> ASGIApp:
        """Return the answer that tells of an error."""
        ...


def as_problem(scope: Scope, error: RiniError) -> ASGIApp:
    """Return the error as an RFC 9457 problem document."""
    return problems.render(Request(scope), error)


class Route(NamedTuple):
    """An endpoint. ``path_format`` is what logs and metrics call it: an exact path, or one with ``{name}`` for any text, once or more.

    ``also`` are other ways in which clients write it.
    """

    path_format: str
    endpoint: ASGIApp
    method: str = "POST"
    render: Render = as_problem
    also: tuple[str, ...] = ()


class LeanRoutes:
    """Calls the endpoint of a path, with or without its trailing slash; all else goes on to ``others``.

    Of several patterns that fit, the longest counts. What stands in the place of a ``{name}`` is in ``scope["path_params"]``.
    """

    def __init__(self, routes: Iterable[Route], others: ASGIApp) -> None:
        self._others = others
        self.routes = tuple(routes)
        self._exact: dict[str, list[Route]] = {}
        patterns: dict[str, list[Route]] = {}
        for route in self.routes:
            for path in (route.path_format, *route.also):
                if "{" in path:
                    patterns.setdefault(path, []).append(route)
                    continue
                self._exact.setdefault(path, []).append(route)
                self._exact[path.rstrip("/") if path.endswith("/") else path + "/"] = self._exact[path]
        self._patterns = [_Pattern.of(path, patterns[path]) for path in sorted(patterns, key=len, reverse=True)]
        self._first = tuple({pattern.before for pattern in self._patterns})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the endpoint, and answer with what tells of the error that it raises before it began to answer."""
        routes = self._found(scope) if scope["type"] == "http" else None
        if routes is None:
            await self._others(scope, receive, send)
            return
        method = scope["method"]
        for route in routes:
            if route.method == method:
                break
        else:
            route = routes[0]
            scope["route"] = route
            allowed = ", ".join(each.method for each in routes)
            error = MethodNotAllowedError(
                f"{route.path_format} takes {allowed}, not {method}.", headers={"allow": allowed}
            )
            await route.render(scope, error)(scope, receive, send)
            return
        scope["route"] = route
        try:
            await route.endpoint(scope, receive, send)
        except RiniError as error:
            await route.render(scope, error)(scope, receive, send)
        except HTTPException as error:  # the gate's, for a body that turns out too large on the way
            if error.status_code != BodyTooLargeError.status:
                raise
            await route.render(scope, BodyTooLargeError(str(error.detail)))(scope, receive, send)

    def render(self, scope: Scope, error: RiniError) -> ASGIApp:
        """Return the answer to a request that failed before it came to its endpoint, in that endpoint's own form."""
        routes = self._found(scope)
        return (routes[0].render if routes else as_problem)(scope, error)

    def _found(self, scope: Scope) -> list[Route] | None:
        path = scope["path"]
        routes = self._exact.get(path)
        if routes is None and path.startswith(self._first):
            for pattern in self._patterns:
                held = pattern.held(path.removesuffix("/"))
                if held is not None:
                    scope["path_params"] = held
                    return pattern.routes
        return routes


class _Pattern(NamedTuple):
    before: str
    path: re.Pattern[str]
    routes: list[Route]

    @classmethod
    def of(cls, path: str, routes: list[Route]) -> "_Pattern":
        before, *rest = re.split(r"\{(\w+)\}", path)
        names, between = rest[::2], rest[1::2]
        held = "".join(f"(?P<{name}>.+){re.escape(text)}" for name, text in zip(names, between, strict=True))
        return cls(before, re.compile(re.escape(before) + held, re.DOTALL), routes)

    def held(self, path: str) -> dict[str, str] | None:
        """Return what stands in the places of the names; None where the path is another one."""
        if not path.startswith(self.before):
            return None
        found = self.path.fullmatch(path)
        return None if found is None else found.groupdict()
