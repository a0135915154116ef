// The config of a run with origins and documentation, and the differences of several configs.

import { foreign, h, toggle } from "./dom.js";
import { source } from "./source.js";
import { t } from "./words.js";

export function valueText(value) {
  return value === undefined ? "–" : typeof value === "string" ? value : JSON.stringify(value);
}

function originText(entry) {
  if (entry.origin === "default") return t("default");
  return entry.origin === "config" ? t("from_config") : entry.origin;
}

export function configView(run) {
  const table = h("div.config", {}, h("p.note", {}, "…")), state = { words: "", changed: false };
  let entries = [];
  const shown = (entry) => (!state.changed || entry.changed) && `${entry.key} ${valueText(entry.value)} ${entry.text}`.toLowerCase().includes(state.words);
  const show = () => table.replaceChildren(...sections(entries.filter(shown)));
  const filter = h("input", { type: "search", placeholder: t("filter_keys"), "aria-label": t("filter_keys"), oninput: () => { state.words = filter.value.toLowerCase(); show(); } });
  const view = h("div", {}, h("div.toolbar", {}, filter, toggle(t("only_changed"), false, (on) => { state.changed = on; show(); })), table);
  view.ready = source.config(run.id).then((found) => { entries = found; show(); });
  return view;
}

function sections(entries) {
  return [...grouped(entries)].map(([name, members]) => h("section", { "aria-label": name }, h("h3", {}, foreign(name)), h("dl", {}, members.map((entry) => row(entry, name)))));
}

function grouped(entries) {
  const groups = new Map();
  for (const entry of entries) {
    const section = entry.key.split(/[.[]/)[0];
    groups.set(section, [...(groups.get(section) ?? []), entry]);
  }
  return groups;
}

// The documentation is shown while the row is pointed at or its key has the focus.
function row(entry, section) {
  const short = entry.key.startsWith(`${section}.`) ? entry.key.slice(section.length + 1) : entry.key;
  const text = [entry.text, entry.expected, entry.default !== null ? `${t("default_is")}: ${valueText(entry.default)}` : ""].filter(Boolean);
  const id = `doc-${entry.key}`;
  const help = text.length ? h("div.doc", { role: "tooltip", id }, text.map((part) => h("p", {}, part))) : null;
  return h(entry.changed ? "div.entry.changed" : "div.entry", {},
    h("dt", {}, h("button.key", { type: "button", "aria-describedby": help ? id : null }, foreign(short))),
    h("dd", {}, h("code", {}, foreign(valueText(entry.value))), h("span.origin", {}, foreign(originText(entry))), help));
}

export function differencesView(runs) {
  const view = h("div", {}, h("p.note", {}, "…"));
  view.ready = source.differences(runs.map((run) => run.id)).then((entries) => {
    if (!entries.length) { view.replaceChildren(h("p.empty", {}, t("differs_none"))); return; }
    const head = h("tr", {}, h("th", { scope: "col" }, t("key")), runs.map((run) => h("th", { scope: "col" }, foreign(run.name))));
    const rows = entries.map((entry) => h(entry.operational ? "tr.unimportant" : "tr", { title: entry.text },
      h("th", { scope: "row" }, foreign(entry.key), entry.operational ? h("small", {}, t("does_not_matter")) : null),
      entry.values.map((value, index) => h("td", {}, h("code", {}, entry.missing[index] ? t("none") : foreign(valueText(value)))))));
    view.replaceChildren(h("div.scroll", { tabindex: "0", role: "region", "aria-label": t("config_differences") }, h("table.differences", {}, h("thead", {}, head), h("tbody", {}, rows))));
  });
  return view;
}
