// SPDX-FileCopyrightText: The mnttrace authors
// SPDX-License-Identifier: Apache-2.0

"use strict";

// Tables that sort and filter. Only the rows that are in sight are elements.
(() => {
  const ROW = 22; // height of a row in px, as in page.css
  const SPARE = 20; // rows that are drawn above and below those in sight
  const PRINTED = 200;
  const WIDEST = 100; // characters of a column

  function element(name, parent, text) {
    const made = parent.appendChild(document.createElement(name));
    if (text !== undefined) made.textContent = text;
    return made;
  }

  const shown = (value) => (value === null ? "" : String(value));

  // Numbers by size, text by its characters, nothing last.
  function compare(a, b) {
    if (a === b) return 0;
    if (a === null || a === "") return b === null || b === "" ? 0 : Infinity;
    if (b === null || b === "") return -Infinity;
    return a < b ? -1 : 1;
  }

  class Table {
    constructor(section, data) {
      this.data = data;
      this.rows = data.rows;
      this.sorted = { column: -1, sign: 1 };
      this.window = section.querySelector(".window");
      this.count = section.querySelector("output");
      this.input = section.querySelector("input");
      this.build();
      this.input.addEventListener("input", () => this.select());
      this.window.addEventListener("scroll", () => this.draw(), { passive: true });
      addEventListener("beforeprint", () => this.draw(PRINTED));
      addEventListener("afterprint", () => this.draw());
      this.select();
    }

    build() {
      const table = element("table", this.window);
      const columns = element("colgroup", table);
      const line = element("tr", element("thead", table));
      let width = 0;
      this.heads = this.data.columns.map((name, at) => {
        const head = element("th", line);
        head.scope = "col";
        const button = element("button", head, name);
        button.type = "button";
        button.addEventListener("click", () => this.sort(at));
        element("col", columns).style.width = `${this.width(name, at)}ch`;
        width += this.width(name, at);
        if (this.data.numbers[at]) head.className = "number";
        return head;
      });
      table.style.width = `${width}ch`;
      this.body = element("tbody", table);
      table.setAttribute("aria-rowcount", this.data.rows.length + 1);
    }

    width(name, at) {
      let widest = name.length + 2;
      for (const row of this.data.rows) widest = Math.max(widest, shown(row[at]).length);
      return Math.min(widest, WIDEST) + 2;
    }

    sort(column) {
      const again = this.sorted.column === column;
      this.sorted = { column, sign: again ? -this.sorted.sign : 1 };
      this.heads.forEach((head, at) => {
        if (at === column) head.ariaSort = this.sorted.sign > 0 ? "ascending" : "descending";
        else head.removeAttribute("aria-sort");
      });
      this.select();
    }

    // The rows in which every word of the filter occurs, in order.
    select() {
      const words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
      this.texts ??= this.data.rows.map((row) => row.map(shown).join("\n").toLowerCase());
      this.rows = this.data.rows.filter((_, at) =>
        words.every((word) => this.texts[at].includes(word)),
      );
      const { column, sign } = this.sorted;
      if (column >= 0) {
        this.rows.sort((a, b) => {
          const order = compare(a[column], b[column]);
          return Number.isFinite(order) ? sign * order : order;
        });
      }
      const all = this.data.rows.length.toLocaleString("en");
      this.count.textContent = `${this.rows.length.toLocaleString("en")} of ${all} rows`;
      this.window.scrollTop = 0;
      this.draw();
    }

    draw(atOnce) {
      const inSight = Math.ceil(this.window.clientHeight / ROW);
      const first = atOnce ? 0 : Math.max(0, Math.floor(this.window.scrollTop / ROW) - SPARE);
      const last = Math.min(this.rows.length, atOnce ?? first + inSight + 2 * SPARE);
      this.body.replaceChildren();
      this.space(first);
      for (let at = first; at < last; at++) this.line(this.rows[at], at);
      this.space(atOnce ? 0 : this.rows.length - last);
      if (atOnce && last < this.rows.length) {
        const more = element("td", element("tr", this.body), `and ${this.rows.length - last} more`);
        more.colSpan = this.heads.length;
      }
    }

    line(values, at) {
      const line = element("tr", this.body);
      line.ariaRowIndex = at + 2;
      values.forEach((value, column) => {
        const cell = element("td", line, shown(value));
        if (this.data.numbers[column]) cell.className = "number";
        else if (cell.textContent.length > WIDEST) cell.title = cell.textContent;
      });
    }

    space(rows) {
      if (!rows) return;
      const line = element("tr", this.body);
      line.className = "space";
      line.ariaHidden = "true";
      line.style.height = `${rows * ROW}px`;
    }
  }

  const data = JSON.parse(document.getElementById("data").textContent);
  for (const section of document.querySelectorAll("[data-table]")) {
    new Table(section, data[section.dataset.table]);
  }
})();
