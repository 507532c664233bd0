// Values as colours: confusion, steps against steps, units of layers.
const STOPS = ["440154", "482777", "3f4a8a", "31678e", "26838f", "1f9d8a", "6cce5a", "b6de2b", "fee825"]
  .map((text) => [0, 2, 4].map((at) => parseInt(text.slice(at, at + 2), 16)));
function viridis(share) {
  const at = Math.max(Math.min(share, 1), 0) * (STOPS.length - 1), low = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[low].map((value, channel) => Math.round(mix(value, STOPS[low + 1][channel], at - low)));
}

function cells(element, view, probe, time) {
  heading(element, view.words);
  const steps = view.places.map((place) => probe.steps[place]), size = view.rows.length;
  const room = make("div", "map scroll"), table = make("table"), head = make("tr");
  const longest = Math.max(...view.columns.map((text) => text.length));
  table.style.setProperty("--cell", `${Math.max(30, Math.min(7 * longest + 8, 84))}px`);
  head.append(make("th"), ...view.columns.map((text) => make("th", "", text)));
  const top = make("thead"), body = make("tbody"), found = [];
  top.append(head);
  view.rows.forEach((text) => {
    const row = make("tr");
    row.append(make("th", "", text));
    for (let at = 0; at < view.columns.length; at++) { const cell = make("td"); cell.append(""); row.append(cell); found.push(cell); }
    body.append(row);
  });
  const ends = view.borders.length ? [0, ...view.borders, size] : [];
  ends.slice(1).forEach((end, at) => { // frames around the blocks of groups
    const frame = make("i");
    frame.style.setProperty("--of", end - ends[at]);
    found[ends[at] * (size + 1)].append(frame);
  });
  table.append(top, body);
  room.append(table);
  element.append(room);
  notes(element, "colours: dark for none of a row, bright for all; by the root of the share, so that few are seen", view.borders.length ? "frames: groups" : "");
  let drawn = -1;
  const move = () => {
    const at = nearest(time, steps);
    if (at === drawn) return;
    drawn = at;
    const values = view.values[at];
    for (let row = 0; row < size; row++) {
      const own = values.slice(row * size, (row + 1) * size), all = own.reduce((a, b) => a + (b || 0), 0) || 1;
      own.forEach((value, column) => {
        const share = (value || 0) / all, cell = found[row * size + column];
        cell.style.background = `rgb(${viridis(Math.sqrt(share)).join(" ")})`;
        cell.style.color = share > 0.35 ? "#111" : "#fff";
        cell.firstChild.data = value ? String(value) : "";
      });
    }
  };
  time.listen(move);
}

function stepsMap(element, view, probe, time) {
  heading(element, view.words);
  const size = view.rows.length, canvas = make("canvas", "grid-of"), told = make("p", "readout", "\u00a0");
  [canvas.width, canvas.height] = [size, size];
  const side = Math.min(Math.max(Math.floor(380 / size), 1) * size, 420);
  canvas.style.width = "100%";
  canvas.style.display = "block";
  const pen = canvas.getContext("2d");
  const holder = make("div");
  holder.style.position = "relative";
  const mark = make("div");
  mark.style.cssText = "position:absolute;left:0;right:0;border:2px solid var(--accent);pointer-events:none;box-sizing:border-box;border-radius:3px";
  holder.append(canvas, mark);
  const every = Math.ceil(size / Math.floor(side / 34)); // steps that have a name at the edges
  const edge = (cls) => {
    const names = make("div", cls);
    view.rows.forEach((text, at) => {
      if (at % every) return;
      const name = make("span", "", text);
      name.style[cls === "steps-down" ? "top" : "left"] = `${((at + 0.5) / size) * 100}%`;
      names.append(name);
    });
    return names;
  };
  const frame = make("div", "steps-map");
  frame.style.gridTemplateColumns = `max-content minmax(0, ${side}px)`;
  frame.append(edge("steps-down"), holder, make("span", "corner", "step"), edge("steps-across"));
  element.append(frame);
  scaleOf(element, view);
  element.append(told);
  for (let at = 0; at < size * size; at++) {
    const value = view.values[at];
    const [r, g, b] = value == null ? [128, 128, 128] : viridis((value - view.low) / (view.high - view.low));
    pen.fillStyle = `rgb(${r} ${g} ${b})`;
    pen.fillRect(at % size, Math.floor(at / size), 1, 1);
  }
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const at = (where, from, room) => Math.max(Math.min(Math.floor(((where - from) / room) * size), size - 1), 0);
    const x = at(event.clientX, box.left, box.width), y = at(event.clientY, box.top, box.height);
    told.textContent = `step ${view.rows[y]} and step ${view.columns[x]}: ${read(view.values[y * size + x])}`;
  });
  canvas.addEventListener("pointerleave", () => { told.textContent = "\u00a0"; });
  time.listen(() => {
    const row = nearest(time, probe.steps), high = canvas.clientHeight || side;
    mark.style.top = `${(row / size) * high}px`;
    mark.style.height = `${high / size}px`;
  });
}

const MOST_HEADS = 24, SHORT_HEADS = 48; // columns that all have their names above them; if names are short
const size = (text) => text.replace("-", "\u2212");

function heads(element, view) {
  const line = make("div", "unit-row heads"), room = make("div", "heads-of");
  room.style.gridTemplateColumns = `repeat(${view.columns.length}, 1fr)`;
  const longest = Math.max(...view.columns.map((name) => name.length)), count = view.columns.length;
  const every = count <= (longest > 3 ? MOST_HEADS : SHORT_HEADS) ? 1 : Math.ceil(count / MOST_HEADS);
  if (count > MOST_HEADS) room.classList.add("small");
  view.columns.forEach((name, at) => {
    const head = make("span", name.length > 3 && every === 1 ? "long" : "", at % every ? "" : name);
    head.title = `${view.axis} ${name}`;
    if (every > 1) head.style.overflow = "visible";
    if ((view.marked || []).includes(at)) head.classList.add("marked");
    room.append(head);
  });
  line.append(make("span", "dim", `${view.axis} \u2192`), room);
  element.append(line);
}
function scaleOf(element, view) {
  const line = make("div", "matrix-scale"), bar = make("i");
  bar.style.background = `linear-gradient(90deg, ${STOPS.map((stop) => `rgb(${stop.join(" ")})`).join(", ")})`;
  line.append(make("span", "", size(read(view.low))), bar, make("span", "", size(read(view.high))));
  element.append(line);
}

function units(element, view, probe, time) {
  heading(element, view.words);
  const steps = view.places.map((place) => probe.steps[place]), width = view.columns.length;
  const told = make("p", "readout", "\u00a0");
  const counts = view.rows.map((_, row) => {
    let count = 0;
    view.values.forEach((flat) => { for (let at = width - 1; at >= count; at--) if (flat[row * width + at] != null) { count = at + 1; break; } });
    return count;
  });
  const alike = counts.every((count) => count === width);
  const whole = make("div"), longest = Math.max(...view.rows.map((text) => text.length), `${view.axis} >`.length);
  whole.style.setProperty("--names", `${Math.max(9, Math.min(longest + 1, 16))}ch`);
  element.append(whole);
  if (alike) heads(whole, view);
  const rows = view.rows.map((text, row) => {
    const count = counts[row], line = make("div", alike ? "unit-row even" : "unit-row"), canvas = make("canvas");
    [canvas.width, canvas.height] = [Math.max(count, 1), 1];
    const label = make("span", "", text);
    label.title = `${view.row_axis} ${text}`;
    const borders = view.borders[1].filter((border) => border < count);
    const room = make("div", "cells-of");
    room.append(canvas, ...borders.map((border) => {
      const line = make("i");
      line.style.left = `${(border / count) * 100}%`;
      return line;
    }));
    line.append(label, room);
    if (view.borders[0].includes(row)) line.classList.add("begins");
    if (!alike) line.append(make("span", "dim", `${count}`));
    whole.append(line);
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const unit = Math.max(Math.min(Math.floor(((event.clientX - box.left) / box.width) * count), count - 1), 0);
      told.textContent = `${view.row_axis === "layer" ? "" : `${view.row_axis} `}${text}, ${view.axis} ${view.columns[unit]}: ${read(view.values[nearest(time, steps)][row * width + unit])}`;
    });
    return { canvas, count };
  });
  scaleOf(element, view);
  element.append(told);
  const down = view.row_axis === "layer" || view.row_axis === "row" ? "" : `down: ${view.row_axis}; `;
  notes(element, view.axis === "unit" && !down ? "" : `${down}across: ${view.axis}, ${width} of them`, view.left_out);
  let drawn = -1;
  time.listen(() => {
    const at = nearest(time, steps);
    if (at === drawn) return;
    drawn = at;
    rows.forEach(({ canvas, count }, row) => {
      const pen = canvas.getContext("2d");
      for (let unit = 0; unit < count; unit++) {
        const value = view.values[at][row * width + unit];
        const [r, g, b] = value == null ? [128, 128, 128] : viridis((value - view.low) / (view.high - view.low));
        pen.fillStyle = `rgb(${r} ${g} ${b})`;
        pen.fillRect(unit, 0, 1, 1);
      }
    });
  });
}
