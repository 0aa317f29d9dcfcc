/** For each event, the first lane in which none before it is in the way. */
function lanes(list) {
  const taken = [];
  return list.map((event) => {
    let lane = taken.findIndex((others) => others.every((o) => o.end <= event.start || o.start >= event.end));
    if (lane < 0) lane = taken.push([]) - 1;
    taken[lane].push(event);
    return lane;
  });
}

/** A step of 1, 2 or 5 times a power of ten that gives at most `count` ticks. */
function tickStep(length, count) {
  const rough = length / count, power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}
const ticks = (length, count) => {
  const step = tickStep(length, count);
  return Array.from({ length: Math.floor(length / step + 1e-9) + 1 }, (_, i) => +(i * step).toFixed(6));
};

/** A drawing `width` wide: ground truth and predictions of one run, a row for each class. */
function timeline(video, classes, truth, found, width, seek) {
  const wide = width > 640, left = wide ? 150 : 4, right = 10, bar = 14, gap = 4;
  const x = (seconds) => left + (seconds / video.duration) * (width - left - right);
  // classes that there are, in the order of time, then the others, the surest first
  const labels = [...new Set([...[...truth].sort((a, b) => a.start - b.start), ...found].map((event) => event.label))];
  const svg = make("svg", { role: "img" });
  svg.setAttribute("aria-label", `Timeline of ${video.id}: ${truth.length} events, ${found.length} predictions`);
  let y = 6;
  const rows = make("g");
  for (const label of labels) {
    const top = y, name = classes[label];
    const head = make("text", { x: wide ? 4 : left, y: y + 12, "font-size": 13, fill: "var(--ink)" },
      wide && name.length > 20 ? name.slice(0, 19) + "…" : name);
    head.append(make("title", {}, name));
    rows.append(head);
    if (!wide) y += 18;
    for (const [list, kind] of [[truth, "truth"], [found, "found"]]) {
      const own = list.filter((event) => event.label === label), places = lanes(own);
      own.forEach((event, i) => {
        const hit = kind === "truth" || event.tiou >= 0.5;
        const start = x(event.start), length = Math.max(x(event.end) - start, 1.5);
        const at = y + places[i] * (bar + gap);
        const color = kind === "truth" ? "var(--truth)" : hit ? "var(--hit)" : "var(--miss)";
        const box = make("rect", { x: start, y: at, width: length, height: bar, rx: 2, fill: color,
          class: kind, "fill-opacity": kind === "truth" ? 1 : (hit ? 0.3 : 0.1) + 0.6 * event.score,
          stroke: color, "stroke-width": 1.2, "stroke-dasharray": hit ? "none" : "4 2" });
        const score = kind === "truth" ? "" : `, score ${event.score.toFixed(2)}, tIoU ${event.tiou.toFixed(2)}`;
        box.append(make("title", {}, `${name}, ${event.start.toFixed(2)}–${event.end.toFixed(2)} s${score}`));
        if (seek) box.addEventListener("click", () => seek(event.start));
        rows.append(box);
        if (kind === "found" && length > 30)
          rows.append(make("text", { x: start + 4, y: at + 11, "font-size": 11, fill: "var(--ink)",
            "pointer-events": "none" }, event.score.toFixed(2)));
      });
      if (own.length) y += (Math.max(...places) + 1) * (bar + gap);
    }
    y = Math.max(y, top + 18) + 6;
    rows.append(make("line", { x1: 0, x2: width, y1: y - 4, y2: y - 4, stroke: "var(--grid)" }));
    y += 2;
  }
  if (!labels.length) {
    rows.append(make("text", { x: left, y: y + 12, "font-size": 13, fill: "var(--soft)" },
      "no event, and no prediction from this score on"));
    y += 22;
  }
  for (const tick of ticks(video.duration, wide ? 12 : 6)) {
    svg.append(make("line", { x1: x(tick), x2: x(tick), y1: 2, y2: y, stroke: "var(--grid)" }));
    svg.append(make("text", { x: x(tick), y: y + 14, "font-size": 12, fill: "var(--soft)",
      "text-anchor": tick ? "middle" : "start" }, tick));
  }
  svg.append(rows, make("text", { x: width, y: y + 30, "font-size": 12, fill: "var(--soft)",
    "text-anchor": "end" }, "time (s)"));
  if (seek) svg.append(make("line", { class: "head", x1: left, x2: left, y1: 0, y2: y, visibility: "hidden" }));
  svg.setAttribute("viewBox", `0 0 ${width} ${y + 34}`);
  svg.place = x;
  return svg;
}
