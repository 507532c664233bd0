"use strict";
(() => {
  const runs = JSON.parse(document.getElementById("data").textContent).runs;
  const graphs = JSON.parse(document.getElementById("graph-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const SVG = "http://www.w3.org/2000/svg", BAND = 9, STRIPES = 24, EDGE = 16, MOST = 1.15, NEAREST = 6;
  const read = (value) => (value == null ? "not known" : Number(value.toPrecision(4)).toString());

  const drawn = (tag, attributes, parent, text) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  };

  // Return the index of the colour of a number, as the viewer has it; 255 where none is known.
  function entry(scale, value) {
    if (value == null) return 255;
    const f = Math.fround; // in single precision, as there
    const size = f(f(scale.signed ? Math.abs(value) : value) - f(scale.low));
    const share = Math.min(Math.max(f(size * f(1 / (scale.high - scale.low))), 0), 1);
    return Math.floor(f(f((scale.signed ? f(0.5 + f(0.5 * Math.sign(value) * share)) : share) * 254) + 0.5));
  }

  function show(element) {
    const graph = graphs[Number(element.dataset.run)], run = runs[Number(element.dataset.run)];
    const find = (name) => element.querySelector(name);
    const select = find(".number"), slide = find(".slide"), now = find(".now"), readout = find(".readout");
    const room = find(".room"), legend = find(".legend canvas"), ends = find(".legend .ends");
    const lesson = element.closest(".probes")?.time; // a page may have one time line for all that is near
    let open = new Set(graph.opening), place = graph.first ?? run.places.length - 1, selected = -1, layout = null, view = null;
    const leaves = graph.items.map(() => []);
    graph.items.forEach((item, at) => {
      if (item.kind === "layer") for (let up = at; up >= 0; up = graph.items[up].parent) leaves[up].push(at);
    });
    for (const name of Object.keys(graph.scales)) {
      const option = document.createElement("option");
      option.textContent = name;
      option.selected = name === graph.by;
      select.append(option);
    }
    slide.max = String(run.places.length - 1);
    slide.value = String(place);
    const values = () => (graph.numbers[select.value] || {}).values || run.metrics[select.value];
    const value = (leaf) => (graph.rows[leaf] < 0 ? null : values()[graph.rows[leaf]][place]);
    const map = () => {
      const scale = graph.scales[select.value];
      return graph.maps[scale.signed ? (dark.matches ? "difference" : "difference_light") : "magma"];
    };
    const colour = (index) => (index === 255 ? "var(--mat)" : `#${map().slice(6 * index, 6 * index + 6)}`);

    function stripes(item) {
      const own = leaves[item].map(value), count = Math.min(own.length, STRIPES), found = [];
      for (let n = 0, from = 0; n < count; n++) { // the first ones have one more, as NumPy splits
        const to = from + Math.floor(own.length / count) + (n < own.length % count ? 1 : 0);
        const known = own.slice(from, to).filter((one) => one != null);
        found.push(known.length ? known.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a)) : null);
        from = to;
      }
      return found;
    }

    function lay() {
      const width = Math.max(room.clientWidth, 300);
      layout = laidOut(graph, [...open], width - 2 * EDGE, Math.max(room.clientHeight, 300) - 2 * EDGE);
      const svg = drawn("svg", { role: "img", "aria-label": "Graph of the network" });
      for (const box of layout.boxes) {
        const group = drawn("g", { class: "box", "data-item": box.item, tabindex: 0 }, svg);
        drawn("rect", { x: box.x, y: box.y, width: box.width, height: box.height, rx: 8 }, group);
      }
      const lines = drawn("g", { class: "lines" }, svg);
      for (const { path } of layout.edges) drawn("path", { d: path.map(([name, ...at]) => name + at.map((one) => one.toFixed(1)).join(" ")).join("") }, lines);
      for (const box of layout.boxes) {
        drawn("text", { class: "head", x: box.x + 9, y: box.y + 16, "data-item": box.item }, svg, cut(graph.items[box.item].label, box.width - 16));
      }
      for (const card of layout.cards) svg.append(cardOf(card));
      room.replaceChildren(svg);
      fit();
      paint();
    }

    const cut = (text, width) => (text.length * 6.4 <= width ? text : `${text.slice(0, Math.max(Math.floor(width / 6.4) - 1, 1))}\u2026`);

    function cardOf(card) {
      const item = graph.items[card.item], { x, y, width, height } = card;
      const group = drawn("g", { class: `card ${item.kind}`, "data-item": card.item, tabindex: item.kind === "layer" || item.kind === "module" ? 0 : -1 });
      drawn("title", {}, group);
      const round = item.kind === "join" ? 11 : item.kind === "layer" || item.kind === "module" ? 6 : height / 2;
      if (item.kind === "module") drawn("rect", { class: "behind", x: x + 3, y: y - 3, width, height, rx: 6 }, group);
      drawn("rect", { class: "front", x, y, width, height, rx: round }, group);
      const colours = item.kind === "layer" || item.kind === "module";
      drawn("text", { x: x + width / 2, y: y + (colours ? 15 : height / 2 + 4), "text-anchor": "middle" }, group, cut(item.label, width - 6));
      if (colours) {
        const count = Math.max(Math.min(leaves[card.item].length, STRIPES), 1), wide = (width - 10) / count;
        for (let n = 0; n < count; n++) {
          drawn("rect", { class: "stripe", x: x + 5 + n * wide, y: y + height - BAND - 4, width: wide - (count > 1 ? 0.7 : 0), height: BAND }, group);
        }
      }
      return group;
    }

    function paint() {
      const scale = graph.scales[select.value];
      now.textContent = `step ${run.steps[run.places[place]]}`;
      for (const group of room.querySelectorAll("g.card")) {
        const item = Number(group.dataset.item), found = stripes(item);
        [...group.querySelectorAll(".stripe")].forEach((stripe, n) => { stripe.style.fill = colour(entry(scale, found[n])); });
        group.classList.toggle("selected", shows(item, selected));
        group.firstChild.textContent = said(item);
      }
      readout.textContent = selected < 0 ? "click a layer to read it, a module to unfold it, its head to fold it" : said(selected);
      const context = legend.getContext("2d");
      for (let at = 0; at < 255; at++) { context.fillStyle = `#${map().slice(6 * at, 6 * at + 6)}`; context.fillRect(at, 0, 1, 8); }
      ends.textContent = `${read(scale.signed ? -scale.high : scale.low)} to ${read(scale.high)}`;
    }

    const shows = (item, layer) => { for (let at = layer; at >= 0; at = graph.items[at].parent) if (at === item) return true; return false; };

    function said(item) {
      const { kind, name } = graph.items[item];
      if (kind === "layer") return `${name}: ${select.value} ${read(value(item))} at ${now.textContent}`;
      if (kind !== "module") return kind === "join" ? "where values meet" : `${kind} ${name}`;
      const told = leaves[item].slice(0, NEAREST).map((leaf) => `${graph.items[leaf].name}: ${read(value(leaf))}`);
      const more = leaves[item].length - told.length;
      return [`${name}: ${leaves[item].length} layers`, ...told, ...(more ? [`and ${more} more`] : [])].join("\n");
    }

    function fit() {
      const svg = room.firstChild, wide = room.clientWidth, high = room.clientHeight;
      if (!wide || !high) return; // not shown yet; the observer calls again
      const zoom = Math.min(wide / (layout.width + 2 * EDGE), high / (layout.height + 2 * EDGE), MOST);
      view = { x: layout.width / 2 - wide / zoom / 2, y: layout.height / 2 - high / zoom / 2, width: wide / zoom, height: high / zoom };
      look(svg);
    }
    function look(svg) {
      svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
      svg.classList.toggle("far", 11 * room.clientWidth / view.width < 6);
    }

    function act(item) {
      const { kind } = graph.items[item];
      if (kind === "layer") { selected = item === selected ? -1 : item; paint(); return; }
      if (kind !== "module") return;
      if (open.has(item)) for (const one of [...open]) { if (one && shows(item, one)) open.delete(one); }
      else open.add(item);
      lay();
    }

    let pressed = null, dragged = false;
    room.addEventListener("pointerdown", (event) => { pressed = [event.clientX, event.clientY]; dragged = false; });
    room.addEventListener("pointermove", (event) => {
      if (!pressed) return;
      const [dx, dy] = [event.clientX - pressed[0], event.clientY - pressed[1]];
      if (!dragged && Math.abs(dx) + Math.abs(dy) < 5) return;
      dragged = true;
      const zoom = view.width / room.clientWidth;
      view.x -= dx * zoom; view.y -= dy * zoom;
      pressed = [event.clientX, event.clientY];
      look(room.firstChild);
    });
    room.addEventListener("pointerup", (event) => {
      const hit = event.target.closest("[data-item]");
      if (pressed && !dragged && hit) act(Number(hit.dataset.item));
      pressed = null;
    });
    room.addEventListener("pointerleave", () => { pressed = null; });
    room.addEventListener("keydown", (event) => {
      const hit = event.target.closest("[data-item]");
      if (hit && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); act(Number(hit.dataset.item)); }
    });
    const zoomed = (factor, px, py) => {
      const x = view.x + px * view.width, y = view.y + py * view.height;
      view = { x: x - px * view.width / factor, y: y - py * view.height / factor, width: view.width / factor, height: view.height / factor };
      look(room.firstChild);
    };
    room.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // so that the page can be scrolled
      event.preventDefault();
      const box = room.getBoundingClientRect();
      zoomed(1.2 ** (-event.deltaY / 100), (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    }, { passive: false });
    find(".closer").addEventListener("click", () => zoomed(1.4, 0.5, 0.5));
    find(".further").addEventListener("click", () => zoomed(1 / 1.4, 0.5, 0.5));
    find(".fit").addEventListener("click", fit);
    find(".whole").addEventListener("change", (event) => { open = new Set(event.target.checked ? graph.whole : graph.opening); lay(); });
    select.addEventListener("change", paint);
    slide.addEventListener("input", () => { place = Number(slide.value); paint(); });
    dark.addEventListener("change", paint);
    if (lesson) {
      find(".steps").hidden = true;
      const follow = () => {
        const step = lesson.steps[Math.round(lesson.at)], before = place;
        place = Math.max(run.places.filter((one) => run.steps[one] <= step).length - 1, 0);
        if (place !== before) paint();
      };
      lesson.listen(follow);
      follow();
    }
    new ResizeObserver(() => { if (layout) fit(); }).observe(room);
    lay();
    element.dataset.ready = "";
  }

  document.querySelectorAll(".graph-of").forEach(show);
})();
