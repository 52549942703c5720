"""The page and its files, as they are served."""

import hashlib
from pathlib import Path

import pytest

from app.console import page
from tests.support.backend import BackendProcess, running_backend

STATIC = Path(page.__file__).parent / "static"
FILES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file())
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
VENDORED = {
    "uPlot.esm.js": "5dd9b3281aa64b461b42d9945f6adb2649d346502b12281a9ae0d46599a80eba",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}


def test_the_page(backend: BackendProcess) -> None:
    """The page is served at /, to a browser that is told to load and run nothing from elsewhere."""
    answer = backend.http.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.text == (STATIC / "index.html").read_text()
    policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


@pytest.mark.parametrize("name", FILES)
def test_a_file(backend: BackendProcess, name: str) -> None:
    """Each file has its type and the page's headers, and is sent again only when it has changed."""
    answer = backend.http.get(f"/console/{name}")
    kind = answer.headers["content-type"].partition(";")[0]
    assert (answer.status_code, answer.content) == (200, (STATIC / name).read_bytes())
    assert kind == TYPES.get(Path(name).suffix, kind)
    assert {key: answer.headers[key] for key in page.HEADERS} == page.HEADERS
    again = backend.http.get(f"/console/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = backend.http.head(f"/console/{name}")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(answer.content)))


@pytest.mark.parametrize(
    "path",
    ["/console/", "/console/none.js", "/console/%2e%2e/page.py", "/console/..%2fpage.py", "/console/vendor"],
)
def test_no_other_file(backend: BackendProcess, path: str) -> None:
    """What is no file of the page is not found."""
    assert backend.http.get(path).status_code == 404


def test_without_the_key(data_dir: Path) -> None:
    """Who has no key gets the page, which asks for it, and no sample."""
    with running_backend(data_dir, {"AOSS_API_KEY": "the key"}) as backend:
        got = [
            backend.http.get(path).status_code for path in ("/", "/console/main.js", "/api/console/samples")
        ]
        assert got == [200, 200, 401]
        assert backend.http.post("/").status_code == 405
        key = {"Authorization": "Bearer the key"}
        assert backend.http.get("/api/console/samples", headers=key).status_code == 200
        assert backend.http.get("/", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(("name", "digest"), VENDORED.items())
def test_the_library_is_unchanged(name: str, digest: str) -> None:
    """The charts' library is the released one."""
    content = (STATIC / "vendor" / "uplot" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
