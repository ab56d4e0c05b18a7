"""A configuration file before validation: reading, overrides, paths and the search for keys."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from trim.documents import DEEPEST, require_shallow, too_deep
from trim.engines.hub import PREFIX as HUB
from trim.errors import InvalidInput
from trim.files import read_text, require_name
from trim.policies.calibrated import ROUTER
from trim.policies.registry import FITTED_FAMILIES, split_file

LARGEST = 256 * 1024
"""Bytes of a configuration."""
LARGEST_NUMBER = 2**63 - 1
UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""Characters that no file name holds and no request carries."""
MOST_VALUES = 50_000
"""Values of a YAML text after its aliases are replaced by what they stand for."""


PART = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*"|'[^'\n]*')"""
DOTTED = re.compile(rf"(?<![A-Za-z0-9_-]){PART}(?:[ \t]*+\.[ \t]*+{PART}){{{DEEPEST}}}")
"""A name of TOML with more levels than are read."""


class Loader(yaml.SafeLoader):
    """YAML that refuses duplicate names, and aliases that stand for too much."""

    def get_single_node(self) -> yaml.Node | None:
        root: yaml.Node | None = super().get_single_node()
        if root is not None:
            require_bounded(root)
        return root


def require_bounded(root: yaml.Node) -> None:
    """Raises YAMLError unless a graph of nodes is at most `MOST_VALUES` values as a tree.

    Ten lines, each of which holds ten aliases of the line before, are ten billion values.
    """
    sizes: dict[int, int] = {}
    stack = [(root, False)]
    open_nodes: set[int] = set()
    while stack:
        node, is_complete = stack.pop()
        if is_complete:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(inner)] for inner in nodes_in(node))
            if sizes[id(node)] > MOST_VALUES:
                raise yaml.MarkedYAMLError(
                    problem=f"more than {MOST_VALUES:,} values, aliases included",
                    problem_mark=node.start_mark,
                )
        elif id(node) in open_nodes:
            raise yaml.MarkedYAMLError(
                problem="an alias within what it stands for", problem_mark=node.start_mark
            )
        elif id(node) not in sizes:
            open_nodes.add(id(node))
            stack.append((node, True))
            stack += [(inner, False) for inner in nodes_in(node)]


def nodes_in(node: yaml.Node) -> list[yaml.Node]:
    """The nodes directly within a node."""
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def construct_mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    found: dict[str, Any] = {}
    for (name, value), (key, _) in zip(
        loader.construct_pairs(node, deep=True), node.value, strict=True
    ):
        if not isinstance(name, str):
            raise yaml.MarkedYAMLError(problem="a name must be text", problem_mark=key.start_mark)
        if name in found:
            raise yaml.MarkedYAMLError(
                problem=f"{name!r} is set twice", problem_mark=key.start_mark
            )
        found[name] = value
    return found


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, construct_mapping)


def read_document(path: Path) -> dict[str, Any]:
    """The content of a YAML (.yaml, .yml) or TOML (.toml) file.

    Raises:
        InvalidInput: the file is unreadable, has another suffix or is not such a document.
    """
    if path.suffix not in (".yaml", ".yml", ".toml"):
        raise InvalidInput(f"{path}: a configuration must be a .yaml or .toml file")
    try:
        text = read_text(path, LARGEST)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot read the configuration ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: a configuration must be UTF-8 text") from error
    try:
        document = parse_toml(text) if path.suffix == ".toml" else parse(text)
    except ValueError as error:
        kind = "TOML" if path.suffix == ".toml" else "YAML"
        raise InvalidInput(f"{path}: invalid {kind}: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{path}: a configuration must be a mapping of sections, as in `weak:`")
    return document


def parse_toml(text: str) -> Any:
    """The value of a TOML text. Raises ValueError with one line."""
    if DOTTED.search(text):
        # The parser would need memory in proportion to the square of the levels.
        raise too_deep()
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise too_deep() from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:
        raise too_large() from None
    require_bounded_values(value)
    return value


def parse(text: str) -> Any:
    """The value of a YAML text. Raises ValueError with one line that quotes no value."""
    try:
        value = yaml.load(text, Loader)
        require_bounded_values(value)
        return value
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{error.problem}") from None
    except RecursionError:
        raise too_deep() from None
    except OverflowError:
        raise too_large() from None
    except yaml.YAMLError as error:
        raise ValueError("unreadable") from error
    except ValueError as error:
        raise too_large() if "digits" in str(error) else error from None


def require_bounded_values(value: Any) -> None:
    """Raises ValueError for deep nesting, and for values that no setting can hold."""
    require_shallow(value)
    level = [value]
    while level:
        for each in level:
            if isinstance(each, int) and abs(each) > LARGEST_NUMBER:
                raise too_large()
            if isinstance(each, str) and (found := UNUSABLE.search(each)):
                raise ValueError(f"a text holds the character U+{ord(found[0]):04X}")
        level = [inner for each in level for inner in values_in(each)]


def too_large() -> ValueError:
    return ValueError(f"an integer beyond {LARGEST_NUMBER:,}")


def values_in(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return (*value, *value.values())
    return value if isinstance(value, list) else ()


# pydantic-settings would read `TRIM_STRONG__URL` and `--strong.url`, but it cannot keep these
# promises: a place in a list (`TRIM_INTERMEDIATE__1__MODEL` turns the list into a dictionary),
# values in YAML (it takes JSON: `{min_p: 0.1}` is an error), and errors that name the variable and
# leave its value out (they name the class of the source, or repeat the value).
PREFIX = "TRIM_"
NESTING = "__"


@dataclass(frozen=True)
class Override:
    """One value that replaces that of the file.

    Attributes:
        names: its path; a number is a place in a list.
        source: option or variable, for errors.
    """

    names: tuple[str, ...]
    value: Any
    source: str

    @property
    def document(self) -> Any:
        """A document with this value alone."""
        document = self.value
        for name in reversed(self.names):
            document = {name: document}
        return document


def parse_override(text: str) -> Override:
    """An override as in `strong.url=http://host:8000`, the value in YAML.

    Raises:
        InvalidInput: it is not such a pair. The message leaves the value out, as it may be secret.
    """
    path, equals, value = text.partition("=")
    names = tuple(path.strip().split("."))
    if not equals or not all(names) or len(names) > DEEPEST:
        raise InvalidInput(
            f"--set {path}: must be a name and a value, as in strong.url=http://host:8000"
        )
    return Override(names, parse_value(value, f"--set {path}"), f"--set {path.strip()}")


def overrides_in(environment: Mapping[str, str], known: Iterable[str]) -> list[Override]:
    """The overrides in variables such as `TRIM_STRONG__URL`, sorted by variable.

    Args:
        known: names of sections; variables that begin with another name are ignored.
    """
    found = []
    for variable, value in sorted(environment.items()):
        first, *rest = variable.removeprefix(PREFIX).lower().split(NESTING)
        if variable.startswith(PREFIX) and first in known and all(rest) and len(rest) < DEEPEST:
            found.append(Override((first, *rest), parse_value(value, variable), variable))
    return found


def parse_value(text: str, source: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidInput(f"{source}: the value is invalid YAML; quote it") from error


def override_in(document: Mapping[str, Any], override: Override) -> dict[str, Any]:
    """A copy of the document with one value replaced.

    Raises:
        InvalidInput: the path leads outside a list, or below a plain value.
    """
    changed: dict[str, Any] = replaced(dict(document), override.names, override)
    return changed


def replaced(within: Any, names: tuple[str, ...], override: Override) -> Any:
    if not names:
        return override.value
    name, *rest = names
    if isinstance(within, list):
        if not (name.isdecimal() and len(name) < 10 and int(name) < len(within)):
            raise InvalidInput(
                f"{override.source}: {name!r} is not a place in a list of {len(within)}, counted"
                " from 0"
            )
        changed = list(within)
        changed[int(name)] = replaced(within[int(name)], tuple(rest), override)
        return changed
    if within is None:
        within = {}
    if not isinstance(within, dict):
        raise InvalidInput(
            f"{override.source}: {name!r} is below a plain value, which has no names"
        )
    return {**within, name: replaced(within.get(name), tuple(rest), override)}


PATHS = ("gguf", "key_file", "weights", "router", "curve", "belief", "classifier")
"""Names of settings that are paths, in any section."""
VERBATIM = "extra_body"
"""Setting that is sent to a server unchanged."""


def resolved(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The document with all relative paths resolved against `folder`."""

    def below(text: str) -> str:
        try:
            return str(require_name(folder / Path(text).expanduser()))
        except RuntimeError as error:
            raise InvalidInput(f"{text}: no such home folder") from error

    changed: dict[str, Any] = with_paths(document, below)
    return changed


def relative(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The inverse of `resolved`."""
    changed: dict[str, Any] = with_paths(
        document, lambda text: Path(os.path.relpath(text, folder)).as_posix()
    )
    return changed


def with_paths(value: Any, change: Callable[[str], str], name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {
            inner: content if inner == VERBATIM else with_paths(content, change, inner)
            for inner, content in value.items()
        }
    if isinstance(value, list):
        return [with_paths(content, change, name) for content in value]
    if not isinstance(value, str):
        return value
    if name in PATHS:
        return value if name == "gguf" and value.startswith(HUB) else change(value)
    if name == "template":
        # `owner/name` is a model on the hub, unless such a folder exists.
        return change(value) if is_folder(value, change(value)) else value
    if name == "policy":
        family, colon, rest = value.partition(":")
        file, settings = split_file(rest)
        if colon and file and family in (*FITTED_FAMILIES, ROUTER):
            changed = f"{family}:{change(file)}"
            return changed if settings is None else f"{changed}@{settings}"
    return value


def is_folder(text: str, changed: str) -> bool:
    return text.startswith((".", "/", "~")) or Path(changed).is_dir() or Path(text).is_absolute()


SECRET_NAMES = {
    *("key", "api_key", "apikey", "x_api_key", "secret", "password", "token", "access_token"),
    *("auth_token", "bearer", "bearer_token", "authorization", "proxy_authorization", "api_token"),
    *("client_secret", "secret_key", "credentials", "auth"),
}
"""Names of settings that hold keys elsewhere."""
SECRET_VALUES = re.compile(
    r"(?i:\bbearer\s+\S{16,})|\b(sk|pk)[-_][A-Za-z0-9_-]{12,}|\b(hf|gsk|ghp)_[A-Za-z0-9]{12,}"
    r"|\bxai-[A-Za-z0-9]{12,}"
)
"""Patterns of the keys of well-known services."""
ADVICE = (
    "a configuration must not hold a key; put it into an environment variable or a file, and"
    " name that: key_variable or key_file"
)


def refuse_keys(value: Any, place: str, names: tuple[str, ...] = ()) -> None:
    """Raise InvalidInput if there is an API key in a configuration; the message leaves it out."""
    where = f"{place}: {'.'.join(names)}" if names else place
    if isinstance(value, dict):
        for name, inner in value.items():
            plain = str(name).lower().replace("-", "_")
            if plain in SECRET_NAMES and inner is not None:
                raise InvalidInput(f"{place}: {'.'.join((*names, str(name)))}: {ADVICE}")
            refuse_keys(inner, place, (*names, str(name)))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            refuse_keys(inner, place, (*names, str(position)))
    elif isinstance(value, str) and (SECRET_VALUES.search(value) or holds_credentials(value)):
        raise InvalidInput(f"{where}: {ADVICE}")


def holds_credentials(text: str) -> bool:
    """Whether a text is a URL with a user or a password."""
    if "://" not in text or " " in text.strip():
        return False
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        return False
    return bool(parts.username or parts.password)
