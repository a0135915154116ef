// The curves of one run, or of several over one another.

import { Chart, colorOf } from "./chart.js";
import { groupTitle, placed, sortedGroups, withErrors } from "./curve_groups.js";
import { choice, h, toggle } from "./dom.js";
import { isReport, repeat, source } from "./source.js";
import { store, stored, t } from "./words.js";

const DASHES = [undefined, [6, 4], [2, 3], [10, 3, 2, 3]];

// runs: details of runs; their names label the lines where there are several.
export function curvesView(runs) {
  const settings = { smoothing: Number(stored("smoothing") ?? 0), logX: false, logY: stored("logY") === "1", axis: "step", range: null };
  const charts = new Map(), curves = new Map();
  const place = h("div.charts"), message = h("p.note", { role: "status" });
  const from = h("input", { type: "number", min: "0", "aria-label": t("from"), placeholder: t("from"), onchange: zoomed });
  const to = h("input", { type: "number", min: "0", "aria-label": t("to"), placeholder: t("to"), onchange: zoomed });
  const several = runs.length > 1;

  function zoomed() {
    const low = from.value === "" ? 0 : Number(from.value), high = to.value === "" ? Infinity : Number(to.value);
    show(from.value === "" && to.value === "" ? null : [low, Number.isFinite(high) ? high : last()]);
  }

  function last() {
    return Math.max(...[...curves.values()].flatMap((series) => Object.values(series).map((curve) => curve.x.at(-1) ?? 0)));
  }

  function zoom(range) {
    [from.value, to.value] = range && settings.axis === "step" ? range.map(Math.round) : ["", ""];
    show(range);
  }

  function show(range) {
    settings.range = range && range[1] > range[0] ? range : null;
    render();
    load().catch(() => {});
  }

  const smoothing = h("input", { type: "range", min: "0", max: "0.99", step: "0.01", value: String(settings.smoothing), oninput: () => {
    settings.smoothing = Number(smoothing.value);
    store("smoothing", smoothing.value);
    render();
  } });
  const axes = [["step", t("step")], ["time", t("time")], ["samples", t("samples_x")]];
  const toolbar = h("div.toolbar", {},
    h("label.range", {}, t("smoothing"), smoothing),
    choice(t("x_axis"), axes, settings.axis, (axis) => { settings.axis = axis; settings.range = null; from.disabled = to.disabled = axis !== "step"; zoom(null); }),
    toggle(t("log_x"), settings.logX, (on) => { settings.logX = on; render(); }),
    toggle(t("log_y"), settings.logY, (on) => { settings.logY = on; store("logY", on ? "1" : "0"); render(); }),
    h("span.zoom", { title: t("zoom_hint") }, from, "–", to, h("button", { type: "button", onclick: () => zoom(null) }, t("reset"))),
    isReport || several ? null : h("a.small", { href: source.metrics(runs[0].id), download: `${runs[0].name.replaceAll("/", "-")}.jsonl` }, "metrics.jsonl"));
  const view = h("div", {}, toolbar, message, place);

  async function load() {
    const query = settings.range && settings.axis === "step" ? `&low=${settings.range[0]}&high=${settings.range[1]}` : "";
    const found = await Promise.all(runs.map((run) => source.curves(run.id, `points=${several ? 500 : 800}${query}`)));
    found.forEach((answer, index) => curves.set(runs[index].id, answer.series));
    const unread = found.filter((answer) => !answer.complete);
    message.textContent = unread.length ? t("reading", { share: Math.floor(100 * Math.min(...unread.map((answer) => answer.progress))) }) : "";
    if (found.some((answer, index) => answer !== seen[index])) render();
    seen = found;
    if (unread.length && view.isConnected) setTimeout(() => load().catch(() => {}), 50);
  }
  let seen = [];

  function xOf(run, curve) {
    if (settings.axis === "samples") return curve.x.map((step) => step * run.global_batch);
    if (settings.axis === "step") return curve.x;
    const start = run.started || curve.t.find((time) => time !== null) || 0;
    return curve.t.map((time, index) => (time === null ? index : time - start));
  }

  function grouped() {
    const groups = new Map();
    runs.forEach((run, runIndex) => {
      const series = curves.get(run.id) ?? {};
      for (const name of Object.keys(series)) {
        const found = placed(name);
        if (!found || !series[name].x.length) continue;
        const [group, label] = found;
        if (!groups.has(group)) groups.set(group, []);
        groups.get(group).push({ ...withErrors(name, series), run, runIndex, label });
      }
    });
    return groups;
  }

  function asLines(members) {
    const labels = [...new Set(members.map((member) => member.label))];
    return members.map((member) => {
      const place = labels.indexOf(member.label);
      const look = several ? { color: colorOf(member.runIndex), dash: DASHES[place % DASHES.length] } : { color: colorOf(place) };
      const label = several ? (labels.length > 1 ? `${member.run.name}: ${member.label}` : member.run.name) : member.label;
      const x = xOf(member.run, member);
      return { ...look, ...sorted(x, member), label, bad: member.bad };
    });
  }

  function render() {
    const groups = grouped();
    const names = sortedGroups(groups.keys());
    for (const [name, chart] of charts) if (!groups.has(name)) { chart.destroy(); chart.element.remove(); charts.delete(name); }
    names.forEach((name, index) => {
      if (!charts.has(name)) charts.set(name, new Chart(groupTitle(name), { onzoom: zoom }));
      const chart = charts.get(name);
      if (place.children[index] !== chart.element) place.insertBefore(chart.element, place.children[index] ?? null);
      chart.show(asLines(groups.get(name)), settings);
    });
    if (!names.length && !message.textContent) message.textContent = t("empty_metrics");
  }

  view.ready = load().catch((error) => { message.textContent = error.message; });
  repeat(view, () => (runs.some((run) => run.state === "running") ? 5 : 20), load);
  return view;
}

// uPlot needs ascending x values; the times of a run that was continued may not be.
function sorted(x, curve) {
  const pick = (values) => values && [...values];
  const lines = { x: [...x], y: pick(curve.y), low: pick(curve.low), high: pick(curve.high) };
  if (x.every((value, index) => index === 0 || value >= x[index - 1])) return lines;
  const order = x.map((_, index) => index).sort((a, b) => x[a] - x[b]);
  for (const key of Object.keys(lines)) if (lines[key]) lines[key] = order.map((index) => lines[key][index]);
  return lines;
}
