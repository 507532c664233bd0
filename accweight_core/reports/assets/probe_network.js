// A network as columns of pictures, one per unit, with links as wide as weights; the result is large.
const WIDEST = 9, THINNEST = 0.4; // pixels of the largest weight, and of what is still drawn
const LINKED = { above: "#e07b14", below: "#146edc" };

function network(element, view, probe, time) {
  heading(element, view.words);
  const steps = view.places.map((place) => probe.steps[place]);
  const space = "http://www.w3.org/2000/svg", room = make("div", "network"), lines = document.createElementNS(space, "svg");
  lines.setAttribute("aria-hidden", "true");
  room.append(lines);
  const count = view.names.length, result = count - 1, inputs = view.columns[0][1];
  const cells = view.names.map((name, at) => {
    const canvas = make("canvas", at === result ? "result" : "unit");
    [canvas.width, canvas.height] = [view.width, view.height];
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", name);
    canvas.title = name;
    room.append(canvas);
    return canvas;
  });
  const titles = [...view.columns.map(([text]) => text), "result"].map((text) => {
    const title = make("span", "column", text);
    title.title = text;
    room.append(title);
    return title;
  });
  const told = make("p", "readout", "\u00a0");
  element.append(room, told);
  const scale = make("p", "readout signs");
  for (const [key, text] of [["above", "above 0"], ["below", "below 0"]]) {
    const mark = make("i");
    mark.style.background = LINKED[key];
    scale.append(mark, `${text}\u2003`);
  }
  scale.append(`widest link: a weight of ${read(view.high)}, at all steps; point at a unit to see it large, at a link to read it`);
  element.append(scale);
  classKey(element, view);

  const paths = view.ends.map(([from, to], at) => {
    const path = document.createElementNS(space, "path"), near = document.createElementNS(space, "path");
    near.setAttribute("class", "near");
    const name = `${view.names[from]} to ${view.names[to]}`;
    near.addEventListener("pointerenter", () => { told.textContent = `${name}: ${read(view.weights[nearest(time, steps)][at])}`; });
    near.addEventListener("pointerleave", () => { told.textContent = "\u00a0"; });
    lines.append(path, near);
    return [path, near];
  });
  function place() {
    const wide = element.clientWidth || 720, columns = view.columns.length;
    const tallest = Math.max(...view.columns.map(([, shown]) => shown));
    const narrow = wide < 560, large = narrow ? Math.min(wide, 260) : Math.min(Math.max(wide * 0.29, 170), 320);
    const across = narrow ? wide : wide - large - 44;
    const side = Math.max(Math.min(across / (2.1 * columns - 1), 52), 14), gap = Math.max(side * 0.2, 4), top = 22;
    const step = columns > 1 ? Math.min((across - side) / (columns - 1), 3.6 * side) : 0;
    const high = Math.max(tallest * (side + gap) - gap, narrow ? 0 : large);
    const spots = [];
    view.columns.forEach(([, shown], column) => {
      const own = shown * (side + gap) - gap;
      titles[column].style.cssText = `left:${column * step}px;width:${Math.min(Math.max(side, step - 6), wide - column * step)}px;top:0`;
      for (let unit = 0; unit < shown; unit++) spots.push([column * step, top + (high - own) / 2 + unit * (side + gap), side]);
    });
    const far = narrow ? 0 : step * (columns - 1) + side + 44, below = narrow ? top + high + 34 : top + (high - large) / 2;
    spots.push([far, below, large]);
    titles[columns].style.cssText = `left:${far}px;width:${large}px;top:${below - 22}px`;
    room.style.height = `${narrow ? below + large : top + high}px`;
    spots.forEach(([x, y, size], at) => { cells[at].style.cssText = `left:${x}px;top:${y}px;width:${size}px;height:${size}px`; });
    lines.setAttribute("width", String(wide));
    lines.setAttribute("height", String(top + high));
    view.ends.forEach(([from, to], at) => {
      const fan = view.ends.filter(([, other]) => other === to).map(([other]) => other), part = (fan.indexOf(from) + 1) / (fan.length + 1);
      const [x, y] = [spots[from][0] + side, spots[from][1] + side / 2];
      const [u, v] = [spots[to][0], spots[to][1] + side * (0.2 + 0.6 * part)], middle = (x + u) / 2;
      for (const path of paths[at]) path.setAttribute("d", `M${x} ${y}C${middle} ${y} ${middle} ${v} ${u} ${v}`);
    });
  }
  let drawn = -1, pointed = null;
  function move() {
    const at = nearest(time, steps);
    if (at === drawn) return;
    drawn = at;
    view.weights[at].forEach((weight, link) => {
      const [path] = paths[link], width = weight == null ? 0 : (WIDEST * Math.abs(weight)) / view.high;
      path.setAttribute("stroke-width", String(width));
      path.setAttribute("stroke", LINKED[weight > 0 ? "above" : "below"]);
      path.setAttribute("visibility", width < THINNEST / 4 ? "hidden" : "visible");
    });
    paint();
  }
  function paint() {
    const at = drawn;
    image(view.inputs.png, (given) => image(view.sheets[at].png, (from) => {
      if (at !== drawn) return; // another step is asked for meanwhile
      const whole = (unit) => (unit < inputs ? pixels(view.inputs, view.width, view.height, unit, given)
        : pixels(view.sheets[at], view.width, view.height, unit - inputs, from));
      cells.forEach((canvas, unit) => canvas.getContext("2d").putImageData(whole(unit === result && pointed != null ? pointed : unit), 0, 0));
      titles[view.columns.length].textContent = pointed == null ? view.names[result] : view.names[pointed];
      element.dataset.shown = String(steps[at]);
    }));
  }
  cells.slice(0, result).forEach((canvas, unit) => {
    canvas.addEventListener("pointerenter", () => { pointed = unit; light(unit); paint(); });
    canvas.addEventListener("pointerleave", () => { pointed = null; light(null); paint(); });
  });
  function light(unit) { // the links of one unit
    view.ends.forEach(([from, to], at) => paths[at][0].classList.toggle("away", unit != null && from !== unit && to !== unit));
  }
  place();
  addEventListener("resize", place);
  time.listen(move);
}
