"""A command's words composed before Hydra does, so that what is wrong with them is a line.

Hydra finds the same faults, and says of most that something was not found; here the message also
names what is close to it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from loco.errors import SettingError


class Composition:
    """The configuration that a command's words make.

    Args:
        name: of the command and of its configuration.
        words: overrides.
        folder: of the configurations.
        own: a folder of the user's own.
        sweep: whether several values of a setting are several jobs.

    Raises:
        SettingError: `own` is no folder.
    """

    def __init__(
        self, name: str, words: Sequence[str], folder: Path, own: str | None = None,
        sweep: bool = False,
    ) -> None:  # fmt: skip
        self.name, self.words, self.sweep = name, list(words), sweep
        path = create_automatic_config_search_path(None, None, str(folder))
        if own is not None:
            if not Path(own).is_dir():
                raise SettingError(f"--config-dir {own}: expected a folder")
            place = SearchPathQuery(provider="schema")
            path.prepend("command-line", f"file://{Path(own).absolute()}", place)
        version.setbase("1.3")  # as `hydra.main` does, before anything is composed
        self.loader = ConfigLoaderImpl(config_search_path=path)

    @cached_property
    def config(self) -> DictConfig:
        """The whole of it, unresolved; in a sweep without what is swept.

        Raises:
            SettingError: a word names what there is not; says what is close to it.
        """
        try:
            config = self._compose(self.words)
            if self.sweep:
                self._check_swept(config)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise SettingError(self._complaint(error)) from error
        return config

    def _compose(self, words: list[str]) -> DictConfig:
        mode = RunMode.MULTIRUN if self.sweep else RunMode.RUN
        return self.loader.load_configuration(self.name, words, mode)

    def options(self, group: str) -> list[str]:
        """Of a group; none where there is no such group."""
        return list(self.loader.get_group_options(group, ObjectType.CONFIG))

    def groups(self, parent: str = "") -> list[str]:
        """Every group, `data/generator` too."""
        found = []
        for name in self.loader.list_groups(parent):
            group = f"{parent}/{name}" if parent else name
            found += [group] if self.options(group) else []
            found += self.groups(group)
        return found

    # -- what is wrong ----------------------------------------------------------------------------

    def _check_swept(self, config: DictConfig) -> None:
        """Refuse what the jobs of a sweep would be refused for, one by one."""
        for override in self._overrides():
            if not override.is_sweep_override():
                continue
            options = self.options(override.key_or_group)
            if options and override.is_choice_sweep():
                for value in override.sweep_string_iterator():
                    if value == "null":
                        raise SettingError(_no_null(override))
                    for option in value.strip("[]").split(","):  # several at once are a list
                        if option.strip(" '\"") not in options:
                            raise SettingError(self._no_option(override.key_or_group, option))
            elif not options and (told := self._unknown_key(override, config)):
                raise SettingError(told)

    def _overrides(self) -> list[Override]:
        return OverridesParser.create().parse_overrides(self.words)

    def _complaint(self, error: Exception) -> str:
        if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
            return self._no_option(*error.missing_cfg_file.rpartition("/")[::2])
        overrides = self._overrides()
        several = [o for o in overrides if o.is_sweep_override() and not self.sweep]
        if several:
            word, (key, _, value) = several[0].input_line, str(several[0].input_line).partition("=")
            return f"{word}: several values need -m, a job each; a list is {key}=[{value}]"
        chosen = [o for o in overrides if self.options(o.key_or_group) and not o.package]
        if null := [o for o in chosen if not o.is_delete() and o.value() is None]:
            return _no_null(null[0])
        try:
            config = self._compose([str(o.input_line) for o in chosen])
        except (HydraException, OmegaConfBaseException):
            config = self._compose([])
        for override in overrides:
            if override not in chosen and (told := self._unknown_key(override, config)):
                return told
        return " ".join(f"{error} {error.__cause__ or ''}".split())

    def _unknown_key(self, override: Override, config: DictConfig) -> str:
        """What is wrong with the key of an override; nothing if all is well."""
        key, word = override.key_or_group, str(override.input_line)
        parent, _, leaf = key.rpartition(".")
        above = OmegaConf.select(config, parent, throw_on_missing=False) if parent else config
        holds = isinstance(above, DictConfig)
        there = holds and leaf in above.keys()  # noqa: SIM118  also what is missing or null
        if override.is_add() and there and not isinstance(override.value(), dict | list):
            return f"{word}: {key} is there already; leave out the +"
        if there or override.is_add() or override.is_force_add():
            return ""
        own = key.startswith("hydra.")
        keys = [known for known in dotted_keys(config) if known.startswith("hydra.") == own]
        meant = closest(key, [*keys, *self.groups()])
        told = f"{word}: there is no setting or group {key}"
        told += f"; did you mean {' or '.join(meant)}?" if meant else ""
        if holds and parent and not override.is_delete():
            return f"{told} (what {parent} takes beyond those listed has a +: +{word})"
        return told if meant else f"{told}; --help lists what there is"

    def _no_option(self, group: str, option: str) -> str:
        options = self.options(group)
        if not options:
            return f"{group or 'defaults'}={option}: there is no such file of configurations"
        if not group:  # Hydra's --config-name
            options = [name for name in options if not name.startswith("_")]
            return f"--config-name {option}: no such file; there are {', '.join(options)}"
        meant = closest(option, options)
        hint = f"did you mean {' or '.join(meant)}? There" if meant else "there"
        more = (
            ""
            if "hydra/" not in group
            else "; more come with pip install '.[sweep]' in loco's checkout"
        )
        return f"{group}={option}: no such option; {hint} are {', '.join(options)}{more}"


def _no_null(override: Override) -> str:
    group = override.key_or_group
    return f"{override.input_line}: Hydra takes no null for a group; ~{group} leaves it out"


def closest(name: str, known: Iterable[str], most: int = 2) -> list[str]:
    """Names that may have been meant: beside it, elsewhere by the same last part, or alike."""
    known = list(dict.fromkeys(known))
    parent, _, leaf = name.rpartition(".")
    beside = {n.rpartition(".")[2]: n for n in known if n.rpartition(".")[0] == parent}
    if near := difflib.get_close_matches(leaf, beside, most, 0.65):
        return [beside[n] for n in near]
    same = [n for n in known if "." in n and n.rpartition(".")[2] == leaf]
    if same:
        return sorted(same, key=lambda n: n.count("."))[:most]
    spelt = {n.rpartition(".")[2]: n for n in reversed(known)}
    elsewhere = [spelt[n] for n in difflib.get_close_matches(leaf, spelt, most, 0.75)]
    return elsewhere if not parent else difflib.get_close_matches(name, known, most, 0.8)


def dotted_keys(config: DictConfig, parent: str = "") -> list[str]:
    """Every key of a config, also of those that hold others."""
    found = []
    for name, node in (config._content if isinstance(config._content, dict) else {}).items():
        key = f"{parent}.{name!s}" if parent else str(name)
        found += [key, *(dotted_keys(node, key) if isinstance(node, DictConfig) else ())]
    return found
