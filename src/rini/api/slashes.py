"""Paths with and without their trailing slash are the same."""

from starlette.types import ASGIApp, Receive, Scope, Send


class OtherSlash:
    """Where no route fits, tries the path with its trailing slash taken off or put on: a redirect would lose a POST's body."""

    def __init__(self, router: ASGIApp, not_found: ASGIApp) -> None:
        self._router = router
        self._not_found = not_found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Try the other path; the second time there is none."""
        path: str = scope.get("path", "/")
        if scope["type"] != "http" or path == "/" or "rini.other_slash" in scope:
            scope["path"] = scope.get("rini.other_slash", path)
            await self._not_found(scope, receive, send)
            return
        scope["rini.other_slash"] = path
        scope["path"] = path.rstrip("/") if path.endswith("/") else path + "/"
        await self._router(scope, receive, send)
