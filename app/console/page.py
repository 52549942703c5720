"""The page and its files; nothing in them is loaded from elsewhere, and nobody needs a key to load them."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

PREFIX = "/console/"
HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Asked for anew each time, and mostly answered with 304: after an upgrade no page is of two versions.
    "Cache-Control": "no-cache",
}

_files = StaticFiles(directory=Path(__file__).parent / "static")


async def _page(request: Request) -> Response:
    return await _answer("index.html", request)


async def _file(request: Request) -> Response:
    return await _answer(request.path_params["name"], request)


async def _answer(name: str, request: Request) -> Response:
    response = await _files.get_response(name, request.scope)
    response.headers.update(HEADERS)
    return response


ROUTES = (Route("/", _page), Route(PREFIX + "{name:path}", _file))


def is_page(path: str) -> bool:
    """Return whether a path is that of the page or of one of its files."""
    return path == "/" or path.startswith(PREFIX)
