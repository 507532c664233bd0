// Where the nodes of a folded graph are. One mechanism for all: pages run it in the browser, the
// viewer and the figures in QuickJS. dagre lays out one module at a time, so that modules never
// overlap and 500 layers take no longer than their modules. What becomes too tall for the room is
// broken into columns, as text is.
const GAP = 16, BETWEEN = 22, PAD = 12, HEAD = 26, FOOT = 16;
const LANE = 22, TRACK = 7; // room between two columns, and of each edge that leads from one to the other
const DENSE = 3; // edges per node of a module from which on those are left out that others imply
const MOST_PORTS = 3; // places at a module's border for edges from different sources; else one place
const MOST_COLUMNS = 30;
const BETTER = 1.04; // gain in size from which on another way to break a layout is taken
const MOST_TRIED = 400; // items up to which the insides of modules are laid out in two ways
const LOW = 60; // least height for which a module is broken into columns: one card
const ROUND = 7; // radius of corners

// Return what is to be drawn of a tree of modules: `cards` (nodes and folded modules) and `boxes`
// (open modules) with their place and size, `edges` as lines, and `pairs`: the cards that they join.
// `unfolded` has the numbers of the modules that are open.
function laidOut(tree, unfolded, roomWidth, roomHeight) {
  const items = tree.items, open = new Set([0, ...unfolded]);
  const kids = items.map(() => []);
  items.forEach((item, at) => { if (item.parent >= 0) kids[item.parent].push(at); });
  const shown = shownItems(items, open);
  const { levels, pairs } = levelEdges(items, shown, tree.edges);
  const out = { cards: [], boxes: [], edges: [], pairs, implied: 0 };
  const flats = new Map();
  let root = level(0, roomHeight, 0);
  if (zoomFor(root, roomWidth, roomHeight) < 1 && items.length < MOST_TRIED) {
    const lower = level(0, roomHeight, HEAD + FOOT); // what is in modules, too, is to fit in a low room
    if (zoomFor(lower, roomWidth, roomHeight) > zoomFor(root, roomWidth, roomHeight) * BETTER) root = lower;
  }
  place(root, 0, 0);
  return { ...out, width: root.width, height: root.height };

  function level(at, high, less) {
    const inside = kids[at].map((kid) => {
      const inner = items[kid].kind === "module" && open.has(kid) ? level(kid, Math.max(high - less, LOW), less) : null;
      if (!inner) return { kid, inner, width: items[kid].width, height: items[kid].height };
      const pad = padding(inner, items[kid].width);
      return { kid, inner, pad, width: inner.width + pad[0] + pad[1], height: inner.height + HEAD + FOOT };
    });
    const { edges, implied } = sparse(withPorts(levels.get(at) || []), kids[at]);
    const place = new Map(kids[at].map((kid, n) => [kid, n]));
    const named = edges.map(([p, q]) => [place.get(p) ?? p, place.get(q) ?? q]);
    const key = JSON.stringify([inside.map((node) => [node.width, node.height]), named, high]);
    if (!flats.has(key)) flats.set(key, columns(ranked(inside, named), roomWidth, high));
    return { ...flats.get(key), inside, edges, implied };
  }

  function place(found, left, top) {
    out.implied += found.implied;
    const inner = new Map();
    found.inside.forEach((node, n) => {
      const [x, y] = [left + found.spots[n][0], top + found.spots[n][1]];
      const box = { item: node.kid, x, y, width: node.width, height: node.height };
      (node.inner ? out.boxes : out.cards).push(box);
      if (node.inner) inner.set(node.kid, { box, left: x + node.pad[0], found: node.inner });
    });
    for (const { box, left: from, found: held } of inner.values()) place(held, from, box.y + HEAD);
    found.routes.forEach(({ points }, n) => {
      const [p, q] = found.edges[n];
      let line = points.map(([x, y]) => [left + x, top + y]);
      const low = top + found.height + FOOT;
      if (typeof p === "string") line = [...entry(left + found.ports[p], line[0][0], top - HEAD, top - 6), ...line.slice(1)];
      else if (inner.has(p)) line = moved(line, port(inner.get(p), "out", q));
      if (typeof q === "string") {
        line = [...line.slice(0, -1), ...entry(left + found.ports[q], line[line.length - 1][0], low, low - 6).reverse()];
      } else if (inner.has(q)) line = moved(line.reverse(), port(inner.get(q), "in", p)).reverse();
      out.edges.push({ from: p, to: q, path: path(line) });
    });
  }

  function port({ box, left, found }, way, other) {
    const x = found.ports[`${way}:${other}`] ?? found.ports[way];
    return x === undefined ? null : [left + x, way === "in" ? box.y : box.y + box.height];
  }
}

// Return what is left free at the left and right of a module, so that its ports are in the middle
// and what leads through modules in a row is straight.
function padding(inner, least) {
  const at = Object.values(inner.ports), middle = at.reduce((sum, x) => sum + x, 0) / (at.length || 1);
  const off = at.length ? 2 * middle - inner.width : 0;
  const aside = Math.abs(off) < 0.25 * inner.width ? off : 0;
  const found = [PAD + Math.max(0, -aside), PAD + Math.max(0, aside)];
  const short = Math.max(0, least - inner.width - found[0] - found[1]) / 2;
  return [found[0] + short, found[1] + short];
}

// Return the beginning of a line inside a module: from its border at `x` to where it goes on.
function entry(x, to, border, lane) {
  return Math.abs(x - to) < 0.5 ? [[to, border]] : [[x, border], [x, lane], [to, lane]];
}

// Return a line that begins elsewhere; a vertical beginning stays vertical.
function moved(line, start) {
  if (!start) return line;
  const [first, second, ...rest] = line;
  const upright = rest.length && Math.abs(first[0] - second[0]) < 0.5;
  return [start, upright ? [start[0], second[1]] : second, ...rest];
}

// Return a line as commands of a path: straight lines with round corners, and curves that begin and
// end vertically in place of slanted ones.
function path(line) {
  const points = line.filter((point, n) => !n || Math.hypot(point[0] - line[n - 1][0], point[1] - line[n - 1][1]) > 0.5);
  const level = (n) => Math.abs(points[n][1] - points[n + 1][1]) < 0.5, upright = (n) => Math.abs(points[n][0] - points[n + 1][0]) < 0.5;
  const found = [["M", ...points[0]]];
  for (let n = 0; n + 1 < points.length; n++) {
    const [x, y] = points[n], [toX, toY] = points[n + 1];
    if (!level(n) && !upright(n)) {
      const middle = (y + toY) / 2;
      found.push(["C", x, middle, toX, middle, toX, toY]);
      continue;
    }
    const turns = n + 2 < points.length && (level(n) ? upright(n + 1) : level(n + 1));
    if (!turns) { found.push(["L", toX, toY]); continue; }
    const [endX, endY] = points[n + 2];
    const round = Math.min(ROUND, Math.hypot(toX - x, toY - y) / 2, Math.hypot(endX - toX, endY - toY) / 2);
    found.push(["L", toX - round * Math.sign(toX - x), toY - round * Math.sign(toY - y)]);
    found.push(["Q", toX, toY, toX + round * Math.sign(endX - toX), toY + round * Math.sign(endY - toY)]);
  }
  return found;
}

// Return, for every item, the item that shows it: itself, or the outermost folded module around it.
function shownItems(items, open) {
  return items.map((item, at) => {
    let found = at;
    for (let above = item.parent; above >= 0; above = items[above].parent) if (!open.has(above)) found = above;
    return found;
  });
}

// Return the edges of every open module between its children and its ports, and all pairs of cards.
function levelEdges(items, shown, edges) {
  const levels = new Map(), pairs = new Map();
  const add = (at, p, q) => {
    if (!levels.has(at)) levels.set(at, new Map());
    levels.get(at).set(`${p}>${q}`, [p, q]);
  };
  const above = (at) => { const found = []; for (; at >= 0; at = items[at].parent) found.push(at); return found; };
  for (const [from, to] of edges) {
    const u = shown[from], v = shown[to];
    if (u === v || pairs.has(`${u}>${v}`)) continue;
    pairs.set(`${u}>${v}`, [u, v]);
    const up = above(u), down = above(v), around = new Set(down);
    let i = 0;
    while (!around.has(up[i + 1])) i++;
    let j = down.indexOf(up[i + 1]) - 1;
    add(up[i + 1], up[i], down[j]);
    for (let p = up[i]; j > 0; j--) { p = `in:${p}`; add(down[j], p, down[j - 1]); }
    for (let q = down[down.indexOf(up[i + 1]) - 1]; i > 0; i--) { q = `out:${q}`; add(up[i], up[i - 1], q); }
  }
  return { levels: new Map([...levels].map(([at, found]) => [at, [...found.values()]])), pairs: [...pairs.values()] };
}

// Return edges in which a module with many ports has one for all.
function withPorts(edges) {
  const merged = {};
  for (const way of ["in", "out"]) {
    const ports = new Set(edges.flat().filter((end) => typeof end === "string" && end.startsWith(`${way}:`)));
    merged[way] = ports.size > MOST_PORTS;
  }
  const named = (end) => {
    const way = typeof end === "string" ? end.slice(0, end.indexOf(":")) : "";
    return merged[way] ? way : end;
  };
  return [...new Map(edges.map(([p, q]) => [`${named(p)}>${named(q)}`, [named(p), named(q)]])).values()];
}

// Return edges without those that a path of others implies, if there are very many; of those that
// lead back, the first ones.
function sparse(edges, kids) {
  if (edges.length <= DENSE * kids.length + 12) return { edges, implied: 0 };
  const order = new Map(kids.map((kid, n) => [kid, n])), after = kids.map(() => []);
  let back = 0;
  const kept = edges.filter(([p, q]) => {
    const [a, b] = [order.get(p), order.get(q)];
    if (a === undefined || b === undefined) return true;
    if (a < b) after[a].push(b);
    return a >= b && back++ < kids.length;
  });
  const reach = kids.map(() => 0n);
  for (let a = kids.length - 1; a >= 0; a--) {
    for (const b of after[a].sort((x, y) => x - y)) {
      if ((reach[a] >> BigInt(b)) & 1n) continue;
      reach[a] |= (1n << BigInt(b)) | reach[b];
      kept.push([kids[a], kids[b]]);
    }
  }
  return { edges: kept, implied: edges.length - kept.length };
}

// Return the layout of one module by dagre: `spots` of its children (left, top), `routes` of its
// edges, and where its ports are, from left to right.
function ranked(inside, edges) {
  const graph = new dagre.graphlib.Graph({ multigraph: false, compound: false });
  graph.setGraph({ rankdir: "TB", nodesep: GAP, ranksep: BETWEEN, edgesep: 10 });
  graph.setDefaultEdgeLabel(() => ({}));
  inside.forEach((node, n) => graph.setNode(String(n), { width: node.width, height: node.height }));
  const ports = new Set(edges.flat().filter((end) => typeof end === "string"));
  for (const port of ports) graph.setNode(port, { width: 2, height: 1 });
  for (const [p, q] of edges) graph.setEdge(String(p), String(q), { weight: 2 });
  hold(graph, [...ports].filter((port) => port.startsWith("in")), inside, edges, true);
  hold(graph, [...ports].filter((port) => port.startsWith("out")), inside, edges, false);
  dagre.layout(graph);
  const spots = inside.map((node, n) => {
    const at = graph.node(String(n));
    return [at.x - node.width / 2, at.y - node.height / 2];
  });
  const bands = bandsOf(graph);
  const routes = edges.map(([p, q]) => {
    const points = graph.edge(String(p), String(q)).points.map(({ x, y }) => [x, y]);
    return { points: beside(points.length === 3 ? [points[0], points[2]] : points, bands) };
  });
  const lines = routes.flatMap(({ points }) => points.slice(1, -1)); // ends are at borders
  const left = Math.min(...spots.map(([x]) => x), ...lines.map(([x]) => x));
  const top = Math.min(...spots.map(([, y]) => y), ...lines.map(([, y]) => y));
  const right = Math.max(...spots.map(([x], n) => x + inside[n].width), ...lines.map(([x]) => x));
  const bottom = Math.max(...spots.map(([, y], n) => y + inside[n].height), ...lines.map(([, y]) => y));
  const turn = backwards(spots, inside); // then the mirror image is in the order of the network
  const across = (x, width) => (turn ? right - x - width : x - left);
  return {
    sizes: inside.map(({ width, height }) => [width, height]),
    spots: spots.map(([x, y], n) => [across(x, inside[n].width), y - top]),
    routes: routes.map(({ points }) => ({ points: points.map(([x, y]) => [across(x, 0), y - top]) })),
    ports: Object.fromEntries([...ports].map((port) => [port, across(graph.node(port).x, 0)])),
    width: right - left, height: bottom - top,
  };
}

// Return the top and bottom of every rank of a layout.
function bandsOf(graph) {
  const found = new Map();
  for (const { rank, y, height } of graph.nodes().map((name) => graph.node(name))) {
    const [top, bottom] = found.get(rank) || [Infinity, -Infinity];
    found.set(rank, [Math.min(top, y - height / 2), Math.max(bottom, y + height / 2)]);
  }
  return [...found.values()];
}

// Return a line that is upright in every rank, and slanted between two only: beside a tall module
// it would run through that.
function beside(points, bands) {
  const bandAt = (y) => bands.find(([top, bottom]) => top - 0.5 <= y && y <= bottom + 0.5) || [y, y];
  const found = [points[0]];
  for (let n = 1; n < points.length; n++) {
    const [[x, y], [toX, toY]] = [points[n - 1], points[n]], down = toY > y;
    const leave = bandAt(y)[down ? 1 : 0], reach = bandAt(toY)[down ? 0 : 1];
    if (Math.abs(toX - x) > 0.5 && (down ? leave < reach : leave > reach)) {
      if (Math.abs(leave - y) > 1) found.push([x, leave]);
      if (Math.abs(reach - toY) > 1) found.push([toX, reach]);
    }
    found.push(points[n]);
  }
  return found;
}

// Tell whether nodes beside each other are mostly against the order of the network.
function backwards(spots, inside) {
  let found = 0;
  for (let a = 0; a < spots.length; a++) {
    for (let b = a + 1; b < spots.length; b++) {
      const beside = spots[a][1] < spots[b][1] + inside[b].height && spots[b][1] < spots[a][1] + inside[a].height;
      if (beside) found += Math.sign(spots[b][0] - spots[a][0]);
    }
  }
  return found < 0;
}

// Hold ports at the upper or lower border: tie them to a node beyond all others.
function hold(graph, ports, inside, edges, above) {
  if (!ports.length) return;
  const anchor = above ? "above" : "below";
  graph.setNode(anchor, { width: 0, height: 0 });
  const tie = (name, label) => (above ? graph.setEdge(anchor, name, label) : graph.setEdge(name, anchor, label));
  for (const port of ports) tie(port, { weight: 20 });
  const taken = new Set(edges.map(([p, q]) => String(above ? q : p)));
  inside.forEach((_, n) => { if (!taken.has(String(n))) tie(String(n), { weight: 0, minlen: 2 }); });
}

// Return the zoom with which a layout fits into the room, at most 1.
function zoomFor(one, roomWidth, roomHeight) {
  return Math.min(roomWidth / one.width, roomHeight / one.height, 1);
}

// Return a layout broken into as many columns as make it largest in the room.
function columns(flat, roomWidth, roomHeight) {
  if (flat.height <= roomHeight) return flat;
  const gaps = gapsOf(flat);
  let best = flat;
  for (let count = 2; count <= Math.min(MOST_COLUMNS, gaps.length + 1); count++) {
    const cuts = cutsOf(flat, gaps, count);
    const tried = cuts.length ? broken(flat, cuts) : flat;
    if (zoomFor(tried, roomWidth, roomHeight) > zoomFor(best, roomWidth, roomHeight) * BETTER) best = tried;
  }
  return best;
}

// Return the heights between ranks, with the number of edges that cross each.
function gapsOf(flat) {
  const bands = flat.spots.map(([, y], n) => [y, y + flat.sizes[n][1]]).sort((a, b) => a[0] - b[0]);
  const found = [];
  let end = bands[0][1];
  for (const [start, stop] of bands) {
    if (start > end + 4) {
      const y = (start + end) / 2;
      const crossing = flat.routes.filter(({ points }) => {
        const heights = points.map((point) => point[1]);
        return Math.min(...heights) < y && Math.max(...heights) > y;
      }).length;
      found.push({ y, crossing });
    }
    end = Math.max(end, stop);
  }
  return found;
}

function cutsOf(flat, gaps, count) {
  const cuts = [], step = flat.height / count;
  for (let n = 1; n < count; n++) {
    let best = null, least = Infinity;
    for (const { y, crossing } of gaps) {
      const cost = Math.abs(y - n * step) + 0.12 * step * crossing;
      if (cost < least && y > (cuts[cuts.length - 1] ?? 0)) [best, least] = [y, cost];
    }
    if (best !== null) cuts.push(best);
  }
  return cuts;
}

function broken(flat, cuts) {
  const ends = [...cuts, flat.height], column = (y) => { const at = ends.findIndex((end) => y <= end); return at < 0 ? cuts.length : at; };
  const pieces = flat.routes.map(({ points }) => split(points, cuts));
  const low = ends.map(() => Infinity), high = ends.map(() => -Infinity);
  const widen = (at, from, to) => { low[at] = Math.min(low[at], from); high[at] = Math.max(high[at], to); };
  flat.spots.forEach(([x, y], n) => widen(column(y + flat.sizes[n][1] / 2), x, x + flat.sizes[n][0]));
  for (const route of pieces) for (const { at, points } of route) for (const [x] of points) widen(at, x, x);
  const crossing = cuts.map((_, at) => pieces.flatMap((route, n) => route.flatMap((piece, k) =>
    piece.at === at && route[k + 1]?.at === at + 1 ? [{ n, x: piece.points[piece.points.length - 1][0] }]
      : piece.at === at + 1 && route[k + 1]?.at === at ? [{ n, x: piece.points[0][0] }] : [])));
  crossing.forEach((found) => found.sort((a, b) => b.x - a.x));
  const shift = [];
  let right = 0;
  ends.forEach((_, at) => {
    shift.push(right - low[at]);
    right += high[at] - low[at] + (at < cuts.length ? LANE + TRACK * crossing[at].length : 0);
  });
  const tall = ends.map((end, at) => end - (at ? ends[at - 1] : 0));
  const above = Math.max(...crossing.map((found) => found.length)) * TRACK + 6;
  const local = ([x, y], at) => [x + shift[at], y - (at ? ends[at - 1] : 0) + above];
  const routes = pieces.map((route, n) => {
    const line = [];
    route.forEach(({ at, points }, k) => {
      const next = route[k + 1], own = points.slice(k ? 1 : 0, next ? -1 : undefined);
      line.push(...own.map((point) => local(point, at)));
      if (!next) return;
      const [first, second] = at < next.at ? [at, next.at] : [next.at, at];
      const track = crossing[first].findIndex((one) => one.n === n);
      const lane = high[first] + shift[first] + LANE / 2 + track * TRACK;
      const foot = tall[first] + above + 4 + track * TRACK, head = above - 6 - track * TRACK;
      const below = local((own.length ? own : points).at(-1), at), behind = local(next.points[next.points.length > 2 || route[k + 2] ? 0 : 1], next.at);
      line.push(...(at < next.at ? [[below[0], foot], [lane, foot], [lane, head], [behind[0], head]]
        : [[below[0], head], [lane, head], [lane, foot], [behind[0], foot]]));
    });
    return { points: line };
  });
  const ports = inMiddle(Object.keys(flat.ports), right);
  const spots = flat.spots.map((spot, n) => local(spot, column(spot[1] + flat.sizes[n][1] / 2)));
  const height = above + Math.max(...tall.map((one, at) => one + (crossing[at] ? 8 + TRACK * crossing[at].length : 0)));
  return { sizes: flat.sizes, spots, routes, ports, width: right, height };
}

// Return places of ports in the middle of a module in columns: what enters it goes to the first one.
function inMiddle(names, width) {
  const found = {};
  for (const way of ["in", "out"]) {
    const own = names.filter((name) => name.startsWith(way));
    own.forEach((name, n) => { found[name] = width / 2 + (n - (own.length - 1) / 2) * 2 * TRACK; });
  }
  return found;
}

// Return a line cut at heights, with the column of each piece.
function split(points, cuts) {
  const column = (y) => { const at = cuts.findIndex((cut) => y <= cut); return at < 0 ? cuts.length : at; };
  const found = [{ at: column(points[0][1]), points: [points[0]] }];
  for (let n = 1; n < points.length; n++) {
    let [from, to] = [points[n - 1], points[n]];
    let at = found[found.length - 1].at;
    const last = column(to[1]);
    while (at !== last) {
      const cut = last > at ? cuts[at] : cuts[at - 1], share = (cut - from[1]) / (to[1] - from[1] || 1);
      const between = [from[0] + share * (to[0] - from[0]), cut];
      found[found.length - 1].points.push(between);
      at += last > at ? 1 : -1;
      found.push({ at, points: [between] });
    }
    found[found.length - 1].points.push(to);
  }
  return found;
}
