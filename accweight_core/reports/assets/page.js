"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let NAMED = 0; // curves with a colour of their own: as many as the theme has
  while (css(`--curve-${NAMED}`)) NAMED++;
  const MANY = 40; // curves from which on the others are drawn transparent
  const HEIGHT = 340;
  const NEAR = 30; // pixels within which a curve is pointed at

  const read = (value) => (value == null ? "-" : Number(value.toPrecision(4)).toString());

  function button(all) {
    const table = all.previousElementSibling;
    all.addEventListener("click", () => {
      const shown = table.classList.toggle("shown-all");
      all.textContent = shown ? all.dataset.less : all.dataset.label;
    });
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => {
      const first = body.rows[0] && body.rows[0].cells[column];
      if (!first || !("value" in first.dataset)) return;
      head.classList.add("sortable");
      head.tabIndex = 0;
      const sort = () => {
        const key = (row) => {
          const value = parseFloat(row.cells[column].dataset.value);
          return Number.isNaN(value) ? -Infinity : value;
        };
        const upwards = column === 0; // ranks
        const more = [...body.rows].filter((row) => row.classList.contains("more")).length;
        const rows = [...body.rows].sort((a, b) => (upwards ? key(a) - key(b) : key(b) - key(a)));
        rows.forEach((row, place) => {
          row.classList.toggle("more", place >= rows.length - more);
          body.append(row);
        });
        heads.forEach((other) => other.classList.toggle("sorted", other === head));
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
      });
    });
  }

  function curves(element) {
    const run = data.runs[Number(element.dataset.run)];
    const select = element.querySelector(".metric"), log = element.querySelector(".log");
    const chart = element.querySelector(".chart"), readout = element.querySelector(".readout");
    const steps = run.places.map((place) => run.steps[place]);
    let plot = null;

    // the leading layers are drawn last, above the others
    const place = (one) => run.names.length - one;
    const faint = () => css("--faint") + (run.names.length > MANY ? "50" : "");
    const colour = (place) => (place < NAMED ? css(`--curve-${place}`) : faint());
    const WHOLE = [1, 2, 5].flatMap((digit) => [...Array(15).keys()].map((zeros) => digit * 10 ** zeros)).sort((a, b) => a - b); // between ticks: there is no step 2.5

    const key = element.querySelector(".key");
    run.names.slice(0, NAMED).forEach((name, at) => {
      const entry = document.createElement("span"), mark = document.createElement("i");
      mark.style.color = `var(--curve-${at})`;
      entry.append(mark, name);
      entry.title = name;
      key.append(entry);
    });
    if (run.names.length > NAMED) key.append(`and ${run.names.length - NAMED} more: point at a curve`);

    function pointed(self, where) {
      const { left, top, idx } = self.cursor;
      if (idx == null || left < 0) return null;
      let best = null, least = NEAR;
      for (let one = 1; one < self.series.length; one++) {
        const value = self.data[one][idx];
        if (value == null) continue;
        const away = Math.abs(self.valToPos(value, "y") - top);
        if (away < least) { least = away; best = one; }
      }
      return best;
    }

    function say(self) {
      const one = pointed(self);
      self.root.dataset.pointed = one || "";
      readout.textContent = "\u00a0";
      if (one == null) { self.setSeries(null, { focus: false }); return; }
      self.setSeries(one, { focus: true });
      const mark = document.createElement("i");
      mark.style.background = colour(place(one));
      const idx = self.cursor.idx, at = place(one);
      readout.replaceChildren(
        mark,
        `${run.names[at]}: ${select.value} ${read(run.metrics[select.value][at][idx])} at step ${steps[idx]}`
      );
    }

    function draw() {
      const values = [...run.metrics[select.value]].reverse();
      element.querySelector(".says").textContent = data.words[select.value];
      const positive = (row) => row.map((value) => (value > 0 ? value : null));
      const rows = log.checked ? values.map(positive) : values;
      const axis = () => ({
        stroke: css("--dim"), grid: { stroke: css("--line"), width: 1 },
        ticks: { stroke: css("--line"), width: 1 }, font: "12px system-ui, sans-serif",
      });
      const options = {
        width: Math.max(chart.clientWidth, 260), height: HEIGHT,
        scales: { x: { time: false }, y: { distr: log.checked ? 3 : 1 } },
        axes: [{ ...axis(), incrs: WHOLE, label: "step", labelFont: "12px system-ui, sans-serif", labelSize: 20 },
               { ...axis(), size: 64, values: (self, ticks) => ticks.map((tick) => (tick == null ? "" : read(tick))) }],
        series: [{}, ...rows.map((row, index) => ({
          label: run.names[place(index + 1)], stroke: colour(place(index + 1)), spanGaps: false,
          width: place(index + 1) < NAMED ? 2 : 1, points: { show: steps.length < 2 },
        }))],
        cursor: { focus: { prox: -1 }, points: { show: false }, drag: { x: true, y: false } },
        focus: { alpha: 0.25 },
        hooks: { setCursor: [say] },
      };
      if (plot) plot.destroy();
      plot = new uPlot(options, [steps, ...rows], chart);
      element.plot = plot;
    }

    select.addEventListener("change", draw);
    log.addEventListener("change", draw);
    element.querySelector(".reset").addEventListener("click", draw);
    dark.addEventListener("change", draw);
    addEventListener("resize", () => plot.setSize({ width: Math.max(chart.clientWidth, 260), height: HEIGHT }));
    addEventListener("beforeprint", () => plot.setSize({ width: 640, height: 280 }));
    addEventListener("afterprint", () => plot.setSize({ width: Math.max(chart.clientWidth, 260), height: HEIGHT }));
    draw();
  }

  document.querySelectorAll("button.all").forEach(button);
  document.querySelectorAll("table.ranking").forEach(sortable);
  document.querySelectorAll(".curves").forEach(curves);
  document.documentElement.dataset.ready = "yes";
})();
