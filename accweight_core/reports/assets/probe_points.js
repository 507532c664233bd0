// Samples as points, which keep their identity through time and from layer to layer; paths.
function mark(pen, shape, x, y, r) {
  pen.beginPath();
  if (shape === 0) pen.arc(x, y, r, 0, 7);
  else if (shape === 1) pen.rect(x - r * 0.85, y - r * 0.85, r * 1.7, r * 1.7);
  else if (shape === 2) { pen.moveTo(x, y - r * 1.2); pen.lineTo(x + r * 1.1, y + r * 0.8); pen.lineTo(x - r * 1.1, y + r * 0.8); pen.closePath(); }
  else { pen.moveTo(x, y - r * 1.25); pen.lineTo(x + r * 1.25, y); pen.lineTo(x, y + r * 1.25); pen.lineTo(x - r * 1.25, y); pen.closePath(); }
  pen.fill();
}
function bounds(points) {
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const flat of points) for (let at = 0; at < flat.length; at += 2) {
    const x = flat[at], y = flat[at + 1];
    if (x == null || y == null) continue;
    left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
  }
  if (!(right >= left)) return [0, 0, 1];
  return [(left + right) / 2, (top + bottom) / 2, 0.54 * Math.max(right - left, bottom - top, 1e-9)];
}
function axesOf(pen, side, room, frame, [low, high], names) { // a box, its ends and the names of both axes
  const at = (value, axis) => ((value - frame[axis]) / frame[2]) * room;
  const [left, right] = [side / 2 + at(low, 0), side / 2 + at(high, 0)];
  const [bottom, top] = [side / 2 - at(low, 1), side / 2 - at(high, 1)];
  pen.strokeStyle = css("--line");
  pen.lineWidth = 1;
  pen.strokeRect(left, top, right - left, bottom - top);
  pen.font = FONT;
  pen.fillStyle = css("--dim");
  pen.textBaseline = "middle";
  const line = (ends) => {
    pen.textAlign = "left"; pen.fillText(read(low), ...ends[0]);
    pen.textAlign = "right"; pen.fillText(read(high), ...ends[1]);
  };
  line([[left, bottom + 14], [right, bottom + 14]]);
  pen.textAlign = "center";
  pen.fillText(names[0], side / 2, bottom + 14, right - left - 60);
  pen.save();
  pen.translate(left - 14, side / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(names[1], 0, 0, bottom - top - 60);
  line([[top - bottom, 0].map((value) => value / 2), [(bottom - top) / 2, 0]]);
  pen.restore();
}

function scatter(element, view, probe, time) {
  heading(element, view.words);
  const steps = view.places.map((place) => probe.steps[place]), stages = view.stages;
  const count = view.points[0].length / 2 / Math.max(stages.length, 1);
  const classes = [...new Set(view.classes)].sort((a, b) => a - b);
  const named = classes.length > 1 && classes.length < count;
  const place = new Map(classes.map((one, at) => [one, at]));
  const name = (one) => view.names[one] ?? String(one);
  const axes = view.axes ?? [], edges = view.bounds?.length ? view.bounds : null;
  let stage = stages.length - 1, chosen = null, pointed = null;
  const sized = make("input"), label = make("label", "toggle");
  sized.type = "checkbox";
  label.append(sized, "each step in its own size");
  if (stages.length) {
    const row = make("div", "stage"), slide = make("input", "slide"), told = make("output"), play = make("button", "", "\u25b6 layers");
    [slide.type, slide.min, slide.max, slide.step, slide.value] = ["range", "0", String(stages.length - 1), "0.02", String(stage)];
    slide.setAttribute("aria-label", "Stage");
    play.type = "button";
    const say = () => {
      const low = Math.floor(stage), high = Math.min(low + 1, stages.length - 1);
      told.textContent = stage - low < 0.02 ? stages[low] : `${stages[low]} \u2192 ${stages[high]}`;
    };
    slide.addEventListener("input", () => { stage = Number(slide.value); say(); draw(); });
    play.addEventListener("click", () => {
      const begun = performance.now(), each = 1100;
      const go = (now) => {
        const passed = (now - begun) / each, low = Math.floor(passed);
        const eased = (share) => share * share * (3 - 2 * share);
        stage = Math.min(low + eased(Math.min(Math.max((passed - low) * 1.5 - 0.25, 0), 1)), stages.length - 1);
        slide.value = String(stage);
        say();
        draw();
        if (low < stages.length - 1) requestAnimationFrame(go);
      };
      requestAnimationFrame(go);
    });
    row.append(play, slide, told);
    element.append(row);
    say();
  }
  const plane = make("div", "plane"), canvas = make("canvas", "points-of"), aside = make("div", "aside");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", axes.length ? `${count} points: ${axes.join(", ")}` : `${count} samples as points`);
  plane.append(canvas, aside);
  element.append(plane);
  const hint = view.samples ? "point at a sample" : axes.length ? "point at one to name it" : "";
  const worth = make("dl"), picked = make("div", "picked", hint);
  aside.append(worth, picked);
  const buttons = named ? make("div", "classes") : null;
  if (buttons) {
    for (const one of classes) {
      const button = make("button"), dot = make("canvas");
      [dot.width, dot.height] = [14, 14];
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      button.append(dot, name(one));
      button.title = name(one);
      button.addEventListener("click", () => {
        chosen = chosen === one ? null : one;
        [...buttons.children].forEach((other, at) => other.setAttribute("aria-pressed", String(classes[at] === chosen)));
        draw();
      });
      buttons.append(button);
    }
    aside.append(buttons);
  }
  if (steps.length > 1 && !axes.length) aside.append(label);
  sized.addEventListener("change", () => draw());
  notes(element, view.note === view.words ? "" : view.note, view.left_out);
  const own = view.points.map((flat) => (stages.length
    ? stages.map((_, at) => bounds([flat.slice(2 * count * at, 2 * count * (at + 1))]))
    : [bounds([flat])]));
  const frames = stages.length
    ? stages.map((_, at) => bounds(view.points.map((flat) => flat.slice(2 * count * at, 2 * count * (at + 1)))))
    : [edges ? bounds([[edges[0], edges[0], edges[1], edges[1]]]) : bounds(view.points)];

  function placed() { // positions of all points at this time, from -1 to 1
    const [at, next, share] = between(time, steps);
    const low = Math.floor(stage), high = Math.min(low + 1, Math.max(stages.length - 1, 0));
    const part = stages.length ? stage - low : 0;
    const of = (flat, from, frame, index, axis) => {
      const value = flat[2 * count * from + 2 * index + axis];
      return value == null ? null : (value - frame[axis]) / frame[2];
    };
    const found = new Array(2 * count);
    for (let index = 0; index < count; index++) for (let axis = 0; axis < 2; axis++) {
      const each = [at, next].map((one) => {
        const flat = view.points[one], frame = sized.checked ? own[one] : frames;
        if (!stages.length) return of(flat, 0, frame[0], index, axis);
        return mix(of(flat, low, frame[low], index, axis), of(flat, high, frame[high], index, axis), part);
      });
      found[2 * index + axis] = mix(each[0], each[1], share);
    }
    return found;
  }
  let positions = [], side = 0;
  const tone = (index) => (named ? css(`--class-${place.get(view.classes[index]) % CLASSES}`) : css("--curve-0"));
  function draw() {
    const ratio = devicePixelRatio || 1;
    side = Math.min(PLANE, element.clientWidth || PLANE);
    [canvas.width, canvas.height] = [side * ratio, side * ratio];
    canvas.style.width = canvas.style.height = `${side}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const half = side / 2, room = half - (axes.length ? 20 : 10);
    if (axes.length) axesOf(pen, side, room, frames[0], edges ?? [frames[0][0] - frames[0][2], frames[0][0] + frames[0][2]], axes);
    positions = placed().map((value, at) => (value == null ? null : half + (at % 2 ? -value : value) * room));
    const radius = count > 700 ? 2.6 : count > 200 ? 3.4 : 4.4;
    const tones = classes.map((_, at) => css(`--class-${at % CLASSES}`)), plain = css("--curve-0"), faint = css("--faint");
    const order = [...Array(count).keys()];
    if (chosen != null) order.sort((a, b) => (view.classes[a] === chosen) - (view.classes[b] === chosen));
    for (const index of order) {
      const x = positions[2 * index], y = positions[2 * index + 1];
      if (x == null || y == null) continue;
      const at = named ? place.get(view.classes[index]) : 0;
      const away = chosen != null && view.classes[index] !== chosen;
      pen.globalAlpha = away ? 0.25 : 0.9;
      pen.fillStyle = away ? faint : named ? tones[at] : plain;
      mark(pen, Math.floor(at / CLASSES) % 4, x, y, radius);
    }
    pen.globalAlpha = 1;
    if (named && !axes.length && classes.length <= 2 * CLASSES) names(pen, tones);
    if (pointed != null && positions[2 * pointed] != null) {
      pen.strokeStyle = css("--ink");
      pen.lineWidth = 1.6;
      pen.beginPath();
      pen.arc(positions[2 * pointed], positions[2 * pointed + 1], radius + 4, 0, 7);
      pen.stroke();
    }
    say();
  }
  function names(pen, tones) { // of a class at the median of its points, on a plate of the page
    pen.font = "600 13px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    classes.forEach((one, at) => {
      if (chosen != null && one !== chosen) return;
      const own = [0, 1].map((axis) => {
        const values = [];
        for (let index = 0; index < count; index++) {
          if (view.classes[index] === one && positions[2 * index + axis] != null) values.push(positions[2 * index + axis]);
        }
        values.sort((a, b) => a - b);
        return values[Math.floor(values.length / 2)];
      });
      if (own[0] === undefined) return;
      const text = name(one), width = pen.measureText(text).width + 10;
      pen.globalAlpha = 0.86;
      pen.fillStyle = css("--page");
      pen.beginPath();
      pen.roundRect(own[0] - width / 2, own[1] - 9, width, 18, 9);
      pen.fill();
      pen.globalAlpha = 1;
      pen.strokeStyle = tones[at];
      pen.lineWidth = 1.5;
      pen.stroke();
      pen.fillStyle = css("--ink");
      pen.fillText(text, own[0], own[1] + 0.5);
    });
  }
  function say() {
    const at = nearest(time, steps);
    worth.replaceChildren(...Object.entries(view.quality).flatMap(([key, values]) => [
      make("dt", "", key.replaceAll("_", " ")), make("dd", "", read(values[at])),
    ]));
  }
  function show() {
    if (pointed == null) return;
    const words = make("div");
    if (view.classes.length && !axes.length) words.append(make("b", "", name(view.classes[pointed])), make("br"));
    words.append(axes.length ? view.rows[pointed] : `sample ${view.rows[pointed]}`);
    if (!view.samples) { picked.replaceChildren(words); return; }
    const one = make("canvas"), { width, height } = view.samples, index = pointed;
    [one.width, one.height] = [width, height];
    image(view.samples.png, (from) => one.getContext("2d").putImageData(pixels(view.samples, width, height, index, from), 0, 0));
    picked.replaceChildren(one, words);
  }
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, least = 14 * 14;
    for (let index = 0; index < count; index++) {
      const dx = positions[2 * index] - x, dy = positions[2 * index + 1] - y, away = dx * dx + dy * dy;
      if (positions[2 * index] != null && away < least) { least = away; best = index; }
    }
    if (best !== pointed) { pointed = best; draw(); show(); }
  });
  canvas.addEventListener("pointerleave", () => { pointed = null; draw(); });
  function dots() {
    if (buttons) [...buttons.children].forEach((button, at) => {
      const pen = button.firstChild.getContext("2d");
      pen.clearRect(0, 0, 14, 14);
      pen.fillStyle = css(`--class-${at % CLASSES}`);
      mark(pen, Math.floor(at / CLASSES) % 4, 7, 7, 5);
    });
  }
  dots();
  dark.addEventListener("change", () => { dots(); draw(); });
  addEventListener("resize", draw);
  time.listen(draw);
}

function path(element, view, probe, time) {
  heading(element, view.words);
  const canvas = make("canvas", "points-of");
  const plane = make("div", "plane");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "the path of the weights");
  canvas.style.cursor = "default";
  plane.append(canvas);
  element.append(plane);
  notes(element, ...view.axes);
  const [cx, cy, half] = bounds([view.points]);
  const draw = () => {
    const ratio = devicePixelRatio || 1, side = Math.min(PLANE, element.clientWidth || PLANE), room = side / 2 - 24;
    [canvas.width, canvas.height] = [side * ratio, side * ratio];
    canvas.style.width = canvas.style.height = `${side}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const at = (index) => [side / 2 + ((view.points[2 * index] - cx) / half) * room, side / 2 - ((view.points[2 * index + 1] - cy) / half) * room];
    const count = view.points.length / 2;
    const [now, next, share] = between(time, probe.steps);
    const [a, b] = [at(now), at(next)], here = [mix(a[0], b[0], share), mix(a[1], b[1], share)];
    const line = (from, to, colour, width) => {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.beginPath();
      for (let index = from; index <= to; index++) pen.lineTo(...at(index));
      if (to === now) pen.lineTo(...here);
      pen.stroke();
    };
    line(0, count - 1, css("--line"), 2);
    line(0, now, css("--accent"), 2.5);
    pen.fillStyle = css("--dim");
    for (let index = 0; index < count; index++) { pen.beginPath(); pen.arc(...at(index), 3, 0, 7); pen.fill(); }
    pen.font = FONT;
    pen.fillStyle = css("--ink");
    for (const index of new Set([0, count - 1])) {
      const [x, y] = at(index);
      pen.textAlign = x > side * 0.75 ? "right" : "left";
      pen.fillText(`step ${probe.steps[index]}`, x + (x > side * 0.75 ? -9 : 9), y - 8);
    }
    pen.fillStyle = css("--accent");
    pen.beginPath();
    pen.arc(...here, 6.5, 0, 7);
    pen.fill();
  };
  dark.addEventListener("change", draw);
  addEventListener("resize", draw);
  time.listen(draw);
}
