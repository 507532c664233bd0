// Numbers over the steps: a chart per array, a line per layer.
const WHOLE = [1, 2, 5].flatMap((digit) => [...Array(15).keys()].map((zeros) => digit * 10 ** zeros)).sort((a, b) => a - b); // between ticks: there is no step 2.5
const powers = (self, ticks) => ticks.map((tick) => (Number.isInteger(Math.log10(tick)) ? tick : null));

function curves(element, view, probe, time) {
  const steps = view.places.map((place) => probe.steps[place]);
  const [kind, tones] = view.of_classes ? ["class", CLASSES] : ["curve", NAMED]; // as points of classes have them
  const rounds = view.labels.length <= 2 * tones ? 2 : 1, named = rounds * tones; // dashed the second time
  const tone = (line) => `--${kind}-${line % tones}`;
  const drawn = view.of_classes ? (probe.views.find((one) => one.key && one.key.length) || { key: [] }).key : [];
  const own = (line) => (drawn[line] && drawn[line][0] === view.labels[line] ? drawn[line][1] : null); // as pictures have it
  const colour = (line) => own(line) || css(line < named ? tone(line) : "--faint");
  const grid = make("div", "charts");
  element.append(grid);
  const plots = [];
  for (const chart of view.charts) {
    const cell = make("div");
    const words = `${chart.words}${chart.log ? " (logarithmic)" : ""}`;
    cell.append(make("h4", "", chart.name.replaceAll("_", " ")), make("p", "words", words));
    const room = make("div", "chart"), told = make("p", "readout", "\u00a0");
    cell.append(room, told);
    grid.append(cell);
    plots.push({ chart, room, told, plot: null });
  }
  const say = (one) => (self) => {
    const { left, top, idx } = self.cursor;
    let best = null, least = Infinity;
    if (idx != null && left >= 0) {
      one.chart.lines.forEach((line, at) => {
        if (line[idx] == null) return;
        const away = Math.abs(self.valToPos(line[idx], "y") - top);
        if (away < least) { least = away; best = at; }
      });
    }
    const name = best == null || !view.labels.length ? "" : `${view.labels[best]}: `;
    const around = (one.chart.band || []).map((bound) => read(bound[idx ?? 0])).join(" to ");
    one.told.textContent = best == null ? "\u00a0" : `${name}${read(one.chart.lines[best][idx])}${around && `, band ${around},`} at step ${steps[idx]}`;
  };
  function draw() {
    for (const one of plots) {
      if (one.plot) one.plot.destroy();
      const axis = (more) => ({
        stroke: css("--dim"), font: FONT, grid: { stroke: css("--line"), width: 1, ...more },
        ticks: { stroke: css("--line"), width: 1, size: 4, ...more },
      });
      const upwards = axis(one.chart.log ? { filter: powers } : {});
      const band = one.chart.band || [], last = one.chart.lines.length;
      const bound = { stroke: "transparent", width: 0, points: { show: false } };
      one.plot = new uPlot({
        width: Math.max(one.room.clientWidth, 240), height: 170,
        scales: { x: { time: false, ...(view.span ? { range: view.span } : {}) }, y: { distr: one.chart.log ? 3 : 1, ...(one.chart.range ? { range: one.chart.range } : {}) } },
        axes: [{ ...axis(), incrs: WHOLE, size: 26, gap: 2 },
               { ...upwards, size: 54, values: (self, ticks) => ticks.map((tick) => (tick == null ? "" : read(tick))) }],
        series: [{}, ...one.chart.lines.map((line, at) => ({
          stroke: colour(at), width: at < named ? 1.8 : 1, dash: at >= tones && at < named ? [6, 3] : undefined, spanGaps: false, points: { show: steps.length < 2 },
        })), ...band.map(() => bound)],
        bands: band.length ? [{ series: [last + 2, last + 1], fill: `color-mix(in srgb, ${colour(0)} 22%, transparent)` }] : [],
        cursor: { drag: { x: true, y: false }, points: { show: false } },
        hooks: { setCursor: [say(one)] },
      }, [steps, ...one.chart.lines, ...band], one.room);
      one.mark = make("div", "cursor-now");
      one.plot.over.append(one.mark);
    }
    move();
  }
  function move() {
    for (const one of plots) {
      const x = one.plot.valToPos(time.step(), "x");
      one.mark.style.left = `${x}px`;
      one.mark.hidden = !(x >= -1 && x <= one.plot.over.clientWidth + 1);
    }
  }
  if (view.labels.length > 1) {
    const key = make("div", "key");
    view.labels.slice(0, named).forEach((name, at) => {
      const entry = make("span"), mark = make("i", at >= tones ? "dashed" : "");
      mark.dataset.colour = tone(at);
      mark.style.color = own(at) || `var(${tone(at)})`;
      entry.append(mark, name);
      entry.title = name;
      key.append(entry);
    });
    if (view.labels.length > named) key.append(make("span", "", `and ${view.labels.length - named} more: point at a curve`));
    element.append(key);
  }
  notes(element, view.left_out);
  draw();
  dark.addEventListener("change", draw);
  addEventListener("resize", () => plots.forEach((one) => one.plot.setSize({ width: Math.max(one.room.clientWidth, 240), height: 170 })));
  time.listen(move);
}
