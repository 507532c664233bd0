// What all views share: names of colours, and the time, one line of steps for all probes of a run.
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const dark = matchMedia("(prefers-color-scheme: dark)");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const FONT = "12px system-ui, sans-serif";
const CLASSES = 10; // colours of classes; further ones have other marks
let NAMED = 0; // curves with a colour of their own: as many as the theme has
while (css(`--curve-${NAMED}`)) NAMED++;
const PLANE = 460; // pixels of a plane of points
const MOST_SIDE = 112, LARGE_SIDE = 160, LEAST_SIDE = 44; // pixels of a picture; of a detailed one

const make = (tag, cls, text) => {
  const made = document.createElement(tag);
  if (cls) made.className = cls;
  if (text !== undefined) made.textContent = text;
  return made;
};
const read = (value) => (value == null ? "-" : Number(value.toPrecision(4)).toString());
const mix = (a, b, share) => (a == null || b == null ? null : a + (b - a) * share);

class Time {
  constructor(root, probes) {
    this.steps = [...new Set(probes.flatMap((probe) => probe.steps))].sort((a, b) => a - b);
    const begun = this.steps.indexOf(Number(root.dataset.begin)); // of a page that begins elsewhere
    this.at = this.to = begun < 0 ? this.steps.length - 1 : begun;
    this.listeners = [];
    this.playing = false;
    this.slide = root.querySelector(".time .slide");
    this.now = root.querySelector(".time .now");
    this.button = root.querySelector(".time .play");
    this.slide.max = String(Math.max(this.steps.length - 1, 0));
    this.slide.value = String(this.at);
    this.slide.addEventListener("input", () => { this.pause(); this.go(Number(this.slide.value)); });
    this.button.addEventListener("click", () => (this.playing ? this.pause() : this.play()));
    if (this.steps.length < 2) root.querySelector(".time").hidden = true;
  }
  listen(act) { this.listeners.push(act); }
  step() { // between two steps where points are on their way
    const low = Math.floor(this.at), high = Math.min(low + 1, this.steps.length - 1);
    return mix(this.steps[low], this.steps[high], this.at - low);
  }
  go(place) { this.to = place; this.run(); }
  play() {
    this.playing = true;
    if (this.at >= this.steps.length - 1) this.at = 0;
    this.to = this.steps.length - 1;
    this.button.textContent = "\u275a\u275a";
    this.button.setAttribute("aria-label", "Pause");
    this.run();
  }
  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.to = Math.round(this.at);
    this.button.textContent = "\u25b6";
    this.button.setAttribute("aria-label", "Play");
    this.run();
  }
  run() {
    if (still.matches && !this.playing) this.at = this.to;
    if (this.frame) return;
    let last = performance.now();
    const rate = Math.max(this.steps.length / 12, 1.2); // steps per second while playing
    const move = (now) => {
      const seconds = Math.min((now - last) / 1000, 0.1);
      last = now;
      const away = this.to - this.at;
      const most = this.playing ? rate * seconds : Math.max(Math.abs(away) * 9, 2) * seconds;
      this.at = Math.abs(away) <= most ? this.to : this.at + Math.sign(away) * most;
      this.tell();
      this.frame = this.at === this.to ? 0 : requestAnimationFrame(move);
      if (!this.frame && this.playing) this.pause();
    };
    this.frame = requestAnimationFrame(move);
  }
  tell() {
    const shown = this.steps[Math.round(this.at)];
    this.now.textContent = shown === undefined ? "" : `step ${shown}`;
    if (!this.slide.matches(":active")) this.slide.value = String(this.at);
    this.slide.setAttribute("aria-valuetext", this.now.textContent);
    for (const act of this.listeners) act();
  }
}

// where the time is among the drawn steps of a view: place before it, and share of the way
function between(time, steps) {
  const step = time.step();
  let at = 0;
  while (at + 1 < steps.length && steps[at + 1] <= step) at++;
  const next = Math.min(at + 1, steps.length - 1);
  const length = steps[next] - steps[at];
  return [at, next, length > 0 ? Math.max(Math.min((step - steps[at]) / length, 1), 0) : 0];
}
const nearest = (time, steps) => {
  const [at, next, share] = between(time, steps);
  return share > 0.999 ? next : at; // what was last measured
};

function heading(element, text) {
  if (text) element.append(make("h4", "", text.charAt(0).toUpperCase() + text.slice(1)));
}
function notes(element, ...lines) {
  for (const line of lines) if (line) element.append(make("p", "readout", line));
}
