// What happened in a run, and what it was made with.

import { bytes, duration, foreign, h, moment, number } from "./dom.js";
import { source } from "./source.js";
import { t } from "./words.js";

const NAMES = { best: "best_saved" };

export function eventsView(run) {
  const rows = run.events.toReversed().map((event) => h(`li.event.${event.kind}`, {},
    h("span.event-time", {}, event.time ? moment(event.time) : "–"),
    h("strong", {}, t(NAMES[event.kind] ?? event.kind)),
    event.step ? h("span.event-step", {}, `${t("step")} ${number(event.step)}`) : null,
    event.text ? h("p", {}, foreign(event.text)) : null));
  return rows.length ? h("ol.events", {}, rows) : h("p.empty", {}, t("none"));
}

// A command to copy into a shell, in which the names of files mean nothing else.
export function command(...words) {
  return h("code.command", {}, foreign(words.map(quoted).join(" ")));
}

function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

export function aboutView(run) {
  const { provenance } = run, machine = provenance.machine ?? {}, git = provenance.git ?? {};
  const facts = [
    [t("folder"), run.path], [t("device"), run.device], ["", machine.platform],
    ["git", git.commit && `${git.commit.slice?.(0, 12)} ${git.branch ?? ""}${git.changed ? " +" : ""}`],
    [t("versions"), Object.entries(provenance.versions ?? {}).map(([name, version]) => `${name} ${version}`).join(", ")],
  ];
  return h("div.about", {},
    section(t("about"), h("dl.facts", {}, facts.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, foreign(value)))))),
    section(t("plan"), planView(run)),
    section(t("check"), run.check && source.check(run.id)
      ? h("img.whole", { src: source.check(run.id), alt: t("check"), loading: "lazy" })
      : h("p.empty", {}, `${t("check_none")} `, command("dit-run", "check", `${run.path}/config.yaml`, "--output", `${run.path}/check.png`))));
}

function section(title, content) {
  return h("section", { "aria-label": title }, h("h3", {}, title), content);
}

function planView(run) {
  const { plan } = run;
  const note = Object.keys(plan).length ? null : h("p.empty", {}, `${t("plan_none")} `, command("dit-run", "plan", `${run.path}/config.yaml`, "--output", `${run.path}/plan.json`));
  const rows = [
    [t("step_seconds"), number(plan.step_seconds, 3), number(run.seconds_per_step, 3)],
    [t("total_time"), duration(plan.total_seconds), run.state === "finished" && !run.events.some((event) => event.kind === "continued") ? duration(run.updated - run.started) : "–"],
    [t("checkpoint_size"), bytes(plan.checkpoint_bytes), bytes(run.checkpoint_bytes ?? NaN)],
    [t("peak_memory"), bytes(plan.peak_bytes), bytes(1e9 * (run.latest.memory_gb ?? NaN))],
  ];
  return h("div", {}, note, h("table.plan", {}, h("thead", {}, h("tr", {}, h("td"), h("th", { scope: "col" }, t("predicted")), h("th", { scope: "col" }, t("measured")))),
    h("tbody", {}, rows.map(([name, before, after]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, before), h("td", {}, after))))));
}
