"""What is around a page when it is run: mostly one backend, for some pages more or nothing."""

import ssl
from contextlib import ExitStack
from pathlib import Path

import httpx
import yaml

from tests.documentation.pages import Block
from tests.documentation.running import Prepare, Surroundings
from tests.otel_collector.certificate import make_certificate
from tests.otel_collector.deployment import BASE, FRAGMENTS, LISTEN, TLS, Collector
from tests.support.backend import BackendProcess, running_backend, wait_for
from tests.support.stack.victoria import running_victoria

KEY = "a-key-of-the-tests"
BACKEND_PORT = "8000"


def prepare(page: str, blocks: tuple[Block, ...]) -> Prepare:
    """Return what puts a page's surroundings there: a backend where the page does not start one itself."""
    if found := SURROUNDINGS.get(page):
        return found
    starts_one = any(block.mark == "stays" and f":{BACKEND_PORT}" in block.word for block in blocks)
    return nothing if starts_one else backend


def nothing(here: Surroundings, around: ExitStack) -> None:
    """Leave a page alone with the programs."""


def backend(here: Surroundings, around: ExitStack) -> None:
    """Run a backend without a key."""
    _backend(here, around)


def backend_with_a_key(here: Surroundings, around: ExitStack) -> None:
    """Run a backend with the key that `make secrets` has made, and give the reader an SSH key."""
    _backend(here, around, AOSS_API_KEY=KEY)
    (here.folder / "secrets/aoss_api_key").write_text(f"{KEY}\n")
    (here.home / ".ssh").mkdir()
    (here.home / ".ssh/id_ed25519").write_text("no key\n")


def collectors(here: Surroundings, around: ExitStack) -> None:
    """Give the Collectors of a page their variables."""
    made = make_certificate(here.home)
    (here.home / "token").write_text("a-token\n")
    here.environment |= {
        "COLLECTOR_FILE": str(here.home / "out.json"),
        "COLLECTOR_TLS_CERT_FILE": str(made.certificate),
        "COLLECTOR_TLS_KEY_FILE": str(made.key),
        "COLLECTOR_TOKEN_FILE": str(here.home / "token"),
        "OTLP_GRPC_ENDPOINT": "dns:///localhost:1",
        "OTLP_HTTP_ENDPOINT": "https://127.0.0.1:1",
        "REMOTE_WRITE_ENDPOINT": "https://127.0.0.1:1",
    }


def vendors(here: Surroundings, around: ExitStack) -> None:
    """Run a stand-in for each vendor of the page, which takes nothing without the credentials.

    At the end of the page each must have been given the metrics of the backend. Two speak TLS; the store of
    remote write does not.
    """
    made = make_certificate(here.home)
    (here.home / "accepted").write_text("YOUR-TOKEN\n")
    # As vendors have it who do not use the header Authorization.
    header = here.home / "header.yaml"
    header.write_text(
        yaml.safe_dump({"extensions": {"bearertokenauth": {"header": "api-key", "scheme": ""}}})
    )

    def collector(name: str, *overlays: Path) -> Collector:
        settings = {
            "COLLECTOR_FILE": str(here.home / f"{name}.json"),
            "COLLECTOR_TOKEN_FILE": str(here.home / "accepted"),
            "COLLECTOR_TLS_CERT_FILE": str(made.certificate),
            "COLLECTOR_TLS_KEY_FILE": str(made.key),
        }
        files = (BASE, LISTEN, TLS, *overlays, FRAGMENTS["file"])
        return around.enter_context(Collector(here.home / name, *files, environment=settings))

    http, grpc = collector("http", header), collector("grpc")
    http_address = http.http_endpoint.replace("http:", "https:")
    store = around.enter_context(
        running_victoria(here.home / "store", "-httpAuth.username=YOUR-USER", "-httpAuth.password=YOUR-KEY")
    )
    for address in (f"{http_address}/v1/metrics", f"{store.url}/api/v1/write"):
        trusted = ssl.create_default_context(cafile=made.certificate)
        assert httpx.post(address, verify=trusted, trust_env=False).status_code == 401
    store.http.auth = ("YOUR-USER", "YOUR-KEY")

    here.environment |= {"SSL_CERT_FILE": str(made.certificate), "OTEL_METRIC_EXPORT_INTERVAL": "300"}
    here.replaced |= {
        "https://otlp.vendor.example": http_address,
        "otlp.vendor.example:4317": grpc.grpc,
        "https://metrics.vendor.example": store.url,
    }

    def check() -> None:
        for name in ("http", "grpc"):
            assert '"aoss.executions"' in (here.home / f"{name}.json").read_text(encoding="utf-8")
        wait_for(lambda: store.query("aoss_executions_total"), 30)

    here.check = check


def _backend(here: Surroundings, around: ExitStack, **settings: str) -> BackendProcess:
    running = around.enter_context(running_backend(here.home / "aoss", settings))
    here.ports[int(BACKEND_PORT)] = running.port
    return running


SURROUNDINGS: dict[str, Prepare] = {
    "docs/collector.md": collectors,
    "docs/deployment.md": backend_with_a_key,
    "docs/vendors.md": vendors,
}
