// Several runs over one another: curves, configs, and the samples of prompts that they share.

import { differencesView } from "./config_view.js";
import { curvesView } from "./curves_view.js";
import { colorOf } from "./chart.js";
import { foreign, h, number, pill } from "./dom.js";
import { sampleImage, stepSlider } from "./samples_view.js";
import { source } from "./source.js";
import { t } from "./words.js";

export function comparePage(ids) {
  const view = h("div.compare", {}, h("p.note", {}, "…"));
  view.ready = Promise.all(ids.map((id) => source.details(id))).then(async (runs) => {
    document.title = `${t("compare_title")} – dit-run`;
    const curves = curvesView(runs), differences = differencesView(runs), samples = sharedSamples(runs);
    const legend = h("ul.run-legend", {}, runs.map((run, index) => h("li", {}, h("span.dot", { style: { background: colorOf(index) } }), h("a", { href: `#/run/${run.id}` }, foreign(run.name)), pill(run.state), h("span.muted", {}, `${t("best_loss")} ${number(run.best_loss)}`))));
    const part = (title, content) => h("section", { "aria-label": title }, h("h2", {}, title), content);
    view.replaceChildren(h("h1", {}, t("compare_title")), legend, part(t("curves"), curves), part(t("config_differences"), differences), samples ? part(t("samples"), samples) : "");
    await Promise.all([curves.ready, differences.ready]);
  });
  return view;
}

function sharedSamples(runs) {
  const shown = runs.filter((run) => run.samples.prompts.length);
  if (shown.length < 2) return null;
  const shared = shown[0].samples.prompts.filter((prompt) => shown.every((run) => run.samples.prompts.includes(prompt)));
  const steps = [...new Set(shown.flatMap((run) => run.samples.grids.map((grid) => grid.step)))].sort((a, b) => a - b);
  if (!shared.length) return null;
  const body = h("tbody");
  const cell = (run, prompt, step) => {
    const grid = run.samples.grids.findLast((candidate) => candidate.step <= step);
    const index = grid ? grid.cells[run.samples.prompts.indexOf(prompt)] : -1;
    return h("td", {}, index >= 0 ? sampleImage(run, grid.step, index, prompt) : "–");
  };
  const stepper = stepSlider(steps, t("step"), (step) => body.replaceChildren(...shared.map((prompt) => h("tr", {}, h("th", { scope: "row" }, foreign(prompt)), shown.map((run) => cell(run, prompt, step))))), { player: true });
  stepper.moved();
  const head = h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("prompt")), shown.map((run) => h("th", { scope: "col" }, foreign(run.name)))));
  return h("div", {}, stepper.element, h("div.scroll", { tabindex: "0", role: "region", "aria-label": t("samples") }, h("table.shared", {}, head, body)));
}
