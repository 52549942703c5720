"""Prometheus: does it reach the backend, has it the rules and the data, and does it know an Alertmanager?

Source: Prometheus documentation, "HTTP API".
"""

from urllib.parse import urlencode

from pydantic import BaseModel, Field

from app.doctor.findings import Finding, Section
from app.doctor.web import Answer, ForeignAnswerError, T, Web
from app.fetching import NoAnswerError
from telemetry.catalogue import EXECUTIONS

CHECKS = ("answers", "target", "rules", "data", "alertmanager")

JOB = "aoss-backend"
# The groups in prometheus/rules.
GROUPS = (
    "aoss-objectives",
    "aoss-compatibility",
    "aoss-success",
    "aoss-latency",
    "aoss-breakdowns",
    "aoss-backend",
    "aoss-executions",
    "aoss-success-burn",
    "aoss-latency-burn",
    "aoss-pipeline",
    "aoss-collector",
    "prometheus",
)
QUERY = f'sum({EXECUTIONS.prometheus_name}{{job="{JOB}"}})'

_LOG = "See the log of Prometheus"
# By what stands in a target's last error.
_TARGET_REMEDIES = (
    ("http status 401", "Put the backend's AOSS_METRICS_TOKEN into the credentials_file of the job"),
    ("http status 400", "Add the name by which Prometheus calls the backend to AOSS_ALLOWED_HOSTS"),
    (
        "http status 403",
        "Set AOSS_API_KEY and AOSS_METRICS_TOKEN at the backend: without a key only loopback is answered",
    ),
    ("connection refused", "See that the backend runs, and listens at an address that Prometheus reaches"),
    ("no such host", "Correct the target's name, or use an address"),
    ("deadline exceeded", "See what keeps the backend busy, or raise scrape_timeout"),
    ("sample limit", "Raise sample_limit of the job, or see why there are so many series"),
    ("content-type", "See what answers there: a proxy, or another program"),
)


class _Build(BaseModel):
    version: str


class _BuildAnswer(BaseModel):
    data: _Build


class _Target(BaseModel):
    labels: dict[str, str]
    health: str
    last_error: str = Field(alias="lastError")
    address: str = Field(alias="scrapeUrl")
    seconds: float = Field(alias="lastScrapeDuration")


class _Targets(BaseModel):
    active: list[_Target] = Field(alias="activeTargets")


class _TargetsAnswer(BaseModel):
    data: _Targets


class _Rule(BaseModel):
    name: str
    health: str
    last_error: str = Field("", alias="lastError")


class _Group(BaseModel):
    name: str
    rules: list[_Rule]


class _Groups(BaseModel):
    groups: list[_Group]


class _RulesAnswer(BaseModel):
    data: _Groups


class _Sample(BaseModel):
    value: tuple[float, str]


class _Vector(BaseModel):
    result: list[_Sample]


class _QueryAnswer(BaseModel):
    data: _Vector


class _Alertmanager(BaseModel):
    url: str


class _Alertmanagers(BaseModel):
    active: list[_Alertmanager] = Field(alias="activeAlertmanagers")


class _AlertmanagersAnswer(BaseModel):
    data: _Alertmanagers


def examine_prometheus(web: Web, url: str) -> list[Finding]:
    """Return the findings about a Prometheus."""
    section = Section("prometheus", CHECKS)
    try:
        version = _get(web, url, "/api/v1/status/buildinfo", _BuildAnswer).data.version
    except NoAnswerError as error:
        section.fail("answers", str(error), "Start Prometheus, or give its address with --prometheus")
        section.skip_rest("Prometheus does not answer")
        return section.findings
    except ForeignAnswerError as error:
        section.fail(
            "answers", f"{url} is no Prometheus: {error}", "Give the address of Prometheus with --prometheus"
        )
        section.skip_rest("this is no Prometheus")
        return section.findings
    section.ok("answers", f"Prometheus {version} answers at {url}")
    for check, examine in (
        ("target", _check_target),
        ("rules", _check_rules),
        ("data", _check_data),
        ("alertmanager", _check_alertmanager),
    ):
        try:
            examine(section, web, url)
        except (NoAnswerError, ForeignAnswerError) as error:
            section.fail(check, str(error), _LOG)
    return section.findings


def _check_target(section: Section, web: Web, url: str) -> None:
    answer = _get(web, url, "/api/v1/targets?state=active", _TargetsAnswer)
    targets = [target for target in answer.data.active if target.labels.get("job") == JOB]
    if not targets:
        section.fail(
            "target",
            f"it has no target of the job {JOB}",
            "Add the job from prometheus/snippets/existing-prometheus.yml; the rules want that name",
        )
    for target in targets:
        if target.health == "up":
            section.ok("target", f"{target.address} is up, scraped in {target.seconds * 1000:.0f} ms")
        elif target.health == "down":
            section.fail(
                "target", f"{target.address} is down: {target.last_error}", _remedy(target.last_error)
            )
        else:
            section.warn(
                "target", f"{target.address} has not been scraped yet", "Ask again after a scrape interval"
            )


def _remedy(error: str) -> str:
    found = (remedy for part, remedy in _TARGET_REMEDIES if part in error.lower())
    return next(found, "Open the address from the machine of Prometheus")


def _check_rules(section: Section, web: Web, url: str) -> None:
    groups = [
        group for group in _get(web, url, "/api/v1/rules", _RulesAnswer).data.groups if group.name in GROUPS
    ]
    rules = [rule for group in groups for rule in group.rules]
    missing = sorted(set(GROUPS) - {group.name for group in groups})
    if missing:
        section.fail(
            "rules",
            f"not loaded: {', '.join(missing)}",
            "Name prometheus/rules/*.yml in rule_files, and reload Prometheus",
        )
    failing = [rule for rule in rules if rule.health == "err"]
    for rule in failing:
        section.fail(
            "rules", f"{rule.name} fails: {rule.last_error}", "See docs/runbooks/PrometheusRulesFailing.md"
        )
    waiting = sum(rule.health == "unknown" for rule in rules)
    if waiting and not missing and not failing:
        section.warn(
            "rules",
            f"{waiting} of {len(rules)} are not evaluated yet",
            "Ask again after an evaluation interval",
        )
    elif not missing and not failing:
        section.ok("rules", f"{len(rules)} rules in {len(groups)} groups, all healthy")


def _check_data(section: Section, web: Web, url: str) -> None:
    path = f"/api/v1/query?{urlencode({'query': QUERY})}"
    result = _get(web, url, path, _QueryAnswer).data.result
    if result:
        section.ok("data", f"{QUERY} is {result[0].value[1]}")
    else:
        section.fail("data", f"{QUERY} has no data", "See `target` above; after a first scrape there is data")


def _check_alertmanager(section: Section, web: Web, url: str) -> None:
    active = _get(web, url, "/api/v1/alertmanagers", _AlertmanagersAnswer).data.active
    if active:
        section.ok("alertmanager", f"alerts go to {', '.join(each.url for each in active)}")
    else:
        section.warn(
            "alertmanager",
            "it knows no Alertmanager: alerts are shown, and nobody is told",
            "Name one under alerting in the configuration, as in prometheus/prometheus.yml",
        )


def _get(web: Web, url: str, path: str, model: type[T]) -> T:
    return _successful(web.get(f"{url}{path}")).parsed(model)


def _successful(answer: Answer) -> Answer:
    if answer.status != 200:
        raise ForeignAnswerError(f"it answers {answer.said()}")
    return answer
