// Images from prompts with a checkpoint of the run, made by one process of the server.

import { announce, duration, foreign, h, number } from "./dom.js";
import { repeat, source } from "./source.js";
import { t } from "./words.js";

// memory.tried: what the form was filled with.
export function tryView(run, memory) {
  const view = h("div", {}, h("p.note", {}, "…"));
  view.ready = source.trySettings(run.id).then((offer) => {
    if (!offer.checkpoints.length) { view.replaceChildren(h("p.empty", {}, t("try_none"))); return; }
    build(view, run, offer, memory);
  });
  return view;
}

function build(view, run, offer, memory) {
  const list = h("div", { "aria-live": "polite" }), problem = h("p.problem", { role: "alert", hidden: true }), known = new Map();
  const field = (label, input) => h("label", {}, label, input);
  const text = (name, value, rows) => h("textarea", { name, rows: String(rows) }, value);
  const figure = (name, placeholder, step, low) => h("input", { name, type: "number", step, min: low, placeholder: String(placeholder ?? t("run_default")) });
  const newest = offer.checkpoints.at(-1);
  const label = (step) => `${t("step")} ${number(step)}${step === newest ? `, ${t("newest")}` : ""}${step === offer.best ? `, ${t("best")}` : ""}`;
  const form = h("form", { onsubmit: start },
    field(t("prompts"), text("prompts", offer.prompts.join("\n"), 5)),
    field(t("negative"), text("negative_prompt", "", 1)),
    h("div.fields", {},
      field(t("checkpoint"), h("select", { name: "checkpoint" }, offer.checkpoints.toReversed().map((step) => h("option", { value: String(step) }, label(step))))),
      field(t("weights"), h("select", { name: "averaged", disabled: !offer.averaged }, offer.averaged ? h("option", { value: "yes" }, t("averaged")) : null, h("option", { value: "no" }, t("live")))),
      field(t("sampler"), samplerChoice(offer)),
      field(t("steps"), figure("steps", offer.steps, "1", "1")),
      field(t("guidance"), h("input", { name: "guidance_scale", type: "number", step: "any", placeholder: String(offer.guidance_scale ?? t("run_default")), disabled: !offer.guided })),
      field(t("seed"), figure("seed", offer.seed, "1", "0")),
      field(t("height"), figure("height", offer.size, "1", "1")),
      field(t("width"), figure("width", offer.size, "1", "1"))),
    field(t("try_device"), h("select", { name: "device" }, h("option", { value: "" }, t("try_own")), h("option", { value: "cpu", selected: run.state === "running" }, t("try_cpu")))),
    problem, h("button.primary", { type: "submit" }, t("generate")));

  form.addEventListener("input", () => { memory.tried = [...new FormData(form)]; });
  for (const [name, value] of memory.tried ?? []) {
    const input = form.elements[name];
    if (input.tagName !== "SELECT" || [...input.options].some((option) => option.value === value)) input.value = value;
  }

  async function start(event) {
    event.preventDefault();
    problem.hidden = true;
    try {
      await source.tryStart(run.id, settingsOf(form));
      await load();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
  }

  async function load() {
    const { jobs, loaded } = await source.tryJobs();
    const own = jobs.filter((job) => job.run === run.id);
    const ahead = jobs.filter((job) => job.state === "queued" || job.state === "working").length;
    busy = ahead > 0;
    const elements = own.map((job) => shown(job, known));
    if (list.children.length !== elements.length || elements.some((element, index) => list.children[index] !== element)) list.replaceChildren(...elements);
    note.textContent = loaded || !jobs.length ? "" : t("idle");
  }
  let busy = false;
  const note = h("p.note");
  view.replaceChildren(h("div.try", {}, form, h("section", { "aria-label": t("queue") }, note, list)));
  load().catch(() => {});
  repeat(view, () => (busy ? 0.5 : 5), load);
}

function samplerChoice(offer) {
  const own = offer.sampler ?? offer.samplers[0] ?? t("run_default");
  if (!offer.samplers.length) return h("input", { name: "sampler", placeholder: own });
  return h("select", { name: "sampler" }, h("option", { value: "" }, own), offer.samplers.filter((name) => name !== own).map((name) => h("option", { value: name }, name)));
}

function settingsOf(form) {
  const value = (name) => form.elements[name].value;
  const figure = (name) => (value(name) === "" ? null : Number(value(name)));
  return {
    prompts: value("prompts").split("\n").map((line) => line.trim()).filter(Boolean), negative_prompt: value("negative_prompt"),
    checkpoint: Number(value("checkpoint")), averaged: value("averaged") === "yes", sampler: value("sampler").trim() || null,
    steps: figure("steps"), seed: figure("seed"), guidance_scale: figure("guidance_scale"), height: figure("height"), width: figure("width"),
    device: value("device") || null,
  };
}

// The element of a job is kept while the job does not change.
function shown(job, known) {
  const content = JSON.stringify(job), before = known.get(job.name);
  if (before?.content === content) return before.element;
  const element = jobView(job);
  if (before && before.state !== job.state) announce(t(job.state));
  known.set(job.name, { content, element, state: job.state });
  return element;
}

function jobView(job) {
  const active = job.state === "queued" || job.state === "working";
  const bar = h("div.bar", { role: "progressbar", "aria-label": t("progress"), "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": String(Math.round(job.progress * 100)) }, h("div.fill.running", { style: { width: `${job.progress * 100}%` } }));
  const head = h("header", {}, h("strong", {}, t(job.state)), job.seconds ? h("span.muted", {}, duration(job.seconds)) : null, h("span.fill"),
    active ? h("button", { type: "button", onclick: () => source.tryCancel(job.name).catch(() => {}) }, t("cancel")) : null);
  return h("article.job", {}, head, job.state === "working" ? bar : null, job.error ? h("p.problem", {}, foreign(job.error)) : null,
    job.notices.map((notice) => h("p.note", {}, foreign(notice))), h("p.settings", {}, foreign(settingsText(job.settings))),
    job.images ? h("div.gallery", {}, job.settings.prompts.map((prompt, index) => imageView(job, prompt, index))) : h("p", {}, foreign(job.settings.prompts.join(" · "))),
    job.images ? copyPrompts(job.settings.prompts) : null);
}

function imageView(job, prompt, index) {
  const address = source.tryImage(job.name, index);
  const image = h("img.sample", { src: address, alt: prompt, decoding: "async" });
  image.addEventListener("load", () => image.classList.toggle("pixels", image.naturalWidth <= 160));
  return h("figure", {}, image, h("figcaption", {}, foreign(prompt), " ", h("a", { href: address, download: `${job.name}-${index}.png`, "aria-label": `${t("download")}: ${prompt}` }, t("download"))));
}

function settingsText(settings) {
  const hidden = ["prompts", "averaged"];
  const parts = Object.entries(settings).filter(([name, value]) => !hidden.includes(name) && value !== null && value !== "");
  const texts = parts.map(([name, value]) => `${name} ${Array.isArray(value) ? value.join("×") : value}`);
  return [...texts, settings.averaged ? t("averaged") : t("live")].join(" · ");
}

// A JSON string is a YAML string, too.
function copyPrompts(prompts) {
  const yaml = `sampling:\n  prompts:\n${prompts.map((prompt) => `    - ${JSON.stringify(prompt)}`).join("\n")}\n`;
  const place = h("pre.command", { hidden: true, tabindex: "0" }, yaml);
  const button = h("button", { type: "button", onclick: async () => {
    place.hidden = false;
    try {
      await navigator.clipboard.writeText(yaml);
      announce(t("copied"));
      button.textContent = t("copied");
    } catch { place.focus(); }
  } }, t("use_prompt"));
  return h("div", {}, button, place);
}
