// Views stand in two columns of about the same height, so that nothing is empty beside a tall one.
const OF_CURVES = [".of-numbers", ".of-layers", ".of-rows"].join(", ");
const IN_COLUMNS = [OF_CURVES, ".of-path", ".of-cells", ".of-steps", ".of-matrix"].join(", ");
const MUCH = 1.3; // a view this many times as tall as all others together gets the whole width

function arrange(views) {
  const runs = [[]]; // what stands between two views of the whole width
  for (const view of views.children) {
    if (!view.matches(IN_COLUMNS)) runs.push([]);
    else {
      const charts = view.querySelectorAll(".charts > div");
      runs.at(-1).push(...(charts.length > 1 ? charts : [view])); // a chart alone stays with its names
    }
  }
  const widen = (item) => {
    item.classList.add("wide");
    const charts = item.parentElement;
    if (charts.matches(".charts") && item === charts.lastElementChild) { // the names below go with it
      for (let below = charts.nextElementSibling; below; below = below.nextElementSibling) below.classList.add("wide");
    }
  };
  for (let items of runs) {
    items.filter((item) => { // a map that is cut
      const table = item.querySelector(".map table");
      return table && table.offsetWidth > table.parentElement.clientWidth;
    }).forEach(widen);
    const high = new Map(items.map((item) => [item, item.offsetHeight]));
    const others = (one) => items.reduce((sum, item) => sum + (item === one ? 0 : high.get(item)), 0);
    items = items.filter((item) => !item.classList.contains("wide"));
    const tall = items.find((item) => item.matches(".of-matrix") && high.get(item) > MUCH * others(item));
    if (tall) widen(tall);
    items = items.filter((item) => item !== tall);
    const areCharts = items.every((item) => item.matches(`${OF_CURVES}, .charts > div`));
    if (items.length === 1 || (areCharts && items.length % 2)) widen(items.at(-1));
  }
}
