// Draw every view of every probe; `runs` are theirs, as in `probe_views.py`.
const runs = JSON.parse(document.getElementById("probe-data").textContent);
const DRAWN = { numbers: curves, layers: curves, rows: curves, pictures, points: scatter, stages: scatter, against: scatter, links: network, path, cells, steps: stepsMap, units, matrix: units, ridges };
document.querySelectorAll(".probes").forEach((root) => {
  const probes = runs[Number(root.dataset.run)], time = new Time(root, probes);
  root.querySelectorAll(".view").forEach((element) => {
    const probe = probes[Number(element.dataset.probe)], view = probe.views[Number(element.dataset.view)];
    DRAWN[view.kind](element, view, probe, time);
  });
  root.querySelectorAll(".views").forEach(arrange);
  time.tell();
  root.time = time;
});
dispatchEvent(new Event("resize")); // charts take the width that they have now
document.documentElement.dataset.probes = "yes";
document.documentElement.dataset.ready = "yes";
