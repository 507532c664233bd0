// Histograms over steps, one ridge per step: the first step at the back, the current one in colour.
function ridges(element, view, probe, time) {
  heading(element, view.words);
  const steps = view.places.map((place) => probe.steps[place]);
  const grid = make("div", "charts"), drawn = [];
  element.append(grid);
  for (const chart of view.charts) {
    const cell = make("div"), canvas = make("canvas", "ridges"), told = make("p", "readout", "\u00a0");
    cell.append(make("h4", "", chart.name), canvas, told);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `histograms of ${chart.name}`);
    grid.append(cell);
    const tallest = Math.max(...chart.counts.flat(), 1);
    drawn.push({ chart, canvas, told, tallest });
  }
  const HIGH = 190, EDGE = 30, SIDES = 8;
  function draw() {
    const now = nearest(time, steps);
    for (const { chart, canvas, told, tallest } of drawn) {
      const ratio = devicePixelRatio || 1, width = Math.max(canvas.parentElement.clientWidth, 200);
      [canvas.width, canvas.height] = [width * ratio, HIGH * ratio];
      canvas.style.height = `${HIGH}px`;
      const pen = canvas.getContext("2d"), count = chart.counts.length;
      pen.scale(ratio, ratio);
      const gap = Math.min((HIGH - EDGE) * 0.6 / Math.max(count - 1, 1), 16), room = HIGH - EDGE - gap * (count - 1) - 4;
      const line = (at) => {
        const base = HIGH - EDGE - gap * (count - 1 - at), counts = chart.counts[at];
        const x = (bin) => SIDES + (bin / counts.length) * (width - 2 * SIDES);
        const y = (value) => base - Math.sqrt(value / tallest) * room;
        pen.beginPath();
        pen.moveTo(x(0), base);
        counts.forEach((value, bin) => { pen.lineTo(x(bin), y(value)); pen.lineTo(x(bin + 1), y(value)); });
        pen.lineTo(x(counts.length), base);
      };
      for (let at = 0; at < count; at++) {
        line(at);
        pen.fillStyle = css(at === now ? "--accent" : "--panel");
        pen.fill();
        pen.strokeStyle = css(at === now ? "--accent" : "--curve-0");
        pen.lineWidth = at === now ? 1.6 : 1;
        pen.stroke();
      }
      pen.fillStyle = css("--dim");
      pen.font = FONT;
      pen.fillText("0", SIDES, HIGH - 10);
      pen.textAlign = "right";
      pen.fillText(read(chart.largest), width - SIDES, HIGH - 10);
      pen.textAlign = "left";
      const sum = chart.counts[now].reduce((a, b) => a + b, 0), still = chart.counts[now][0];
      told.textContent = `step ${steps[now]}: ${read(sum ? 100 * still / sum : 0)} % of the weights in the first bin`;
    }
  }
  dark.addEventListener("change", draw);
  addEventListener("resize", draw);
  time.listen(draw);
}
