"""Build the project's W&B workspace: mAP curves by tIoU, sweep comparison, LCC, target windows.

Saving needs a W&B account (`wandb login`); --dry-run builds it and prints what it holds.
"""

from __future__ import annotations

import argparse

from loco.errors import LocoError


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="loco dashboard", description=__doc__)
    parser.add_argument("--entity", help="W&B user or team (needed to save)")
    parser.add_argument("--project", default="loco", help="W&B project (default: loco)")
    parser.add_argument("--name", default="LoCo", help="title of the view (default: LoCo)")
    parser.add_argument(
        "--group-by",
        metavar="KEY",
        help="config value whose runs become one line with its spread, e.g. attention._target_",
    )
    parser.add_argument("--dry-run", action="store_true", help="build and list it, save nothing")
    args = parser.parse_args(arguments)
    if not args.dry_run and not args.entity:
        parser.error("--entity is needed to save; --dry-run builds the workspace without")

    try:
        from loco.reporting.wandb_dashboard import build_workspace
    except ModuleNotFoundError as error:
        raise LocoError(
            f"{error}; it needs pip install '.[dashboard]' in loco's checkout"
        ) from None

    workspace = build_workspace(args.entity or "nobody", args.project, args.name, args.group_by)
    for section in workspace.sections:
        print(f"{section.name}: {len(section.panels)} panels")
    if args.dry_run:
        return 0
    try:
        workspace.save()
    except Exception as error:  # whatever the service or the network answers
        reason = str(error).splitlines()[0][:200]
        raise LocoError(f"W&B did not take the workspace: {reason}") from None
    print(workspace.url)
    return 0
