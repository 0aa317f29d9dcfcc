/** The matrix of [row, column, count]: a table whose heads stay in sight, darker where there is more. */
function drawConfusion(table, classes, cells) {
  const K = classes.length, counts = new Map(cells.map(([i, j, n]) => [i * (K + 1) + j, n]));
  const totals = Array(K + 1).fill(0);
  for (const [i, , n] of cells) totals[i] += n;
  const used = Array.from({ length: K + 1 }, (_, k) => k).filter((k) =>
    totals[k] || cells.some(([, j]) => j === k));
  const rows = used.filter((k) => totals[k]), columns = used.filter((k) => k < K || cells.some(([, j]) => j === K));
  const rowName = (k) => (k < K ? classes[k] : "background");
  const columnName = (k) => (k < K ? classes[k] : "missed");
  const cut = (name) => (name.length > 26 ? name.slice(0, 25) + "…" : name);
  table.classList.toggle("dense", columns.length > 16);
  const head = html("tr");
  head.append(html("td", { class: "corner" }, "event ↓ predicted →"));
  for (const k of columns) {
    const cell = html("th", { scope: "col", title: columnName(k) });
    cell.append(html("span", {}, cut(columnName(k))));
    head.append(cell);
  }
  const body = html("tbody");
  for (const i of rows) {
    const row = html("tr");
    row.append(html("th", { scope: "row", title: rowName(i) }, cut(rowName(i))));
    for (const j of columns) {
      const count = counts.get(i * (K + 1) + j) ?? 0, part = totals[i] ? count / totals[i] : 0;
      const cell = html("td", {}, count ? (100 * part).toFixed(0) : "");
      if (count) {
        const color = i === j ? "var(--hit)" : "var(--miss)";
        cell.style.background = `color-mix(in srgb, ${color} ${Math.round(6 + 64 * part)}%, transparent)`;
        cell.title = i < K ? `${rowName(i)}: ${count} of ${totals[i]} events ${j < K ? "predicted as " + classes[j] : "missed"}`
          : `${count} of ${totals[i]} predictions on background: ${classes[j]}`;
      }
      row.append(cell);
    }
    body.append(row);
  }
  const top = html("thead");
  top.append(head);
  table.replaceChildren(top, body);
}
