"""Going on with a run without repeating its command: its own overrides are used again.

Only the texts of overrides and the choices of groups are read from the run's folder, which may be a
stranger's. The configuration is composed anew from the installed one and the user's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from loco.errors import CheckpointError, LocoError
from loco.files import read_yaml
from loco.runs.command.named_files import find_checkpoint
from loco.runs.command.quoting import HIDDEN, is_secret, quoted_value, without_secrets

# where a run writes, and what is done besides going on
_OWN = {"ckpt_path", "output_dir", "resume_sweep", "reuse", "task", "csv_log"}
_PATHS = {"dirpath", "save_dir", "output_dir", "default_root_dir", "log_dir"}


class Resumed(NamedTuple):
    """The words of a command together with those of the run that it goes on with.

    Attributes:
        words: what Hydra gets.
        notes: what was taken from the run, what is different now, what was not taken; a line each.
    """

    words: list[str]
    notes: list[str]


def resumed_words(words: Sequence[str], conf: Path) -> Resumed:
    """Add the overrides of the run that `ckpt_path=…` names; those that are given now win.

    Args:
        words: of the command, overrides and Hydra's own options.
        conf: the installed configurations.

    Raises:
        CheckpointError: there is no such checkpoint, its run's notes are damaged, or they choose
            from a group what is in no folder of configurations.
    """
    options, unknown = get_args_parser().parse_known_args(list(words))
    parser = OverridesParser.create()
    try:
        given = parser.parse_overrides(options.overrides)
    except HydraException:
        return Resumed(list(words), [])  # Hydra says what is wrong with them
    path = next((o for o in reversed(given) if o.key_or_group == "ckpt_path"), None)
    if path is None or path.value() is None or options.help or options.hydra_help or unknown:
        return Resumed(list(words), [])
    if path.is_sweep_override() or "${" in str(path.value()):
        note = "ckpt_path is not one run: the overrides of the runs themselves are not used again"
        return Resumed(list(words), [note])
    file = find_checkpoint(_plain(path))
    folder = next((f for f in file.absolute().parents[:2] if _noted(f).is_file()), None)
    if folder is None:
        note = f"{file}: without its run's folder; goes on with the settings that are given now"
        return Resumed(list(words), [note])
    roots = [conf, *([Path(options.config_dir)] if options.config_dir else [])]
    saved, refused = _usable(_read(_noted(folder)), parser)
    chosen = (_read(folder / ".hydra" / "hydra.yaml", {}).get("hydra") or {}).get("runtime") or {}
    taken, new, replaced = _merged(saved, given, chosen.get("choices") or {}, roots)
    _check_groups(taken, roots, folder, chosen)
    taken_words = [*_data_words(folder, taken, [*given, *replaced]), *(_word(o) for o in taken)]
    first = list(words).index(options.overrides[0])
    kept = [word for word in words if word not in options.overrides]
    notes = [f"going on with {folder}; taken from it: {_listed(taken_words) or 'nothing'}"]
    before = {o.key_or_group: _word(o) for o in replaced}
    now = {o.key_or_group: _word(o) for o in new if o.key_or_group != "ckpt_path"}
    differs = [
        f"{word} (was {before[key]})" if key in before else word
        for key, word in now.items()
        if before.get(key) != word
    ]
    if gone := [word for key, word in before.items() if key not in now]:
        differs.append(f"without {_listed(gone)}")
    if differs:
        notes.append(f"different now: {', '.join(without_secrets(differs))}")
    if refused:
        texts = (f"{_listed([word])} ({why})" for word, why in refused.items())
        notes.append(f"not taken from it, to be given again if needed: {', '.join(texts)}")
    position = sum(word not in options.overrides for word in words[:first])
    both = [*map(_added_again, taken_words), *(_word(o) for o in new)]
    return Resumed([*kept[:position], *both, *kept[position:]], notes)


def _added_again(word: str) -> str:
    """A `+key=value` that may have got a default since: `++` sets it either way."""
    key = word.partition("=")[0]
    return f"+{word}" if re.match(r"\+[^+@]*\.[^@]*$", key) else word


def _noted(folder: Path) -> Path:
    return folder / ".hydra" / "overrides.yaml"


def _word(override: Override) -> str:
    return override.input_line or ""


def _plain(override: Override) -> str:
    """The value of an override as text, without the quotes that Hydra reads."""
    return str(override.value())


def _listed(words: Sequence[str]) -> str:
    return " ".join(without_secrets(words))


def _read(path: Path, otherwise: Any = None) -> Any:
    """The plain values of a YAML file, unresolved."""
    try:
        return OmegaConf.to_container(read_yaml(path), resolve=False)
    except LocoError as error:
        if otherwise is not None:
            return otherwise
        raise CheckpointError(f"{path}: cannot be read: {error}; a copy of the checkpoint outside "
                              "its folder goes on with the settings given") from None  # fmt: skip


# -- what may be taken ----------------------------------------------------------------------------


def _usable(texts: Any, parser: OverridesParser) -> tuple[list[Override], dict[str, str]]:
    """The saved overrides that may be used again, and why the others may not."""
    usable, refused = [], {}
    for text in texts if isinstance(texts, list) else []:
        try:
            override = parser.parse_override(str(text))
        except HydraException:
            refused[str(text)] = "cannot be read"
            continue
        keys = [*re.split(r"[./@]", override.key_or_group), *(override.package or "").split(".")]
        keys += _keys(override.value())
        if keys[0] == "hydra" or keys[0] in _OWN or override.is_sweep_override():
            continue  # of its start alone
        if any(key.startswith("_") and key.endswith("_") and key for key in keys):
            refused[str(text)] = "names what is built"
        elif _PATHS.intersection(keys):
            refused[str(text)] = "a folder to write to"
        elif re.search(r"\$\{[^}]*:", str(text)):
            refused[str(text)] = "calls a resolver"
        elif HIDDEN in str(text) or (
            any(map(is_secret, keys)) and not isinstance(override.value(), bool | int | float)
        ):
            refused[str(text)] = "a secret"
        else:
            usable.append(override)
    return usable, refused


def _keys(value: Any) -> list[str]:
    """All keys of nested values."""
    if isinstance(value, dict):
        return [key for k, v in value.items() for key in (str(k), *_keys(v))]
    if isinstance(value, list):
        return [key for v in value for key in _keys(v)]
    return []


# -- what is given wins ---------------------------------------------------------------------------


def _merged(
    saved: list[Override], given: list[Override], choices: dict[str, Any], roots: list[Path]
) -> tuple[list[Override], list[Override], list[Override]]:
    """Of the saved overrides those that still count, what is given, and those that it replaces."""
    replaced: list[Override] = []
    new = list(given)
    for i, override in enumerate(given):
        key = override.key_or_group
        sets = _sets(override, choices, roots)
        for before in saved:
            same = before.key_or_group == key and before.package == override.package
            if same and (override.is_delete() > before.is_delete() or
                         (before.is_delete() and override.is_add())):  # fmt: skip
                continue  # one after the other
            emptied = key.startswith(f"{before.key_or_group}.") and (
                before.is_delete() or before.value() is None
            )
            within = any(f"{before.key_or_group}.".startswith(f"{part}.") for part in sets)
            if (same or emptied or within) and before not in replaced:
                replaced.append(before)
            if same and before.is_add() and not (override.is_add() or override.is_force_add()):
                new[i] = OverridesParser.create().parse_override(f"++{_word(override)}")
    return [o for o in saved if o not in replaced], new, replaced


def _sets(override: Override, choices: dict[str, Any], roots: list[Path]) -> list[str]:
    """What another choice of a group settles anew: keys under which saved values do not count."""
    group, option = override.key_or_group, override.value()
    if not _is_group(group, roots) or option in (None, choices.get(group)):
        return []
    keys = [group.replace("/", ".")]
    for root in roots:
        file = root / group / f"{option}.yaml"
        if file.is_file() and "@package _global_" in file.read_text(encoding="utf-8")[:200]:
            content = _read(file, {})
            defaults = [str(k) for entry in content.pop("defaults", []) for k in _keys(entry)]
            keys += [name.removeprefix("override ").lstrip("/") for name in defaults]
            keys += _leaves(content)
    return keys


def _leaves(content: Any, key: str = "") -> list[str]:
    if not isinstance(content, dict) or not content:
        return [key]
    return [leaf for k, v in content.items() for leaf in _leaves(v, f"{key}.{k}" if key else k)]


def _is_group(name: str, roots: list[Path]) -> bool:
    return any((root / name).is_dir() for root in roots)


def _check_groups(
    taken: list[Override], roots: list[Path], folder: Path, runtime: dict[str, Any]
) -> None:
    """Refuse a choice that no folder of configurations has.

    Raises:
        CheckpointError: names it, and the folder that the run had it from.
    """
    for override in taken:
        group, value = override.key_or_group, override.value()
        if not _is_group(group, roots) and override.is_add():
            continue
        options = [o for o in (value if isinstance(value, list) else [value]) if isinstance(o, str)]
        if isinstance(value, dict) or "." in group or not _was_group(group, runtime):
            continue
        for option in options:
            name = f"{group}/{option.removesuffix('.yaml')}.yaml"
            if not any((root / name).is_file() for root in roots):
                sources = runtime.get("config_sources") or []
                own = [s.get("path") for s in sources if s.get("provider") == "command-line"]
                hint = f", which was {own[0]}" if own else ""
                raise CheckpointError(
                    f"{folder}: its {group}={option} is in no folder of configurations; give its "
                    f"--config-dir again{hint}"
                )


def _was_group(name: str, runtime: dict[str, Any]) -> bool:
    return name in (runtime.get("choices") or {})


# -- its data -------------------------------------------------------------------------------------


def _data_words(folder: Path, taken: list[Override], others: list[Override]) -> list[str]:
    """`data.root=…` and `data.annotations=…` of the run, found from this folder too.

    They replace those among `taken`, which are removed from it.
    """
    given = {override.key_or_group for override in others}
    found = []
    for key in ("root", "annotations"):
        if {"data", f"data.{key}"} & given:
            continue
        resolved = (_read(folder / "config.yaml", {}).get("data") or {}).get(key)
        noted = (_read(folder / ".hydra" / "config.yaml", {}).get("data") or {}).get(key)
        path = _where(folder, resolved, noted)
        if path is not None:
            taken[:] = [o for o in taken if o.key_or_group != f"data.{key}"]
            found.append(f"data.{key}={quoted_value(path)}")
    return found


def _where(folder: Path, resolved: Any, noted: Any) -> Path | None:
    """Where data lies: as the run resolved it, else as it was noted, from here or by the run."""
    if not isinstance(resolved, str):
        return None
    places = [Path(resolved)]
    if isinstance(noted, str) and "${" not in noted and not Path(noted).is_absolute():
        places += [Path.cwd() / noted, *(parent / noted for parent in folder.parents)]
    return next((place for place in places if place.exists()), Path(resolved))
