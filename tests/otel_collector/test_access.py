"""Who may push: loopback without a token, everything else with one; TLS; what a back end demands."""

import base64
import itertools
import subprocess
from pathlib import Path

import grpc  # type: ignore[import-untyped] # no stubs among the locked packages
import pytest
from opentelemetry.sdk.metrics.export import MetricExportResult

from tests.otel_collector.certificate import make_certificate
from tests.otel_collector.deployment import (
    BASE,
    FILES,
    FRAGMENTS,
    LISTEN,
    TLS,
    Collector,
    loaded,
    pushing,
    stored,
)
from tests.support.backend import environment_of_tests, free_port, wait_for
from tests.support.stack.programs import program
from tests.support.stack.victoria import running_victoria

OK, FAILURE = MetricExportResult.SUCCESS, MetricExportResult.FAILURE
TOKEN = "a-token"
EVERYWHERE = {"COLLECTOR_HOST": "0.0.0.0"}  # noqa: S104 - that it can be asked for is the point


@pytest.fixture
def token(tmp_path: Path) -> dict[str, str]:
    """Return the variable that names a file with the token."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return {"COLLECTOR_TOKEN_FILE": str(path)}


def bearer(word: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"authorization": f"Bearer {word}"}


def test_without_the_overlay_nothing_listens_beyond_loopback(tmp_path: Path, token: dict[str, str]) -> None:
    """The base listens on 127.0.0.1, whatever host the environment asks for."""
    with Collector(tmp_path / "one", BASE, FRAGMENTS["debug"], environment=EVERYWHERE | token) as collector:
        assert {"127.0.0.1"} == {address for address, _ in collector.listening()}


def test_every_receiver_that_can_leave_loopback_demands_a_token() -> None:
    """No file gives a receiver an address that a variable decides without giving it the authenticator."""
    opened = [
        f"{path.name}: {protocol}"
        for path in FILES
        for receiver in loaded(path).get("receivers", {}).values()
        for protocol, settings in receiver["protocols"].items()
        if not settings.get("endpoint", "127.0.0.1:").startswith("127.0.0.1:")
        and settings.get("auth") != {"authenticator": "bearertokenauth"}
    ]
    assert opened == []


@pytest.mark.parametrize("with_grpc", [True, False], ids=["grpc", "http"])
def test_beyond_loopback_only_the_token_opens(
    with_grpc: bool,  # noqa: FBT001 - a parameter of pytest's
    tmp_path: Path,
    token: dict[str, str],
) -> None:
    """With the overlay both protocols refuse a missing and a wrong token, and the SDK sees it fail."""
    file = tmp_path / "out.json"
    environment = EVERYWHERE | token | {"COLLECTOR_FILE": str(file)}
    with Collector(tmp_path / "one", BASE, LISTEN, FRAGMENTS["file"], environment=environment) as collector:
        assert not {"127.0.0.1"} >= {address for address, _ in collector.listening()}
        results = []
        for headers in ({}, bearer("wrong"), bearer(""), {"authorization": TOKEN}, bearer(TOKEN)):
            with pushing(collector, "access", grpc=with_grpc, headers=headers) as pusher:
                results += pusher.push()
        wait_for(lambda: file.exists() and file.read_text().count('"pushed"') == 1)
        assert collector.own("otelcol_receiver_accepted_metric_points") == 1
    assert results == [FAILURE, FAILURE, FAILURE, FAILURE, OK]


def test_a_changed_token_is_read_again(tmp_path: Path, token: dict[str, str]) -> None:
    """A token written into the file while the Collector runs is accepted, and the old one is no more."""
    with Collector(tmp_path / "one", BASE, LISTEN, FRAGMENTS["debug"], environment=token) as collector:
        Path(token["COLLECTOR_TOKEN_FILE"]).write_text("a-new-token\n")

        def result(word: str) -> MetricExportResult:
            with pushing(collector, "rotation", grpc=False, headers=bearer(word)) as pusher:
                return pusher.push()[0]

        wait_for(lambda: result("a-new-token") is OK, 20)
        assert FAILURE is result(TOKEN)


@pytest.mark.parametrize("content", [None, "", "\n"], ids=["missing", "empty", "blank"])
def test_without_a_token_it_does_not_start(content: str | None, tmp_path: Path) -> None:
    """A token file that is missing or empty keeps the Collector from starting."""
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    assert "credentials file" in refusal(tmp_path, BASE, LISTEN, COLLECTOR_TOKEN_FILE=str(path))


def test_the_overlay_in_the_wrong_place_does_not_start(tmp_path: Path, token: dict[str, str]) -> None:
    """Listed before the base, the overlay leads to a refusal to start, never to an open receiver."""
    assert "bearertokenauth" in refusal(tmp_path, LISTEN, BASE, **token | EVERYWHERE)


def refusal(folder: Path, *files: Path, **environment: str) -> str:
    """Return what a Collector says that ends by itself because it cannot start."""
    ports = {f"COLLECTOR_{name}_PORT": str(free_port()) for name in ("GRPC", "HTTP", "HEALTH", "METRICS")}
    ended = subprocess.run(
        [program("otelcol"), *(f"--config={file}" for file in (*files, FRAGMENTS["debug"]))],
        env=environment_of_tests() | ports | {"COLLECTOR_STORAGE": str(folder)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    return ended.stderr.splitlines()[-1]


def test_tls(tmp_path: Path, token: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the TLS overlay both protocols speak TLS with the given certificate, and nothing else."""
    # The library below the SDK's HTTP exporter prefers them to the certificate that it was given.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    made = make_certificate(tmp_path)
    environment = token | {
        "COLLECTOR_TLS_CERT_FILE": str(made.certificate),
        "COLLECTOR_TLS_KEY_FILE": str(made.key),
    }
    trusted = grpc.ssl_channel_credentials(made.certificate.read_bytes())
    with Collector(
        tmp_path / "one", BASE, LISTEN, TLS, FRAGMENTS["debug"], environment=environment
    ) as collector:
        secure_url = collector.http_endpoint.replace("http://", "https://") + "/v1/metrics"
        options = [
            {"grpc": True, "insecure": False, "credentials": trusted},
            {"grpc": False, "endpoint": secure_url, "certificate_file": str(made.certificate)},
            {"grpc": True},
            {"grpc": False},
        ]
        results = []
        for each in options:
            with pushing(collector, "tls", headers=bearer(TOKEN), timeout=2, **each) as pusher:
                results += pusher.push()
    assert results == [OK, OK, FAILURE, FAILURE]


@pytest.mark.parametrize(
    ("fragment", "from_file"), list(itertools.product(["otlp-http", "otlp-grpc"], [False, True]))
)
def test_a_token_for_another_collector(
    fragment: str,
    from_file: bool,  # noqa: FBT001 - a parameter of pytest's
    tmp_path: Path,
    token: dict[str, str],
) -> None:
    """A back end's headers, its token among them, are a YAML map in a variable or in a file that it names."""
    (tmp_path / "headers.yaml").write_text(f"Authorization: Bearer {TOKEN}\nX-Scope-OrgID: aoss\n")
    headers = f"${{file:{tmp_path}/headers.yaml}}" if from_file else f"{{Authorization: Bearer {TOKEN}}}"
    file = tmp_path / "out.json"
    second = Collector(
        tmp_path / "second",
        BASE,
        LISTEN,
        FRAGMENTS["file"],
        environment=token | {"COLLECTOR_FILE": str(file)},
    )
    environment = {
        "OTLP_HTTP_ENDPOINT": second.http_endpoint,
        "OTLP_HTTP_HEADERS": headers,
        "OTLP_GRPC_ENDPOINT": second.grpc,
        "OTLP_GRPC_HEADERS": headers,
        "OTLP_GRPC_INSECURE": "true",
    }
    with (
        second,
        Collector(tmp_path / "first", BASE, FRAGMENTS[fragment], environment=environment) as first,
        pushing(first, "headers") as pusher,
    ):
        assert pusher.push() == [OK]
        wait_for(lambda: file.exists() and '"pushed"' in file.read_text())


def test_credentials_for_remote_write(tmp_path: Path) -> None:
    """Remote write carries the headers that a store demands."""
    credentials = base64.b64encode(b"aoss:secret").decode()
    store = running_victoria(tmp_path / "data", "-httpAuth.username=aoss", "-httpAuth.password=secret")
    store.http.auth = ("aoss", "secret")
    environment = {
        "REMOTE_WRITE_ENDPOINT": f"{store.url}/api/v1/write",
        "REMOTE_WRITE_HEADERS": f"{{Authorization: Basic {credentials}}}",
    }
    fragment = FRAGMENTS["prometheus-remote-write"]
    with (
        store,
        Collector(tmp_path / "one", BASE, fragment, environment=environment) as collector,
        pushing(collector, "credentials") as pusher,
    ):
        assert pusher.push() == [OK]
        wait_for(lambda: stored(store, 'job="credentials"') == [1.0], 20)
