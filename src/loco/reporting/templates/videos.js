const data = JSON.parse(byId("data").textContent);

/** Whole numbers of the file back to seconds and fractions. */
const events = (rows) => rows.map(([start, end, label, score]) =>
  ({ start: start / 1000, end: end / 1000, label, score: score / 1000 }));

function tiou(a, b) {
  const common = Math.min(a.end, b.end) - Math.max(a.start, b.start);
  return common <= 0 ? 0 : common / (Math.max(a.end, b.end) - Math.min(a.start, b.start));
}

const best = (event, truth) =>
  Math.max(0, ...truth.filter((t) => t.label === event.label).map((t) => tiou(event, t)));

function drawMatrix(video, truth, matrix) {
  const scale = data.scales[matrix.scale], left = 34, side = 300, span = matrix.end - matrix.start;
  const x = (seconds) => left + ((seconds - matrix.start) / span) * side;
  const y = (seconds) => side + 4 - ((seconds - matrix.start) / span) * side;
  const svg = make("svg", { viewBox: `0 0 ${left + side + 8} ${side + 42}`, role: "img" });
  svg.setAttribute("aria-label", `Similarity of sight and sound of ${video.id}, ${scale.name}`);
  svg.append(make("image", { x: left, y: 4, width: side, height: side, href: matrix.image,
    preserveAspectRatio: "none", style: "image-rendering:pixelated" }));
  const clip = (seconds) => Math.min(Math.max(seconds, matrix.start), matrix.end);
  for (const event of truth) {
    const start = clip(event.start), end = clip(event.end);
    const frame = { x: x(start), y: y(end), width: x(end) - x(start), height: y(start) - y(end), fill: "none" };
    svg.append(make("rect", { ...frame, stroke: "#000", "stroke-width": 3, "stroke-opacity": 0.6 }));
    const box = make("rect", { ...frame, stroke: "#fff", "stroke-width": 1.3 });
    box.append(make("title", {}, data.classes[event.label]));
    svg.append(box);
  }
  for (const tick of ticks(matrix.end, 6).filter((t) => t >= matrix.start)) {
    svg.append(make("text", { x: x(tick), y: side + 20, "font-size": 12, fill: "var(--soft)", "text-anchor": "middle" }, tick));
    svg.append(make("text", { x: left - 5, y: y(tick) + 4, "font-size": 12, fill: "var(--soft)", "text-anchor": "end" }, tick));
  }
  svg.append(make("text", { x: left + side / 2, y: side + 37, "font-size": 12, fill: "var(--soft)", "text-anchor": "middle" }, "audio time (s)"));
  svg.append(make("text", { transform: `translate(11 ${side / 2}) rotate(-90)`, "font-size": 12, fill: "var(--soft)", "text-anchor": "middle" }, "visual time (s)"));
  const card = html("div", { class: "matrix" });
  card.append(html("h3", {}, `Similarity, ${scale.name}`), svg);
  const bar = html("div", { class: "scale" });
  const middle = html("span");
  middle.style.background = `linear-gradient(90deg, ${data.palette.join(",")})`;
  bar.append(html("span", {}, scale.low.toFixed(2)), middle, html("span", {}, scale.high.toFixed(2)));
  card.append(bar, html("p", { class: "note" },
    `Cosine; events framed. Std ${matrix.std.toFixed(3)}, mean of std of the videos here ${scale.meanOfStd.toFixed(3)}.`));
  return card;
}

function listPredictions(found) {
  byId("predictions").replaceChildren(...found.map((event) => {
    const row = html("tr");
    row.append(html("td", {}, data.classes[event.label]),
      ...[event.start, event.end, event.score, event.tiou].map((v) => html("td", {}, v.toFixed(2))));
    return row;
  }));
}

/** The film of a video, where one was looked for: a player, or a line that says that there is none. */
function drawFilm(video) {
  const place = byId("film");
  place.replaceChildren();
  if (!data.videoRoot) return;
  if (!video.film) {
    place.append(html("p", { class: "note" }, `No film: there is none of ${video.id} in ${data.videoRoot}.`));
    return;
  }
  const player = html("video", { controls: "", preload: "metadata", playsinline: "", src: video.film.src });
  const link = html("a", { href: video.film.src }, video.film.path);
  const note = html("p", { class: "note" }, "Film: ");
  note.append(link, ". A click on an event or a prediction plays from its start.");
  player.addEventListener("error", () => {
    const gone = html("p", { id: "gone" }, "The film cannot be played: it is gone, or of a form that browsers do not " +
      `play. It is expected at ${video.film.path}, seen from this page.`);
    place.replaceChildren(gone);
  });
  player.addEventListener("timeupdate", () => {
    for (const svg of document.querySelectorAll("#timeline svg")) {
      const x = svg.place(Math.min(player.currentTime, video.duration)), head = svg.querySelector(".head");
      for (const [name, value] of [["x1", x], ["x2", x], ["visibility", "visible"]]) head.setAttribute(name, value);
    }
  });
  place.append(player, note);
}

function seek(seconds) {
  const player = document.querySelector("#film video");
  if (!player) return;
  player.currentTime = seconds;
  player.play().catch(() => {});
}

let current = null, position = 0, ordered = [], truth = [], found = [];

const from = (least, list) => list.filter((event) => event.score >= least);
const meets = (kept, t) => kept.some((event) => event.label === t.label && tiou(event, t) >= 0.5);
const inPercent = (value) => (value === null ? "–" : (100 * value).toFixed(2));

function draw() {
  const least = +byId("score").value, width = Math.max(byId("timeline").clientWidth - 16, 200);
  byId("threshold").textContent = least.toFixed(2);
  const lines = found.map((list, i) => {
    const kept = from(least, list), met = truth.filter((t) => meets(kept, t)).length;
    const name = found.length > 1 ? `${data.runs[i]}: ` : "";
    return `${name}${met} of them met; ${kept.length} of ${list.length} predictions; mAP ${inPercent(current.scores[i])} %`;
  });
  byId("summary").textContent = `${current.duration.toFixed(1)} s, ${truth.length} events${found.length > 1 ? ". " : ", "}${lines.join(". ")}.`;
  byId("timeline").replaceChildren(...found.flatMap((list, i) => {
    const svg = timeline(current, data.classes, truth, from(least, list), width, current.film && seek);
    return found.length > 1 ? [html("h3", {}, data.runs[i]), svg] : [svg];
  }));
  listPredictions(from(least, found[0]));
}

/** Show the video at a place in the order. */
function choose(place) {
  position = place;
  current = data.videos[ordered[place]];
  byId("video").selectedIndex = place;
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place >= ordered.length - 1;
  truth = events(current.truth);
  found = [current.found, ...current.other].map((rows) =>
    events(rows).map((event) => ({ ...event, tiou: best(event, truth) })));
  byId("matrices").replaceChildren(...current.matrices.map((matrix) => drawMatrix(current, truth, matrix)));
  drawFilm(current);
  draw();
}

const score = (video) => video.scores[0];
const gain = (video) => (video.scores[1] === null || video.scores[0] === null ? null : video.scores[0] - video.scores[1]);
/** Names of orders, what they go by, and which end comes first; videos without a value come last. */
const ORDERS = [["best first", score, -1], ["worst first", score, 1],
  ...(data.runs.length > 1 ? [["better than the other run first", gain, -1], ["worse than the other run first", gain, 1]] : []),
  ["by name", () => 0, 1]];

function reorder() {
  const [, key, sign] = ORDERS[byId("order").selectedIndex];
  ordered = data.videos.map((_, i) => i).sort((i, j) => {
    const a = key(data.videos[i]), b = key(data.videos[j]);
    return (a === null) - (b === null) || sign * (a - b) || i - j;
  });
  byId("video").replaceChildren(...ordered.map((i) => {
    const video = data.videos[i], names = [...new Set(video.truth.map((row) => data.classes[row[2]]))];
    const shown = names.slice(0, 3).join(", ") + (names.length > 3 ? ", …" : "");
    return html("option", {}, `${video.id} (mAP ${inPercent(score(video))} %, ${video.truth.length}: ${shown})`);
  }));
  choose(0);
}

if (data.confusion) drawConfusion(byId("confusion"), data.classes, data.confusion);
byId("videos").hidden = !data.videos.length;
if (data.videos.length) {
  byId("order").append(...ORDERS.map(([name]) => html("option", {}, name)));
  byId("order").addEventListener("change", reorder);
  byId("video").addEventListener("change", (event) => choose(event.target.selectedIndex));
  byId("previous").addEventListener("click", () => choose(position - 1));
  byId("next").addEventListener("click", () => choose(position + 1));
  byId("score").addEventListener("input", draw);
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; draw(); } });
  reorder();
}
