"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [film, least, value, lanes, axis, none, video, gone, now, note] =
  ["film", "least", "value", "lanes", "axis", "none", "video", "gone", "now", "note"]
    .map(id => document.getElementById(id));
const hue = name => 360 * ((data.classes.indexOf(name) * 0.618) % 1);
const clock = seconds => {
  const tenths = Math.round(10 * seconds);
  return `${Math.floor(tenths / 600)}:${(tenths % 600 / 10).toFixed(1).padStart(4, "0")}`;
};
let current, shown = [];

for (const [i, one] of data.videos.entries()) film.add(new Option(one.id, i));
film.disabled = data.videos.length < 2;

function length() {
  const last = Math.max(1, ...current.events.map(e => e[1]));
  return Number.isFinite(video.duration) ? Math.max(video.duration, last) : last;
}

function draw() {
  lanes.replaceChildren();
  shown = [];
  const events = current.events.filter(e => e[3] >= least.value);
  value.textContent = `${Number(least.value).toFixed(2)} · ${events.length} of ${current.events.length}`;
  for (const name of data.classes.filter(c => events.some(e => e[2] === c))) {
    const lane = document.createElement("div");
    lane.className = "lane";
    const label = document.createElement("span");
    label.textContent = label.title = name;
    const track = document.createElement("div");
    track.className = "track";
    lane.append(label, track);
    for (const event of events.filter(e => e[2] === name)) {
      const [start, end, , score] = event;
      const bar = document.createElement("button");
      bar.style.left = `${100 * start / length()}%`;
      bar.style.width = `${100 * (end - start) / length()}%`;
      bar.style.background = `hsl(${hue(name)} 70% 50% / ${0.25 + 0.75 * score})`;
      bar.title = `${name}, ${clock(start)}–${clock(end)}, score ${score.toFixed(2)}`;
      bar.setAttribute("aria-label", `jump to ${bar.title}`);
      bar.onclick = () => { video.currentTime = start; video.play().catch(() => {}); };
      track.append(bar);
      shown.push([event, bar]);
    }
    lanes.append(lane);
  }
  const time = document.createElement("div"), head = document.createElement("div");
  time.id = "time";
  head.id = "head";
  time.append(head);
  lanes.append(time);
  axis.replaceChildren(...[0, .25, .5, .75, 1].map(part => {
    const tick = document.createElement("span");
    tick.textContent = clock(part * length());
    return tick;
  }));
  none.hidden = events.length > 0;
  follow();
}

function follow() {
  const time = video.currentTime, head = document.getElementById("head");
  if (head) head.style.left = `${100 * time / length()}%`;
  const going = shown.filter(([e]) => e[0] <= time && time < e[1]);
  for (const [event, bar] of shown) bar.classList.toggle("now", going.some(([e]) => e === event));
  const text = going.sort(([a], [b]) => b[3] - a[3]).map(([e]) => `${e[2]} (${e[3].toFixed(2)})`).join(" · ");
  if (now.textContent !== text) now.textContent = text;
}

function choose() {
  current = data.videos[film.value];
  gone.hidden = true;
  video.hidden = false;
  video.src = current.src;
  note.textContent = current.note;
  least.value = Math.floor(100 * current.least) / 100;
  draw();
}

video.onerror = () => {
  gone.textContent = `The film cannot be played: it is expected at ${current.path}, seen from this page. `
    + "If it was moved, put it there again, or predict once more.";
  gone.hidden = false;
  video.hidden = true;
};
video.onloadedmetadata = draw;
video.ontimeupdate = video.onseeked = follow;
(function frame() { if (!video.paused) follow(); requestAnimationFrame(frame); })();
film.onchange = choose;
least.oninput = draw;
if (data.videos.length) choose();
