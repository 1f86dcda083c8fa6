"""`/dashboard`: the empty page, its files, and what it asks for."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from morag_client.dashboard.actions import action_routes
from morag_client.dashboard.assets import assets, served
from morag_client.dashboard.data import Data
from morag_client.dashboard.desk import Desk
from morag_client.dashboard.guard import Guard, Refused, answering
from morag_client.dashboard.headers import protect
from morag_client.dashboard.sessions import Sessions
from morag_client.dashboard.visits import Visits


def dashboard_routes(desk: Desk, sessions: Sessions) -> list[Route]:
    """The routes of the dashboard, below where the receiver is."""
    guard = Guard(desk, sessions)

    async def static(request: Request) -> Response:
        return protect(served(request, request.path_params["path"]), is_data=False)

    async def page(request: Request) -> Response:
        # Where there is a password, the page is for everybody: there is nothing in it but the way to log in.
        if not sessions.has_password and await guard.right(request) is None:
            return Response(f"The dashboard is {guard.closed().detail}.\n", 403, media_type="text/plain")
        return Response(_shell(request), media_type="text/html")

    async def unknown(request: Request) -> Response:
        raise Refused(404, f"there is nothing at {request.url.path}")

    return [
        Route("/dashboard/static/{path:path}", static, methods=["GET"]),
        *Visits(desk, guard, sessions).routes(),
        *Data(desk, guard).routes(),
        *action_routes(desk, guard),
        Route("/dashboard/api/{path:path}", answering(unknown)),
        Route("/dashboard", answering(page), methods=["GET"]),
        Route("/dashboard/{path:path}", answering(page), methods=["GET"]),
    ]


def _shell(request: Request) -> bytes:
    """The page, with addresses relative to the one it is at: what stands before /dashboard is the proxy's affair."""
    path = request.path_params.get("path")
    base = b"dashboard/" if path is None else b"./" + b"../" * path.count("/")
    return assets()["index.html"].content.replace(b"{base}", base)
