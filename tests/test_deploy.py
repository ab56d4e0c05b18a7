"""What an operator starts from: the files of `deploy/` name what exists, and their commands run."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml
from preloaded import completed, started

from trim.cli.main import main
from trim.configuration.configuration import read_configuration
from trim.server.admission import Limits
from trim.server.app import healthz, metrics, readyz
from trim.server.storage.database import url_of

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
UNIT = (DEPLOY / "trim.service").read_text()
GUIDE = (ROOT / "docs" / "guides" / "operations.md").read_text()
PORT = next(p.default for p in main.get_command(None, "serve").params if p.name == "port")
INSTRUCTION = re.compile(r"^([A-Z]+)\s+((?:.*\\\n)*.*)$", re.MULTILINE)


def instructions():
    """The instructions of the Dockerfile by stage: names and values, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages = []
    for name, value in INSTRUCTION.findall(text):
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, " ".join(value.replace("\\\n", " ").split())))
    return stages


BUILD, IMAGE = instructions()


def value(name, stage=IMAGE):
    (found,) = [text for each, text in stage if each == name]
    return found


def require_command(words):
    """Words after `trim` name a command, and options that it takes."""
    command, context = main, click.Context(main)
    words = list(words)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
        assert command is not None
    parsed = command.make_context("trim", words, resilient_parsing=True)
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known
    return parsed.params


def comments(name):
    """The commands in a file's comments, continued lines joined."""
    text = (DEPLOY / name).read_text()
    lines = "\n".join(re.findall(r"^#   +(.*)$", text, re.MULTILINE))
    lines = re.sub(r" *\\\n *", " ", lines)
    return [re.sub(r"\s#.*| {2,}.*", "", line).strip() for line in lines.splitlines()]


# The container


def test_the_image_is_slim_and_runs_as_nobody_of_importance():
    assert all(value("FROM", stage).partition(" ")[0].endswith("-slim") for stage in (BUILD, IMAGE))
    user = value("USER")
    made = re.search(
        r"useradd --system --uid (\d+) --home-dir (\S+) --create-home (\w+)", value("RUN")
    )
    assert int(made[1]) >= 10_000 and made[3] == user
    assert made[2] == value("WORKDIR") == value("VOLUME")
    last = [name for name, _ in IMAGE]
    assert last.index("USER") > max(n for n, name in enumerate(last) if name in ("RUN", "COPY"))


def test_its_python_and_its_extras_are_those_of_the_package():
    (version,) = {value("FROM", stage).split(":")[1][:4] for stage in (BUILD, IMAGE)}
    classifiers = PROJECT["project"]["classifiers"]
    assert f"Programming Language :: Python :: {version}" in classifiers
    extras = re.search(r"\.\[([\w,]+)\]", value("RUN", BUILD))[1].split(",")
    assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])
    assert {"server", "postgresql", "local"} <= set(extras)
    for name in ("weak", "strong"):
        gguf = yaml.safe_load((DEPLOY / "trim.yaml").read_text())[name]["gguf"]
        package = gguf.removeprefix(f"/opt/trim/lib/python{version}/site-packages/")
        assert (ROOT / "src" / package).is_file()


def test_what_is_copied_is_what_a_wheel_needs(tmp_path):
    copied = [words.split() for name, words in BUILD if name == "COPY"]
    for *sources, target in copied:
        for source in sources:
            assert (ROOT / source).exists()
            place = tmp_path / (source if target == "./" else target)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, place)
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert {f"!{source}" for *sources, _ in copied for source in sources} == {
        line for line in kept if line.startswith("!")
    }
    project, wheel = PROJECT["project"], PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = ["pyproject.toml", project["readme"], *project["license-files"], *wheel["packages"]]
    for path in (*needed, *wheel["force-include"]):
        assert (tmp_path / path).exists()


def test_it_listens_where_it_says():
    assert value("EXPOSE") == str(PORT)
    assert f"http://127.0.0.1:{PORT}/healthz" in value("HEALTHCHECK")
    assert value("ENTRYPOINT") == '["trim"]'
    given = require_command(json.loads(value("CMD")))
    assert given["host"] == "0.0.0.0" and given["port"] == PORT
    for line in comments("Dockerfile"):
        words = shlex.split(line)
        assert words[0] == "docker" and (words[1] != "build" or (ROOT / words[3]).exists())
        if "keys" in words:
            require_command(words[words.index("keys") :])


def test_its_command_and_its_health_check_run_as_written(tmp_path, monkeypatch):
    command, check = json.loads(value("CMD")), value("HEALTHCHECK").partition(" CMD ")[2]
    refused = completed(*command, "--port", 0, cwd=tmp_path)
    assert refused.returncode == 2 and "trim keys create" in refused.stderr
    made = completed("keys", "create", "app", cwd=tmp_path)
    assert made.returncode == 0
    python, *words = json.loads(check)
    assert python == "python"

    def healthy(port):
        here = [word.replace(f":{PORT}/", f":{port}/") for word in words]
        return subprocess.run([sys.executable, *here], capture_output=True).returncode == 0

    with started(*command, "--port", 0, cwd=tmp_path) as server:
        port = re.search(r":(\d+)", server.address()[5:])[1]
        assert healthy(port)
        server.send(signal.SIGTERM)
        server.process.join(30)
        assert server.code == 0
    assert not healthy(port)


# Compose


def mounts(service):
    return [mount.split(":") for mount in SERVICES[service].get("volumes", ())]


def test_compose_builds_the_image_and_mounts_what_exists():
    build = SERVICES["trim"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert (DEPLOY / build["context"]).resolve() == ROOT
    for service in SERVICES:
        for source, *_ in mounts(service):
            if source.startswith("."):
                assert (DEPLOY / source).resolve().is_file(), source
            else:
                assert source in COMPOSE["volumes"]
    used = {source for service in SERVICES for source, *_ in mounts(service)}
    assert set(COMPOSE["volumes"]) <= used
    assert [value("VOLUME")] == [at for source, at, *_ in mounts("trim") if source == "trim"]


def test_compose_serves_the_configuration_from_the_database():
    given = require_command(SERVICES["trim"]["command"])
    assert ["./trim.yaml", str(given["configuration"]), "ro"] in mounts("trim")
    user, host, name = re.fullmatch(r"postgresql://(\w+)@(\w+)/(\w+)", given["database"]).groups()
    assert url_of(given["database"]).startswith("postgresql+asyncpg://")
    database = SERVICES[host]["environment"]
    assert (database["POSTGRES_USER"], database["POSTGRES_DB"]) == (user, name)
    password = database["POSTGRES_PASSWORD"]
    assert SERVICES["trim"]["environment"]["PGPASSWORD"] == password
    assert SERVICES["trim"]["depends_on"] == {host: {"condition": "service_healthy"}}
    assert set(
        re.findall(r"--\w+, (\w+)", str(SERVICES[host]["healthcheck"]["test"]).replace("'", ""))
    ) == {user}
    assert read_configuration(DEPLOY / "trim.yaml", environment={}).weak


def test_compose_publishes_on_this_machine_only_and_lets_answers_end():
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
    assert SERVICES["trim"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    grace = SERVICES["trim"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > Limits().shutdown
    assert SERVICES["trim"]["read_only"] and SERVICES["trim"]["cap_drop"] == ["ALL"]


def test_secrets_come_from_the_environment():
    """Compose reads them from `.env`, which git ignores, and refuses to start without them."""
    text = (DEPLOY / "compose.yaml").read_text()
    needed = set(re.findall(r"\$\{(\w+)", text)) | {
        each["environment"] for each in COMPOSE["secrets"].values()
    }
    example = dict(line.split("=") for line in (DEPLOY / "example.env").read_text().split())
    assert set(example) == needed
    assert all(f"${{{name}:?" in text or not given for name, given in example.items())
    assert "deploy/.env" in (ROOT / ".gitignore").read_text().splitlines()
    for line in comments("compose.yaml"):
        words = shlex.split(line.split("&&")[0])
        if "keys" in words:
            given = require_command(words[words.index("keys") :])
            assert given["database"] == require_command(SERVICES["trim"]["command"])["database"]


def test_prometheus_and_the_dashboard_see_the_server():
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    (job,) = prometheus["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"trim:{PORT}"]}] and "trim" in SERVICES
    (secret,) = SERVICES["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert secret in COMPOSE["secrets"]
    targets = {target: source for source, target, *_ in mounts("prometheus")}
    (rules,) = prometheus["rule_files"]
    assert targets[f"/etc/prometheus/{rules}"] == "../docs/alerts.yaml"
    source = yaml.safe_load((DEPLOY / "grafana" / "datasource.yaml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090" and source["type"] == "prometheus"
    board = json.loads((ROOT / "docs" / "grafana.json").read_text())
    (variable,) = board["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", source["type"])
    (provider,) = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yaml").read_text())["providers"]
    folder = provider["options"]["path"]
    placed = {target: source for source, target, *_ in mounts("grafana")}
    assert placed[f"{folder}/trim.json"] == "../docs/grafana.json"
    assert f"/d/{board['uid']}" in (DEPLOY / "compose.yaml").read_text()


def test_the_paths_that_are_probed_are_served():
    app = (ROOT / "src" / "trim" / "server" / "app.py").read_text()
    for path, route in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", metrics)):
        assert re.search(rf'"{path}",\s+{route.__name__}\b', app)


# systemd


def settings():
    lines = [line for line in UNIT.splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_unit_starts_the_server_where_systemd_lets_it_write():
    program, *words = shlex.split(settings()["ExecStart"])
    assert program == "/opt/trim/bin/trim"
    given = require_command(words)
    state = Path("/var/lib") / settings()["StateDirectory"]
    assert Path(given["database"]).parent == state == Path(settings()["WorkingDirectory"])
    assert (given["host"], given["port"]) == ("127.0.0.1", PORT)
    assert settings()["DynamicUser"] == "yes" and settings()["NoNewPrivileges"] == "yes"
    assert int(settings()["TimeoutStopSec"]) > Limits().shutdown


def test_the_commands_beside_the_unit_exist():
    lines = comments("trim.service")
    install = next(line for line in lines if "pip install" in line)
    extras = re.search(r"trim-router\[([\w,]+)\]", install)[1].split(",")
    assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])
    made = shlex.split(next(line for line in lines if " keys create " in line))
    given = require_command(made[made.index("keys") :])
    assert (
        given["database"] == require_command(shlex.split(settings()["ExecStart"])[1:])["database"]
    )


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path):
    program = tmp_path / "trim"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "trim.service"
    unit.write_text(UNIT.replace("/opt/trim/bin/trim serve", f"{program} serve"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr.strip()) == (0, "")


# The guide


def test_the_guide_names_every_file():
    named = set(re.findall(r"deploy/([\w./-]+\w)", GUIDE))
    files = {str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*") if path.is_file()}
    assert files - {".env"} <= named | {"grafana/datasource.yaml", "grafana/dashboards.yaml",
                                        "Dockerfile.dockerignore"}  # fmt: skip
    assert named <= files | {"grafana"}
