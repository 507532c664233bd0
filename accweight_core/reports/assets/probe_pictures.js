// Contact sheets: pictures of units at a step, ratings over their inputs.
const images = new Map();
function image(png, ready) {
  if (!images.has(png)) {
    const made = new Image();
    made.src = `data:image/png;base64,${png}`;
    images.set(png, made);
  }
  const found = images.get(png);
  if (found.complete && found.naturalWidth) ready(found);
  else found.addEventListener("load", () => ready(found), { once: true });
}
function pixels(sheet, width, height, at, from) {
  const across = at % sheet.columns, down = Math.floor(at / sheet.columns);
  const room = document.createElement("canvas");
  [room.width, room.height] = [width, height];
  const pen = room.getContext("2d", { willReadFrequently: true });
  pen.drawImage(from, across * width, down * height, width, height, 0, 0, width, height);
  return pen.getImageData(0, 0, width, height);
}
const ABOVE = [255, 140, 40], BELOW = [70, 150, 255]; // ratings above and below 0, as in figures

// Sequences of tokens as text: each has the colour of its rating behind it.
function tokenRows(element, view, probe, time) {
  const steps = view.places.map((place) => probe.steps[place]);
  const list = make("div", "tokens");
  const rows = view.tokens.map((tokens, at) => {
    const row = make("p"), name = make("span", "of", view.labels[at]);
    name.title = `sample ${view.labels[at]}`;
    row.append(name);
    return tokens.map((text) => {
      const token = make("span", "token", text);
      row.append(token, " ");
      if (token === row.children[1]) list.append(row);
      return token;
    });
  });
  element.append(list);
  let drawn = -1;
  time.listen(() => {
    const at = nearest(time, steps);
    if (at === drawn) return;
    drawn = at;
    image(view.sheets[at].png, (from) => {
      if (at !== drawn) return;
      rows.forEach((tokens, unit) => {
        const found = pixels(view.sheets[at], view.width, view.height, unit, from).data;
        tokens.forEach((token, place) => {
          const rating = (found[4 * place] - 128) / 127, tone = rating > 0 ? ABOVE : BELOW;
          token.style.background = `rgb(${tone.join(" ")} / ${Math.min(Math.abs(rating), 1).toFixed(3)})`;
          token.title = `${Math.round(rating * 100)} % of the largest rating`;
        });
      });
      element.dataset.shown = String(steps[at]);
    });
  });
  notes(element, view.left_out);
}

// The classes that a picture has in colours, which are those of the picture in any theme.
function classKey(element, view) {
  if (!view.key || !view.key.length) return;
  const line = make("p", "readout signs", "predicted:\u2002");
  for (const [name, colour] of view.key) {
    const mark = make("i", "square");
    mark.style.background = colour;
    line.append(mark, `${name}\u2003`);
  }
  line.append("pale: not sure; dots: the samples");
  element.append(line);
}

function pictures(element, view, probe, time) {
  if (view.tokens && view.tokens.length) {
    heading(element, "tokens and their ratings: orange above 0, blue below");
    tokenRows(element, view, probe, time);
    return;
  }
  const steps = view.places.map((place) => probe.steps[place]);
  heading(element, view.scale ? "" : view.words);
  let over = null;
  if (view.under && view.signed) {
    const label = make("label", "toggle");
    over = make("input");
    over.type = "checkbox";
    over.checked = true;
    label.append(over, "over the input (orange above 0, blue below)");
    element.append(label);
  }
  const longer = Math.max(view.width, view.height), most = longer > 32 ? LARGE_SIDE : MOST_SIDE;
  const scale = Math.max(Math.floor(most / longer), 1);
  const count = view.labels.length;
  const wanted = Math.max(view.width * scale, LEAST_SIDE);
  const side = count > 24 ? Math.max(Math.min(wanted, 76), LEAST_SIDE) : wanted;
  const sheet = make("div", "sheet");
  sheet.style.setProperty("--side", `${side}px`);
  const columns = Math.min(count, 16);
  sheet.style.gridTemplateColumns = `repeat(auto-fit, ${side}px)`;
  sheet.style.maxWidth = `${columns * (side + 8)}px`;
  sheet.style.width = `min(100%, ${columns * (side + 8)}px)`;
  const cells = view.labels.map((name) => {
    const figure = make("figure"), canvas = make("canvas");
    [canvas.width, canvas.height] = [view.width, view.height];
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", name);
    figure.append(canvas, make("figcaption", "", name));
    figure.title = name;
    sheet.append(figure);
    return canvas;
  });
  sheet.classList.toggle("signed", Boolean(view.signed));
  if (view.strips) { // sequences: each has a line to itself
    sheet.classList.add("strips");
    sheet.style.cssText = "";
    for (const canvas of cells) canvas.style.cssText = `height:${22 * view.height}px;max-width:${28 * view.width}px`;
  }
  element.append(sheet);
  classKey(element, view);
  notes(element, over ? "" : view.scale, view.left_out);
  let drawn = "";
  function move() {
    const at = nearest(time, steps), key = `${at} ${over && over.checked}`;
    if (key === drawn) return;
    drawn = key;
    image(view.sheets[at].png, (from) => {
      if (over && over.checked) image(view.under.png, (below) => paint(at, from, below));
      else paint(at, from, null);
    });
  }
  function paint(at, from, below) {
    if (key(at) !== drawn) return; // another step is asked for meanwhile
    cells.forEach((canvas, unit) => {
      const found = pixels(view.sheets[at], view.width, view.height, unit, from);
      if (below) {
        const under = pixels(view.under, view.width, view.height, unit, below);
        for (let place = 0; place < found.data.length; place += 4) {
          const rating = (found.data[place] - 128) / 127, tone = rating > 0 ? ABOVE : BELOW;
          const share = Math.min(Math.sqrt(Math.abs(rating)) * 1.15, 1);
          for (let c = 0; c < 3; c++) found.data[place + c] = mix(under.data[place + c] * 0.55, tone[c], share);
        }
      }
      if (view.signed && !below) // 0 is no value, as what fills up the last row of a long sequence
        for (let place = 0; place < found.data.length; place += 4) {
          if (!found.data[place] && !found.data[place + 1] && !found.data[place + 2]) found.data[place + 3] = 0;
          else if (view.ratings) {
            const rating = (found.data[place] - 128) / 127, tone = rating > 0 ? ABOVE : BELOW;
            for (let c = 0; c < 3; c++) found.data[place + c] = tone[c];
            found.data[place + 3] = Math.round(255 * Math.min(Math.abs(rating), 1));
          }
        }
      canvas.getContext("2d").putImageData(found, 0, 0);
      if (view.blank != null) // of so many pictures, fewer may be there at a step
        canvas.parentElement.hidden = found.data.every((value, place) => place % 4 === 3 || value === view.blank);
    });
    element.dataset.shown = String(steps[at]);
  }
  const key = (at) => `${at} ${over && over.checked}`;
  if (over) over.addEventListener("change", move);
  time.listen(move);
}
