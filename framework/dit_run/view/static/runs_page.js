// The list of all runs: sorted, filtered, grouped, and live.

import { ago, duration, foreign, h, number, pill, progressBar, stepsText, toggle } from "./dom.js";
import { repeat, source } from "./source.js";
import { store, stored, t } from "./words.js";

const COLUMNS = [
  ["name", (run) => run.name.toLowerCase()],
  ["state", (run) => run.state],
  ["progress", (run) => (run.total_steps ? run.step / run.total_steps : 0)],
  ["time_left", (run) => run.seconds_left ?? Infinity],
  ["best_loss", (run) => run.best_loss ?? run.latest["validation/loss"] ?? Infinity],
  ["scores", (run) => -(Object.values(run.scores)[0] ?? -Infinity)],
  ["updated", (run) => -run.updated],
];
const STATES = ["running", "interrupted", "killed", "finished", "failed"];

export function runsPage() {
  const state = { words: "", only: "", sort: stored("sort") ?? "updated", back: stored("back") === "1", group: stored("group") === "1", chosen: new Set(), rows: new Map() };
  let answer = { runs: [], folders: [] };
  const body = h("div.table-body", { role: "rowgroup" }), message = h("p.empty", { role: "status" });
  const compare = h("a.button.primary", { href: "#/" }, t("compare"));
  const filter = h("input", { type: "search", placeholder: t("filter"), "aria-label": t("filter"), oninput: () => { state.words = filter.value.toLowerCase(); show(); } });
  const only = h("select", { "aria-label": t("state"), onchange: () => { state.only = only.value; show(); } },
    h("option", { value: "" }, t("all_states")), STATES.map((name) => h("option", { value: name }, t(name))));
  const heads = COLUMNS.map(([name]) => {
    const button = h("button.quiet", { type: "button", "aria-label": t("sort", { name: t(name) }), onclick: () => sortBy(name) }, t(name));
    return h(`div.${name}`, { role: "columnheader" }, button);
  });
  const table = h("div.table", { role: "table", "aria-label": t("runs") },
    h("div.table-head", { role: "rowgroup" }, h("div.row", { role: "row" }, h("div.pick", { role: "columnheader" }, h("span.hidden", {}, t("compare"))), h("div.thumb", { role: "columnheader" }, h("span.hidden", {}, t("samples"))), heads)), body);
  const view = h("div.runs", {}, h("h1.hidden", {}, t("runs")),
    h("div.toolbar", {}, filter, only, toggle(t("group"), state.group, (on) => { state.group = on; store("group", on ? "1" : "0"); show(); }), h("span.fill"), compare), table, message);

  function sortBy(name) {
    state.back = state.sort === name && !state.back;
    state.sort = name;
    store("sort", name);
    store("back", state.back ? "1" : "0");
    show();
  }

  function choose(run, on) {
    if (on) state.chosen.add(run.id); else state.chosen.delete(run.id);
    showCompare();
  }

  function showCompare() {
    const enough = state.chosen.size > 1;
    compare.href = enough ? `#/compare/${[...state.chosen].join(",")}` : "#/";
    compare.setAttribute("aria-disabled", String(!enough));
    compare.title = enough ? "" : t("compare_hint");
    compare.textContent = state.chosen.size ? `${t("compare")} (${state.chosen.size})` : t("compare");
  }

  function matching() {
    const fits = (run) => (!state.only || run.state === state.only) && `${run.name} ${run.dataset} ${run.model} ${run.device} ${run.reason}`.toLowerCase().includes(state.words);
    const value = COLUMNS.find(([name]) => name === state.sort)?.[1] ?? COLUMNS.at(-1)[1], sign = state.back ? -1 : 1;
    const order = (a, b) => { const [x, y] = [value(a), value(b)]; return x === y ? a.name.localeCompare(b.name) : sign * (x < y ? -1 : 1); };
    return answer.runs.filter(fits).sort(order);
  }

  // A row is kept while its run does not change, so that focus and images stay.
  function rowOf(run) {
    const content = JSON.stringify(run), known = state.rows.get(run.id);
    if (known?.content === content) { known.time.textContent = ago(run.updated); return known.element; }
    const made = { content, ...runRow(run, state.chosen.has(run.id), (on) => choose(run, on)) };
    if (known?.element.contains(document.activeElement)) {
      const place = [...known.element.querySelectorAll("a, input")].indexOf(document.activeElement);
      requestAnimationFrame(() => made.element.querySelectorAll("a, input")[place]?.focus());
    }
    state.rows.set(run.id, made);
    return made.element;
  }

  function show() {
    const runs = matching();
    heads.forEach((head, index) => head.setAttribute("aria-sort", COLUMNS[index][0] !== state.sort ? "none" : state.back ? "descending" : "ascending"));
    const wanted = [];
    const folders = state.group ? [...new Set(runs.map((run) => run.folder))] : [null];
    for (const folder of folders) {
      if (folder !== null) wanted.push(h("div.row.group", { role: "row" }, h("div", { role: "cell" }, foreign(folder))));
      wanted.push(...runs.filter((run) => folder === null || run.folder === folder).map(rowOf));
    }
    const same = wanted.length === body.children.length && wanted.every((element, index) => body.children[index] === element);
    if (!same) body.replaceChildren(...wanted);
    message.replaceChildren(...(runs.length ? [] : answer.runs.length ? [t("no_match")] : [`${t("empty_runs")} `, foreign(answer.folders.join(", "))]));
    table.hidden = !runs.length;
    showCompare();
  }

  async function load() {
    answer = await source.runs();
    show();
  }
  view.ready = load();
  repeat(view, () => (answer.runs.some((run) => run.state === "running") ? 5 : 10), load);
  return view;
}

function shortened(text) { return text.length > 220 ? `${text.slice(0, 220)}…` : text; }

function runRow(run, chosen, onchoose) {
  const address = `#/run/${run.id}`;
  const picture = run.samples_step === null ? null : source.thumbnail(run.id, run.samples_step);
  const thumb = picture ? h("a", { href: address, tabindex: "-1", "aria-hidden": "true" }, h("img", { src: picture, alt: "", loading: "lazy" })) : h("span.blank");
  const time = h("time", {}, ago(run.updated));
  const scores = Object.entries(run.scores).slice(0, 2).map(([name, value]) => h("div.score", { title: name }, h("span.muted", {}, foreign(name.split("/").slice(1).join("/").replaceAll("_", " "))), ` ${number(value)}`));
  const cell = (name, ...content) => h(`div.${name}`, { role: "cell", "data-label": t(name) }, content);
  const element = h(`div.row.${run.state}`, { role: "row" },
    h("div.pick", { role: "cell" }, h("input", { type: "checkbox", checked: chosen, "aria-label": `${t("compare")}: ${run.name}`, onchange: (event) => onchoose(event.target.checked) })),
    h("div.thumb", { role: "cell" }, thumb),
    cell("name", h("a.run-name", { href: address }, foreign(run.name)), h("div.muted.small", {}, foreign([run.dataset, run.model, run.device].filter(Boolean).join(" · "))), run.reason ? h("p.reason", {}, foreign(shortened(run.reason))) : null),
    cell("state", pill(run.state)),
    cell("progress", progressBar(run), h("span.small", {}, stepsText(run))),
    cell("time_left", duration(run.seconds_left)),
    cell("best_loss", number(run.best_loss ?? run.latest["validation/loss"]), run.best_step ? h("div.muted.small", {}, `${t("step")} ${number(run.best_step)}`) : null),
    cell("scores", scores.length ? scores : "–"),
    cell("updated", time));
  return { element, time };
}
