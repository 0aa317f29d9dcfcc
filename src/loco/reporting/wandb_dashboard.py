"""The project's W&B workspace: what `logger=wandb` logs, laid out for comparing runs and sweeps."""

from __future__ import annotations

import numpy as np
import wandb_workspaces.reports.v2 as panels
import wandb_workspaces.workspaces as workspaces

THRESHOLDS = [f"{threshold:.12g}" for threshold in np.linspace(0.1, 0.9, 9)]
SUMMARY = ("mAP", "mAP@0.5", "mAP@0.7", "mAP@0.9")


def curve(title: str, metrics: list[str], x: str) -> panels.LinePlot:
    """A line for each run; grouped runs show their mean and standard deviation."""
    return panels.LinePlot(
        title=title,
        x=x,
        y=list(metrics),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
    )


def build_workspace(
    entity: str, project: str, name: str = "LoCo", group_by: str | None = None
) -> workspaces.Workspace:
    """The workspace, not yet saved.

    Sections: mAP by tIoU over epochs, runs of a sweep compared, training losses, LCC with σ and τ,
    target windows, and the pictures and tables of the fixed videos.

    Args:
        entity: W&B user or team.
        project: W&B project.
        name: the view's title.
        group_by: a config value whose runs are drawn as one line with its spread, such as
            `attention._target_`; None draws every run.
    """
    settings = workspaces.RunsetSettings()
    if group_by:
        settings.groupby = [workspaces.Config(group_by)]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            workspaces.Section(
                name="mAP by tIoU",
                panels=[
                    curve("validation mAP", ["val/mAP"], "epoch"),
                    *(
                        curve(f"validation mAP@{threshold}", [f"val/mAP@{threshold}"], "epoch")
                        for threshold in THRESHOLDS
                    ),
                ],
                is_open=True,
            ),
            workspaces.Section(
                name="Runs compared",
                panels=[
                    *(
                        panels.BarPlot(title=f"test {metric}", metrics=[f"test/{metric}"])
                        for metric in SUMMARY
                    ),
                    panels.RunComparer(diff_only=True),
                ],
                is_open=True,
            ),
            workspaces.Section(
                name="Training",
                panels=[
                    curve(f"train/{part}", [f"train/{part}"], "trainer/global_step")
                    for part in ("loss", "loss_cls", "loss_reg", "loss_lcc")
                ],
            ),
            workspaces.Section(
                name="LCC",
                panels=[
                    curve("width σ (steps)", ["lcc/sigma"], "trainer/global_step"),
                    curve("temperature τ", ["lcc/temperature"], "trainer/global_step"),
                    panels.MediaBrowser(title="cross-similarity", media_keys=["similarity/*"]),
                ],
                is_open=True,
            ),
            workspaces.Section(
                name="CDP target windows",
                panels=[
                    curve(
                        f"mean size, level {level}", [f"windows/mean_size_level_{level}"], "epoch"
                    )
                    for level in range(6)
                ],
            ),
            workspaces.Section(
                name="Videos and classes",
                panels=[
                    panels.MediaBrowser(title="timelines", media_keys=["timeline/*"]),
                    panels.MediaBrowser(title="test AP by class", media_keys=["test/per_class"]),
                    panels.MediaBrowser(
                        title="precision and recall", media_keys=["test/precision_recall_table"]
                    ),
                ],
            ),
        ],
        runset_settings=settings,
    )
