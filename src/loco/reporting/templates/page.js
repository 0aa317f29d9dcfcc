const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

/** An element of the page or of a drawing, with attributes and text. */
function make(tag, attributes = {}, text = "", space = SVG) {
  const element = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== "") element.textContent = text;
  return element;
}
const html = (tag, attributes, text) => make(tag, attributes, text, null);

/** What a cell is sorted by: its number, or its text. */
function sortKey(cell) {
  const text = (cell.dataset.value ?? cell.textContent).trim().replace("−", "-");
  const number = parseFloat(text);
  return Number.isNaN(number) ? text : number;
}

/** Sort a table by a column; what is no number, such as a dash, comes last. */
function sortBy(table, column, ascending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row, i) => [sortKey(row.cells[column]), i, row]);
  const numbers = rows.some(([key]) => typeof key === "number");
  rows.sort(([a, i], [b, j]) => {
    if (numbers && typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    const order = typeof a === "number" ? a - b : a.localeCompare(b);
    return (ascending ? order : -order) || i - j;
  });
  body.append(...rows.map(([, , row]) => row));
}

/** The heads of a sortable table become buttons: the largest number first, or the first name. */
function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (head.tagName !== "TH") return;
    const button = html("button", { type: "button", class: "sort" }, head.textContent);
    button.addEventListener("click", () => {
      const text = table.tBodies[0].rows.length && typeof sortKey(table.tBodies[0].rows[0].cells[column]) === "string";
      const before = head.getAttribute("aria-sort");
      const ascending = before ? before === "descending" : Boolean(text);
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortBy(table, column, ascending);
    });
    head.replaceChildren(button);
  });
}
document.querySelectorAll("table.sortable").forEach(makeSortable);
