"""Draw docs/house.svg, the rooms and which uses which, from the imports of the code.

python -m docs.draw_house
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from docs.house import PACKAGE, ROOMS, module_files, read_imports, room, uses

PICTURE = Path(__file__).with_name("house.svg")

LIVES = {
    "errors": "what goes wrong, told to users in a line",
    "files": "written whole or not at all",
    "structures": "what flows: TimeGrid, Events, Sample, Batch",
    "nn": "parts of several nets: layers, attention, blocks",
    "detection": "assignment, losses, decoding, suppression",
    "detectors": "whole systems, one folder each: loco, …",
    "data": "annotations and feature files → batches",
    "video": "raw video → feature files",
    "evaluation": "mAP, where it is lost, intervals, baselines",
    "training": "Lightning's module, optimiser, callbacks",
    "runs": "train, evaluate, predict; run folders",
    "reporting": "figures, reports, W&B",
    "sweeps": "many runs: jobs, tables, pages",
    "cli": "the command loco",
}
HUES = {
    "errors": "ground", "files": "ground", "structures": "ground", "nn": "parts",
    "detection": "parts", "detectors": "parts", "data": "data", "video": "data",
    "evaluation": "judge", "training": "train", "runs": "train", "reporting": "look",
    "sweeps": "look", "cli": "look",
}  # fmt: skip

STYLE = """
svg { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
.paper { fill: #ffffff } .name { fill: #ffffff; font-size: 14px; font-weight: 650 }
.what { fill: #ffffff; font-size: 12px } .note { fill: #57606a; font-size: 12px }
.beam { stroke: #d0d7de; stroke-width: 1.5 } .pillar { stroke-width: 3; stroke-linecap: round }
.joint { stroke: #ffffff; stroke-width: 2 }
.ground { --hue: #57606a } .parts { --hue: #0a62b8 } .data { --hue: #0f7268 }
.judge { --hue: #95590a } .train { --hue: #a83a30 } .look { --hue: #7542b5 }
.box, .joint { fill: var(--hue) } .pillar { stroke: var(--hue) }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117 } .note { fill: #9198a1 } .beam { stroke: #343b44 }
  .joint { stroke: #0d1117 } .name, .what { fill: #0d1117 }
  .ground { --hue: #a9b1ba } .parts { --hue: #6cb0f5 } .data { --hue: #52bfae }
  .judge { --hue: #dda343 } .train { --hue: #f08b80 } .look { --hue: #bd97f0 }
}
"""

WIDTH, MARGIN = 800, 16
FLOOR, GAP = 34, 6
"""Height of a room, and what is between two of them."""
TOP_ROOM = 330
"""Width of the highest room; each one below stands out a step farther."""


def draw(package: Path = PACKAGE) -> str:
    """The picture as SVG: boxes from the ground up, each with a pillar, and a dot for each user."""
    present = {room(module) for module in module_files(package)}
    rooms = [name for name in ROOMS if name in present]
    used = uses(read_imports(package))
    step = (WIDTH - 2 * MARGIN - TOP_ROOM) / (len(rooms) - 1)
    right = {name: WIDTH - MARGIN - i * step for i, name in enumerate(rooms)}
    top = {name: MARGIN + i * (FLOOR + GAP) for i, name in enumerate(reversed(rooms))}
    middle = {name: y + FLOOR / 2 for name, y in top.items()}
    pillar = {name: x - step / 2 for name, x in right.items()}
    beams, pillars, boxes, joints = [], [], [], []
    for name in rooms:
        hue, y = HUES[name], middle[name]
        below = [other for other in rooms if other in used.get(name, ())]
        above = [other for other in rooms if name in used.get(other, ())]
        if below:
            reach = max(pillar[other] for other in below)
            beams.append(line("beam", right[name], y, reach, y))
        if above:
            x, roof = pillar[name], min(middle[other] for other in above)
            pillars.append(line(f"pillar {hue}", x, top[name], x, roof))
        boxes.append(
            f'<g class="{hue}"><rect class="box" x="{MARGIN}" y="{top[name]}" '
            f'width="{right[name] - MARGIN:.1f}" height="{FLOOR}" rx="5"/>'
            f'<text class="name" x="{MARGIN + 12}" y="{y + 5:g}">{name}</text>'
            f'<text class="what" x="{MARGIN + 112}" y="{y + 4.5:g}">{escape(LIVES[name])}</text>'
            "</g>"
        )
        joints += [
            f'<circle class="joint {HUES[other]}" cx="{pillar[other]:.1f}" cy="{y:g}" r="6.5">'
            f"<title>{name} uses {other}</title></circle>"
            for other in below
        ]
    base = MARGIN + len(rooms) * (FLOOR + GAP)
    height = base + 34
    note = (
        "Read a row to the right: a dot on a pillar says that the room uses the one that the "
        "pillar stands on."
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">',
            '<title id="title">The rooms of src/loco, and which uses which</title>',
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>',
            *beams, *pillars, *boxes, *joints,
            f'<text class="note" x="{MARGIN}" y="{base + 18}">{note}</text>',
            "</svg>\n",
        ]
    )  # fmt: skip


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:g}" x2="{x2:.1f}" y2="{y2:g}"'
    return f'<line class="{kind}" {ends}/>'


if __name__ == "__main__":
    PICTURE.write_text(draw(), "utf-8")
    print(PICTURE)
