"""Where settings come from: YAML files and ``--options``, each key with its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from minigpt4.common.errors import ConfigError

KeyPath = tuple[Any, ...]
"""Keys from the root down: ``("datasets", "vivqa", "batch_size")``."""

OPTIONS = "--options"
PROCESSORS = ("vis_processor", "text_processor")


@dataclass
class Layer:
    """Settings of one source.

    Attributes:
        name: Path of the file, or ``--options``.
        data: What it says.
        lines: Line of each key; None where a source has no lines.
        slips: One warning for each slip that was understood while reading.
    """

    name: str
    data: dict[Any, Any]
    lines: dict[KeyPath, int | None] = field(default_factory=dict)
    slips: list[str] = field(default_factory=list)

    def place(self, path: KeyPath) -> str | None:
        """Say where ``path`` is set in this layer, None if it is not."""
        if path not in self.lines:
            return None
        line = self.lines[path]
        return self.name if line is None else f"{self.name}, line {line}"

    def move(self, old: KeyPath, new: KeyPath) -> None:
        """Follow a key, and all below it, to another place."""
        for path in [path for path in self.lines if path[: len(old)] == old]:
            self.lines[new + path[len(old) :]] = self.lines.pop(path)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as usual, but ``1e-5`` is a number and dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_yaml(path: str | Path) -> Layer:
    """Read a YAML file whose root is a mapping.

    Raises:
        ConfigError: The file is missing, empty, broken, or gives a key twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"the config file {path} does not exist{_similar_file(path)}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the config file {path} is not UTF-8 text: save it as such.") from None
    except OSError as error:
        raise ConfigError(f"the config file {path} cannot be read: {error.strerror}.") from error
    slips: list[str] = []
    data, lines = _parse(text, str(path), slips)
    if not isinstance(data, dict):
        found = "is empty" if data is None else f"holds {_kind(data)}"
        raise ConfigError(
            f"the config file {path} {found}: it needs sections such as model, datasets and run."
        )
    return Layer(str(path), data, lines, slips)


def read_options(options: Sequence[str] | None) -> Layer:
    """Read ``key.path=value`` items; a value is read as YAML, or as text where it is none.

    Raises:
        ConfigError: Lists every item without a key or ``=``.
    """
    layer = Layer(OPTIONS, {})
    mistakes = []
    for item in options or ():
        key, equals, value = item.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path):
            mistakes.append(f"{item!r} is not of the form key=value, e.g. run.max_epoch=1")
            continue
        below: Mapping[KeyPath, int | None] = {}
        try:
            parsed, below = _parse(value, OPTIONS, [])
        except ConfigError:
            parsed = value
        parent: Any = layer.data
        for depth, name in enumerate(path[:-1], start=1):
            layer.lines[path[:depth]] = None
            if not isinstance(parent.get(name), dict):
                parent[name] = {}
            parent = parent[name]
        parent[path[-1]] = parsed
        layer.lines[path] = None
        layer.lines.update(dict.fromkeys((path + sub for sub in below), None))
    if mistakes:
        raise ConfigError(listed(OPTIONS, mistakes))
    return layer


def merge(weak: Mapping[Any, Any], strong: Mapping[Any, Any]) -> dict[Any, Any]:
    """Lay one mapping over another; mappings join, everything else is replaced."""
    merged = dict(weak)
    for key, value in strong.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def listed(what: str, mistakes: Sequence[str]) -> str:
    """One mistake on one line, several as a list."""
    if len(mistakes) == 1:
        return f"{what}: {mistakes[0]}"
    return f"{what} has {len(mistakes)} mistakes:" + "".join(f"\n  - {text}" for text in mistakes)


def _parse(text: str, name: str, slips: list[str]) -> tuple[Any, dict[KeyPath, int | None]]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        _adopt(node, name, slips)
        twice: list[str] = []
        lines: dict[KeyPath, int | None] = {}
        _walk(loader, node, (), lines, twice)
        if twice:
            raise ConfigError(listed(name, twice))
        return _unshared(loader.construct_document(node)), lines
    except RecursionError:
        raise ConfigError(f"{name}: an anchor (&) contains its own alias (*)") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}{_yaml_problem(error, text)}") from None
    finally:
        loader.dispose()


def _unshared(value: Any) -> Any:
    """Copy what YAML's anchors let several keys share, so that each can be changed by itself."""
    if isinstance(value, dict):
        return {key: _unshared(below) for key, below in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _adopt(node: yaml.Node, name: str, slips: list[str]) -> None:
    """Put ``train:`` and ``eval:`` that stand beside an empty processor, not below it, into it.

    Happens when the line ``text_processor:`` alone is indented too deep, or what follows it not
    deep enough. Done before keys are compared, for ``train`` is then given twice.
    """
    if not isinstance(node, yaml.MappingNode):
        return
    kept: list[tuple[yaml.Node, yaml.Node]] = []
    open_since: yaml.Node | None = None  # the empty processor just read, if any
    inside = yaml.MappingNode("", [])
    for key, value in node.value:
        if open_since is not None and key.value in ("train", "eval"):
            inside.value.append((key, value))
            slips.append(
                f"{name}, line {key.start_mark.line + 1}: {key.value} should be indented below "
                f"{open_since.value} (line {open_since.start_mark.line + 1}); read as if so"
            )
            continue
        open_since = None
        if key.value in PROCESSORS and value.tag == "tag:yaml.org,2002:null":
            open_since = key
            value = inside = yaml.MappingNode(
                "tag:yaml.org,2002:map", [], value.start_mark, value.end_mark
            )
        kept.append((key, value))
    node.value = kept
    for _, value in kept:
        _adopt(value, name, slips)


def _walk(
    loader: _Loader,
    node: yaml.Node,
    path: KeyPath,
    lines: dict[KeyPath, int | None],
    twice: list[str],
) -> None:
    """Note the line of every key below ``node`` and the keys that are given twice."""
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[Any, int] = {}
    for key_node, value_node in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
            continue
        key, line = loader.construct_object(key_node), key_node.start_mark.line + 1
        if key in first:
            twice.append(f"line {line}: the key {key!r} was already given in line {first[key]}")
            continue
        first[key] = line
        lines[(*path, key)] = line
        _walk(loader, value_node, (*path, key), lines, twice)


def _yaml_problem(error: yaml.YAMLError, text: str) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    if mark is None:
        return f" is not valid YAML: {problem}"
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    remedy = (
        "indent with spaces, not with tabs"
        if "\t" in line[: mark.column + 1]
        else "check its indentation, quotes and colons"
    )
    return f", line {mark.line + 1}: not valid YAML ({problem}): {remedy}."


def _similar_file(path: Path) -> str:
    folders = [path.parent, Path("train_configs"), Path("eval_configs")]
    files = {
        str(file) for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.yaml"))
    }
    names = {Path(file).name: file for file in sorted(files)}
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f"; did you mean {names[near[0]]}?" if near else ": check the path."


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else f"the single value {value!r}"
