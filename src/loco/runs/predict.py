"""The events of videos without annotations, written in the forms that people and tools read."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from loco.data.datamodule import AVDataModule
from loco.errors import SettingError
from loco.runs.callbacks import build_callbacks, call_on_results
from loco.runs.checkpoints import check_fits, find_checkpoint, load_module
from loco.runs.entry import naming_settings, unknown_argument
from loco.runs.export import FILM_FORMATS, above, check_formats, write_predictions
from loco.runs.extract import check_on_damage, extract_for_checkpoint, videos_of_config
from loco.runs.folders import refuse_training
from loco.runs.player import write_captioned, write_page
from loco.runs.processes import num_processes
from loco.runs.provenance import noting
from loco.runs.results import counted, detections_table, show, tell_incomplete
from loco.runs.settings import check_numbers, merged_data, names_in
from loco.runs.trusted import build_trusted
from loco.structures import Events
from loco.training.gather import merged

log = logging.getLogger(__name__)

FILE_KEYS = (
    "layout", "max_length_difference", "modality", "eval_batch_size", "batch_size", "num_workers",
)  # fmt: skip


@naming_settings()
def predict(config: DictConfig) -> dict[str, Events]:
    """Write the detections of videos, or of every one in a folder of feature files.

    Raises:
        IncompleteError: at the end, where videos had to be left out; it names them.
    """
    check_numbers(config)
    check_formats(names_in(config.formats), films=config.videos is not None)
    check_on_damage(config)
    if config.videos is None:
        if OmegaConf.is_missing(config.data, "root"):
            raise SettingError(
                "videos=…, or data.root=… of feature files, is needed; --help says more"
            )
    elif not OmegaConf.is_missing(config.data, "root"):
        raise SettingError("videos and data.root: expected one of them, got both")
    elif num_processes(config) > 1:
        raise SettingError("videos=…: expected trainer.devices=1 (or loco extract first)")
    refuse_training(Path(config.output_dir))
    file = find_checkpoint(config.ckpt_path, best=True)
    log.info("predicting with %s", file)
    trust = names_in(config.trust)
    module = load_module(file, trust)
    failed: dict[str, str] = {}
    asked: list[str] | None = None  # all that the folder has
    if config.videos is not None:
        root, extractor, summary = extract_for_checkpoint(config, module, file, trust)
        failed, asked = summary.failed, sorted({*summary.made, *summary.kept})
        config.data.root = str(root)
    kept = {key: module.hparams["data"].get(key) for key in FILE_KEYS}
    settings = merged_data(kept, config.data)
    settings.annotations = config.data.annotations
    given = {str(key): value for key, value in settings.items() if value is not None}
    if config.videos is None:
        given["layout"] = build_trusted(settings.layout, file, trust)
    else:
        given["layout"] = extractor.layout
    try:
        data = AVDataModule(**{"annotations": None, "batch_size": 1} | given)
    except (TypeError, ValueError) as error:
        raise SettingError(
            unknown_argument(AVDataModule, str(error)) or f"data: {error}"
        ) from error
    data.known_classes, data.predict_videos = module.class_names, asked
    data.setup("predict")
    check_fits(file, module, data)
    callbacks = build_callbacks(config)
    trainer: lightning.Trainer = instantiate(config.trainer, logger=False, callbacks=callbacks)
    output = Path(config.output_dir)
    with noting(output, trainer, data, ("predict",), checkpoint=file) as finished:
        batches = trainer.predict(module, datamodule=data) or []
        detections = {video: events for batch in batches for video, events in batch.items()}  # type: ignore[union-attr]
        detections = merged(detections)
        if not trainer.is_global_zero:
            return detections
        shown = _write(config, detections, module.class_names)
        finished()
        call_on_results(callbacks, output, module, data)
        tell_incomplete(data, "predict", shown, failed)
        return shown


def _write(
    config: DictConfig, detections: dict[str, Events], class_names: list[str]
) -> dict[str, Events]:
    """Write detections as the config asks for, show some; returns those that score enough."""
    output, formats = Path(config.output_dir), names_in(config.formats)
    written = write_predictions(
        output, detections, class_names,
        [name for name in formats if name not in FILM_FORMATS], config.min_score,
        films=None if config.videos is None else videos_of_config(config),
    )  # fmt: skip
    shown = {video: above(events, config.min_score) for video, events in detections.items()}
    if config.videos is not None:
        films = videos_of_config(config)
        for name, write in (("html", write_page), ("mp4", write_captioned)):
            if name in formats:
                written.append(write(output, films, shown, class_names))
    for video in sorted(shown)[: config.show]:
        show(detections_table(video, shown[video], class_names))
    if (more := len(shown) - config.show) > 0:
        log.info("… and %d more videos (show=N shows more of them)", more)
    empty = sum(not len(events) for events in shown.values())
    none = f", {empty} of them without any of score {config.min_score:g}" if empty else ""
    for path in written:
        log.info("%s: detections of %s%s", path, counted(len(shown), "video"), none)
    if shown and empty == len(shown):
        log.warning("nothing scores min_score=%g or more; %s", config.min_score, _best(detections))
    return shown


def _best(detections: dict[str, Events]) -> str:
    """The best score of all detections, in words."""
    best = {
        video: float(events.scores.max())
        for video, events in detections.items()
        if events.scores is not None and len(events)
    }
    if not best:
        return "there are no detections at all"
    video = max(best, key=lambda name: best[name])
    return f"the best score is {best[video]:.3f}, in {video}"
