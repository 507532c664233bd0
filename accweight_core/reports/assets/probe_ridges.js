// Histograms over steps, one ridge per step: the first step at the back, the current one in colour.
function ridges(element, view, probe, time) {
  heading(element, view.words);
  const steps = view.places.map((place) => probe.steps[place]);
  const grid = make("div", "charts"), drawn = [];
  element.append(grid);
  for (const chart of view.charts) {
    const cell = make("div"), canvas = make("canvas", "ridges");
    cell.append(make("h4", "", chart.name), canvas);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `histograms of ${chart.name}`);
    grid.append(cell);
    const tallest = Math.max(...chart.counts.flat(), 1);
    drawn.push({ chart, canvas, tallest });
  }
  const HIGH = 210, EDGE = 30, SIDES = 8;
  function draw() {
    const now = nearest(time, steps);
    for (const { chart, canvas, tallest } of drawn) {
      const ratio = devicePixelRatio || 1, width = Math.max(canvas.parentElement.clientWidth, 200);
      [canvas.width, canvas.height] = [width * ratio, HIGH * ratio];
      canvas.style.height = `${HIGH}px`;
      const pen = canvas.getContext("2d"), count = chart.counts.length;
      pen.scale(ratio, ratio);
      const gap = Math.min((HIGH - EDGE) * 0.55 / Math.max(count - 1, 1), 16), room = HIGH - EDGE - gap * (count - 1) - 4;
      const trace = (at) => {
        const base = HIGH - EDGE - gap * (count - 1 - at), counts = chart.counts[at];
        const x = (bin) => SIDES + ((bin + 0.5) / counts.length) * (width - 2 * SIDES);
        const y = (value) => base - Math.sqrt(value / tallest) * room;
        pen.beginPath();
        pen.moveTo(SIDES, base);
        pen.lineTo(SIDES, y(counts[0]));
        counts.forEach((value, bin) => pen.lineTo(x(bin), y(value)));
        pen.lineTo(width - SIDES, base);
      };
      for (let at = 0; at < count; at++) {
        const tone = at === now ? "--accent" : "--curve-0";
        trace(at);
        pen.globalAlpha = 0.75;
        pen.fillStyle = css("--panel");
        pen.fill();
        pen.globalAlpha = at === now ? 0.45 : 0.12;
        pen.fillStyle = css(tone);
        pen.fill();
        pen.globalAlpha = 1;
        pen.strokeStyle = css(tone);
        pen.lineWidth = at === now ? 1.8 : 1;
        pen.stroke();
      }
      pen.fillStyle = css("--dim");
      pen.font = FONT;
      pen.fillText("0", SIDES, HIGH - 10);
      pen.textAlign = "right";
      pen.fillText(read(chart.largest), width - SIDES, HIGH - 10);
      pen.textAlign = "left";
    }
  }
  dark.addEventListener("change", draw);
  addEventListener("resize", draw);
  time.listen(draw);
}
