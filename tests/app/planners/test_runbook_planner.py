"""Which runbook answers which request, and what is said when none does."""

import shutil
from pathlib import Path

import pytest

from app.errors import NoRunbookError
from app.planners.plan import PlanRequest, Step
from app.planners.request_words import stem, stems
from app.planners.runbook_planner import (
    RUNBOOKS,
    Runbook,
    RunbookFileError,
    RunbookPlanner,
    load_runbooks,
    match,
)
from telemetry.labels import AgentType

PLANNER = RunbookPlanner()

ANSWERED = [
    ("general", "check the health of this server", "server-health"),
    ("general", "Is everything OK with this machine?", "server-health"),
    ("general", "give me a quick overview", "server-health"),
    ("general", "What's wrong with the server?", "server-health"),
    ("general", "How is the server doing today?", "server-health"),
    ("general", "why is the server so slow", "cpu-load"),
    ("general", "CPU usage is high, what is eating it?", "cpu-load"),
    ("general", "how much memory is left?", "memory"),
    ("general", "did the OOM killer run?", "memory"),
    ("general", "Check disk space", "disk-space"),
    ("general", "which directories are the biggest", "disk-space"),
    ("general", "we get 'no space left on device'", "disk-space"),
    ("general", "free memory", "memory"),
    ("general", "show me the disk I/O", "disk-io"),
    ("general", "list failed services", "services"),
    ("general", "top processes please", "processes"),
    ("general", "are there zombie processes?", "processes"),
    ("general", "show recent errors in the system log", "system-logs"),
    ("general", "Are there package updates pending?", "package-updates"),
    ("general", "which Linux distribution is this, and which kernel version", "system-info"),
    ("general", "when was the server last rebooted", "uptime-and-reboots"),
    ("general", "list all cron jobs", "scheduled-jobs"),
    ("general", "is the clock synchronised?", "time-sync"),
    ("general", "clean the apt cache", "clean-package-cache"),
    ("network", "which ports are open?", "listening-ports"),
    ("network", "what is listening on this box", "listening-ports"),
    ("network", "Show the IP addresses", "network-interfaces"),
    ("network", "what is the default gateway", "routes"),
    ("network", "DNS does not resolve names", "dns"),
    ("network", "can this server reach the internet?", "connectivity"),
    ("network", "check the network", "connectivity"),
    ("network", "ufw status", "firewall-rules"),
    ("network", "show established connections", "connections"),
    ("network", "are packets being dropped?", "network-errors"),
    ("network", "How much bandwidth is in use", "bandwidth"),
    ("network", "is the web site responding", "web-server-answers"),
    ("network", "show the ARP table", "neighbours"),
    ("network", "how is the network configured (netplan?)", "network-configuration"),
    ("network", "flush the DNS cache", "flush-dns-cache"),
    ("database", "is PostgreSQL running?", "database-status"),
    ("database", "check the health of the database", "database-status"),
    ("database", "which tables are the largest", "database-size"),
    ("database", "too many connections", "database-connections"),
    ("database", "find slow queries", "slow-queries"),
    ("database", "which sessions are blocked by locks", "database-locks"),
    ("database", "how far behind is the replica", "replication"),
    ("database", "When was the last backup?", "backup-check"),
    ("database", "take a backup of PostgreSQL", "backup-postgresql"),
    ("database", "is any data corrupted?", "data-integrity"),
    ("database", "when did autovacuum last run", "vacuum-and-bloat"),
    ("database", "find unused indexes", "index-usage"),
    ("database", "show the MySQL configuration", "database-settings"),
    ("database", "which database users have superuser privileges", "database-users"),
    ("database", "show errors from the MySQL log", "database-logs"),
    ("security", "show failed logins", "failed-logins"),
    ("security", "is someone brute forcing ssh, any failed attempts?", "failed-logins"),
    ("security", "who is logged in", "logins"),
    ("security", "which users have sudo rights", "users-and-sudo"),
    ("security", "review the sshd config", "ssh-hardening"),
    ("security", "find world-writable and SUID files", "file-permissions"),
    ("security", "is the firewall enabled and which ports are exposed", "exposure"),
    ("security", "are security updates missing?", "security-updates"),
    ("security", "run a security audit", "security-audit"),
    ("security", "how secure is this server?", "security-audit"),
    ("security", "show the audit log", "audit-logs"),
    ("security", "have we been hacked?", "suspicious-activity"),
    ("security", "when do the TLS certificates expire", "certificates"),
    ("security", "what is our password policy", "password-policy"),
]

UNANSWERED = [
    ("general", "asdf qwer"),
    ("general", "write me a poem about the sea"),
    ("general", "Write a poem about disk space"),
    ("general", "?"),
    ("general", "please"),
    ("general", "the"),
    ("general", "\N{HORIZONTAL ELLIPSIS} 42"),
    ("general", "what is the capital of France"),
    ("general", "install nginx"),
    ("general", "restart the failed services"),
    ("general", "reboot the server"),
    ("general", "check disk space and delete the old logs"),
    ("general", "please kill the top process"),
    ("general", "translate this process to German"),
    ("general", "bake a chocolate cake for six people"),
    ("network", "open port 443 for everyone on the firewall and restart ufw"),
    ("network", "order pizza"),
    ("network", "who won the football match yesterday evening"),
    ("database", "drop the database customers"),
    ("database", "create a table for invoices"),
    ("database", "restore the database from the last backup"),
    ("database", "tell me a joke"),
    ("security", "delete the user bob"),
    ("security", "disable root login over ssh"),
    ("security", "lorem ipsum dolor sit amet"),
]


@pytest.mark.parametrize(("persona", "query", "runbook_id"), ANSWERED)
def test_request_selects_its_runbook(persona: str, query: str, runbook_id: str) -> None:
    """A natural phrasing selects the runbook that answers it."""
    assert runbook_id == PLANNER.choose(query, AgentType(persona)).id


@pytest.mark.parametrize(("persona", "query"), UNANSWERED)
def test_unanswerable_request_is_refused(persona: str, query: str) -> None:
    """Nonsense, unrelated requests and orders for a change that no runbook makes are answered by none."""
    with pytest.raises(NoRunbookError) as caught:
        PLANNER.choose(query, AgentType(persona))
    known = {each.id for each in PLANNER.runbooks if each.agent_type == persona}
    assert set(caught.value.nearest[:3]) <= known
    assert len(caught.value.nearest) >= 3


async def test_plan_returns_the_steps_of_the_runbook() -> None:
    """The plan of a health check looks at load, memory, disks, units and processes, and changes nothing."""
    request = PlanRequest("check the health of this server", AgentType.GENERAL, "localhost")
    plan = await PLANNER.plan(request)
    expected = ["uptime", "free", "df", "systemctl", "ps"]
    assert expected == [
        next(word for word in expected if f"{word} -" in each.command or word in each.command)
        for each in plan
    ]
    assert not any(step.changes for step in plan)


async def test_model_is_ignored() -> None:
    """The embedded planner plans the same whatever model is named."""
    plain = PlanRequest("disk space", AgentType.GENERAL, "localhost")
    named = PlanRequest("disk space", AgentType.GENERAL, "localhost", model="some-model")
    assert await PLANNER.plan(plain) == await PLANNER.plan(named)


def test_changing_step_says_so_in_its_description() -> None:
    """A client that shows only descriptions still shows which step alters the server."""
    changing = [step for each in PLANNER.runbooks for step in each.steps if step.changes]
    assert changing
    assert all(step.description.endswith("(changes the server)") for step in changing)


def test_refusal_names_the_nearest_and_how_to_configure_a_model() -> None:
    """The message names the runbooks that share most with the request, and the settings of a model."""
    with pytest.raises(NoRunbookError) as caught:
        PLANNER.choose("delete the swap and the memory of last summer", AgentType.GENERAL)
    assert caught.value.nearest[0] == "memory"
    assert "memory (Memory and swap)" in str(caught.value)
    for key in ("AOSS_LLM_BASE_URL", "AOSS_LLM_MODEL", "AOSS_LLM_API_KEY"):
        assert key in str(caught.value)


def test_misspelt_word_leads_to_the_nearest() -> None:
    """A request with a slip of the pen is not answered by guess, but its runbook is named first."""
    with pytest.raises(NoRunbookError) as caught:
        PLANNER.choose("memroy", AgentType.GENERAL)
    assert caught.value.nearest[0] == "memory"


def test_refusal_names_another_persona_that_would_answer() -> None:
    """A request put to the wrong persona is told which one has the runbook."""
    with pytest.raises(
        NoRunbookError, match=r"The database persona has one that does: slow-queries"
    ) as caught:
        PLANNER.choose("show the slow queries of the last hour", AgentType.SECURITY)
    assert caught.value.nearest[-1] == "slow-queries"


def test_catalogue_covers_every_persona() -> None:
    """Each persona has at least eight runbooks of two to five steps, and every id is unique."""
    for persona in AgentType:
        own = [each for each in PLANNER.runbooks if each.agent_type is persona]
        assert len(own) >= 8
        assert all(2 <= len(each.steps) <= 5 for each in own)
    ids = [each.id for each in PLANNER.runbooks]
    assert len(set(ids)) == len(ids)


def test_every_runbook_answers_its_own_title_or_phrases() -> None:
    """No runbook is out of reach: at least one of its own phrases selects it."""
    for runbook in PLANNER.runbooks:
        chosen = set()
        for phrase in runbook.phrases:
            try:
                chosen.add(PLANNER.choose(" ".join(phrase), runbook.agent_type).id)
            except NoRunbookError:
                continue
        assert runbook.id in chosen


@pytest.mark.parametrize(
    ("word", "expected"),
    [("disks", "disk"), ("processes", "process"), ("entries", "entry"), ("indexes", "index"),
     ("status", "status"), ("access", "access"), ("dns", "dns"), ("this", "this")],
)  # fmt: skip
def test_stem(word: str, expected: str) -> None:
    """A plural loses its ending, a word that merely ends in s does not."""
    assert expected == stem(word)


def test_stems_leave_out_stop_words() -> None:
    """Case, punctuation, possessives and words without meaning of their own do not count."""
    expected = ("disk", "usage", "sshd_config")
    assert expected == stems("What's the server's DISKS' usage, in sshd_config?! 42")


def test_tie_goes_to_the_first_in_the_file() -> None:
    """Two runbooks that answer equally well are told apart by their order alone."""
    first, second = (each for each in PLANNER.runbooks if each.id in {"processes", "services"})
    query = "running"
    assert match(query, first).points == match(query, second).points
    assert first == RunbookPlanner([first, second]).choose(query, AgentType.GENERAL)
    assert second == RunbookPlanner([second, first]).choose(query, AgentType.GENERAL)


def test_phrase_outweighs_its_words() -> None:
    """Of two runbooks with the same words, the one that has them as a phrase answers the phrase."""
    words, steps = frozenset({"disk", "full"}), (Step("df"),)
    first = Runbook("first", "First", AgentType.GENERAL, words, (), steps)
    second = Runbook("second", "Second", AgentType.GENERAL, words, (("disk", "full"),), steps)
    planner = RunbookPlanner([first, second])
    assert second == planner.choose("is the disk full?", AgentType.GENERAL)
    assert first == planner.choose("full disks", AgentType.GENERAL)


GOOD = """
runbooks:
  - id: disk
    title: Disk
    words: [disk]
    steps:
      - {description: Look, command: df}
"""


@pytest.mark.parametrize(
    ("replace", "by", "complaint"),
    [
        ("runbooks:", "runbook:", r"general\.yaml: unknown key 'runbook'"),
        ("id: disk", "name: disk", r"general\.yaml: a runbook without an id"),
        ("title: Disk", "title: ", r"general\.yaml: runbook 'disk': title must be a text"),
        ("words: [disk]", "words: disk", r"runbook 'disk': words must be a list"),
        ("words: [disk]", "words: [7]", r"runbook 'disk': words must be texts"),
        ("words: [disk]", "words: [the]", r"runbook 'disk': words must be texts of 1 word"),
        ("words: [disk]", "words: [disk]\n    phrases: [the disk]", r"phrases must be texts of 2 word"),
        ("words: [disk]", "words: [disk]\n    tags: [a]", r"runbook 'disk': unknown key 'tags'"),
        ("command: df", "command: ' '", r"runbook 'disk': step 1: command must be a text"),
        ("description: Look, ", "", r"runbook 'disk': step 1: description must be a text"),
        ("command: df", "command: df, changes: maybe", r"step 1: changes must be true or false"),
        ("      - {description: Look, command: df}", "      []", r"runbook 'disk': steps must be a list"),
        ("runbooks:", "runbooks: [", r"general\.yaml cannot be read"),
    ],
)
def test_bad_file_is_refused(tmp_path: Path, replace: str, by: str, complaint: str) -> None:
    """A mistake in a runbook file is reported with file, runbook and key."""
    shutil.copytree(RUNBOOKS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "general.yaml").write_text(GOOD, encoding="utf-8")
    assert load_runbooks(tmp_path)[0].steps == (Step("df", "Look"),)
    assert replace in GOOD
    (tmp_path / "general.yaml").write_text(GOOD.replace(replace, by), encoding="utf-8")
    with pytest.raises(RunbookFileError, match=complaint):
        load_runbooks(tmp_path)


def test_taken_id_is_refused(tmp_path: Path) -> None:
    """An id that another file already uses is reported."""
    shutil.copytree(RUNBOOKS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "network.yaml").write_text(GOOD.replace("id: disk", "id: memory"), encoding="utf-8")
    with pytest.raises(RunbookFileError, match=r"network\.yaml: runbook 'memory': the id is taken"):
        load_runbooks(tmp_path)
