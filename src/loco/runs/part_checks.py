"""The parts that a configuration names, built once without weights before anything is read."""

from __future__ import annotations

import re
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from loco.errors import SettingError
from loco.runs.checkpoints import build_module
from loco.runs.command.quoting import HIDDEN, plain_without_secrets
from loco.runs.settings import flat


def check_parts(config: DictConfig) -> None:
    """Let the constructors of the model and of the data set's layout check their settings.

    Raises:
        SettingError: one is out of its range, or a text of the model is named as secrets are, which
            checkpoints do not keep; names its key.
    """
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    kept = flat(plain_without_secrets(plain))
    hidden = [k for k, v in flat(plain).items() if kept[k] == HIDDEN != v]
    if lost := [key for key in hidden if key.startswith("model.")]:
        raise SettingError(
            f"{lost[0]}: is named as a secret is, and checkpoints keep none, so that the model "
            "could not be built again; give the setting another name"
        )
    model: Any = plain["model"]
    for task in (model.get("tasks") or {}).values():
        task["text"] = "random"  # whose rows are as many as the data has classes
    width = model.get("dim")  # as good as any; without convolutions it must be this
    width = width if isinstance(width, int) and width > 0 else 1
    sizes = {"visual_channels": width, "audio_channels": width}
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            if config.data.get("sets") is None:
                known = {str(key): value for key, value in plain.items()}
                build_module({**known, **sizes, "class_names": ["any"]})
            else:
                classes = dict.fromkeys(config.data.sets, 1)
                instantiate(OmegaConf.create(model), **sizes, num_classes=classes)
        for part in ("layout", "generator"):
            if config.data.get(part) is not None:
                instantiate(config.data[part])
    except InstantiationException as error:
        cause = error.__cause__
        if not isinstance(cause, ValueError):
            raise
        key = re.search(r"full_key: (\S+)\s*$", str(error))
        message = " ".join(str(cause).split())
        where = _key_of(message, plain) or (key[1] if key else "model")
        raise SettingError(f"{where}: {message}") from error


def _key_of(message: str, plain: dict) -> str:
    """The key of the setting that a message begins with; nothing where several are called so.

    Partial parts, such as the attention, are built by the model, which Hydra would name.
    """
    name = message.partition(" ")[0]
    groups = ("model", "attention", "correspondence")
    settings = flat({group: plain[group] for group in groups if group in plain})
    found = [key for key in settings if key.rpartition(".")[2] == name]
    own = [key for key in found if not re.match(r"model\.(attention|correspondence)\.", key)]
    return own[0] if len(own) == 1 else ""
