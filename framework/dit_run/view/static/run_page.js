// One run: its state, and tabs with all that is known of it.

import { configView } from "./config_view.js";
import { curvesView } from "./curves_view.js";
import { ago, duration, foreign, h, number, pill, progressBar, stepsText } from "./dom.js";
import { aboutView, command, eventsView } from "./events_view.js";
import { samplesView } from "./samples_view.js";
import { isReport, repeat, source } from "./source.js";
import { tryView } from "./try_view.js";
import { t } from "./words.js";

const TABS = { curves: (run) => curvesView([run]), samples: samplesView, config: configView, events: eventsView, about: aboutView, try: tryView };
// Tabs that are drawn again when these details of the run change.
const DRAWN = { samples: ["samples"], events: ["events"], about: ["plan", "check"] };

export function runPage(id, wanted) {
  const view = h("div.run", {}, h("p.note", {}, "…"));
  view.ready = source.details(id).then((run) => build(view, run, TABS[wanted] ? wanted : "curves"));
  return view;
}

async function build(view, run, wanted) {
  document.title = `${run.name} – dit-run`;
  const head = h("div"), panel = h("div.panel", { role: "tabpanel", id: "panel", tabindex: "0" });
  const names = Object.keys(TABS).filter((name) => !(isReport && name === "try"));
  const tabs = names.map((name) => h("button.tab", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "panel", onclick: () => open(name) }, t(name)));
  const list = h("div.tabs", { role: "tablist", "aria-label": t("run") }, tabs);
  list.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(document.activeElement) + by + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
  const memory = {}, focusable = () => [...panel.querySelectorAll("a, button, input")];
  let current = null, drawn = "";

  async function open(name) {
    tabs.forEach((tab, index) => { const on = names[index] === name; tab.setAttribute("aria-selected", String(on)); tab.tabIndex = on ? 0 : -1; });
    list.scrollLeft = tabs[names.indexOf(name)].offsetLeft - list.offsetLeft - 40; // on a phone, not all fit
    panel.setAttribute("aria-labelledby", `tab-${name}`);
    if (current !== name) history.replaceState(null, "", `#/run/${run.id}/${name}`);
    current = name;
    drawn = drawnFrom();
    const content = TABS[name](run, memory);
    panel.replaceChildren(content);
    await content.ready;
  }

  // What the open tab shows of the details of the run.
  function drawnFrom() { return JSON.stringify((DRAWN[current] ?? []).map((key) => run[key])); }

  async function redraw() {
    const place = focusable().indexOf(document.activeElement);
    await open(current);
    if (place >= 0) focusable()[place]?.focus();
  }

  view.replaceChildren(head, list, panel);
  head.replaceChildren(...runHead(run));
  await open(wanted);
  if (!isReport) setTimeout(() => source.config(run.id).catch(() => {}), 1500); // the server prepares it, which takes a second at first
  repeat(view, () => (run.state === "running" ? 5 : 10), async () => {
    Object.assign(run, await source.details(run.id));
    head.replaceChildren(...runHead(run));
    if (drawnFrom() !== drawn) await redraw();
  });
}

function runHead(run) {
  const shown = [
    [t("progress"), stepsText(run)],
    [t("time_left"), run.state === "running" ? duration(run.seconds_left) : null],
    [t("loss"), run.latest.loss !== undefined ? number(run.latest.loss) : null],
    [t("validation"), run.latest["validation/loss_ema"] ?? run.latest["validation/loss"]],
    [t("best_loss"), run.best_loss],
    ...Object.entries(run.scores).slice(0, 3).map(([name, value]) => [name.replaceAll("_", " "), value]),
    [t("images_per_second"), run.latest.images_per_second],
  ].filter(([, value]) => value !== null && value !== undefined);
  const facts = shown.map(([name, value]) => h("div", {}, h("dt", {}, foreign(name)), h("dd", {}, typeof value === "number" ? number(value) : value)));
  return [
    h("div.run-title", {}, h("h1", {}, foreign(run.name)), pill(run.state), h("span.muted.small", {}, foreign([run.dataset, run.model, run.device].filter(Boolean).join(" · "))), h("span.fill"), h("span.muted.small", {}, `${t("updated")} ${ago(run.updated)}`)),
    progressBar(run) ?? "",
    run.reason ? h(`div.problem.${run.state}`, { role: run.state === "failed" ? "alert" : "status" }, h("p", {}, foreign(run.reason)), run.state === "finished" || run.reason.includes("dit-run ") ? null : h("p", {}, `${t("continue_hint")} `, command("dit-run", "train", run.path))) : "",
    h("dl.values", {}, facts),
  ];
}
