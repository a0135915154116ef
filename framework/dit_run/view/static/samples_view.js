// Samples through time: one prompt over all steps, all prompts at one step, or two steps side by side.

import { announce, choice, foreign, h, number } from "./dom.js";
import { isReport, source } from "./source.js";
import { t } from "./words.js";

export function sampleImage(run, step, index, prompt) {
  const image = h("img.sample", { alt: `${prompt}, ${t("step")} ${step}`, decoding: "async" });
  image.addEventListener("load", () => image.classList.toggle("pixels", image.naturalWidth <= 160));
  setImage(image, run, step, index);
  return image;
}

function setImage(image, run, step, index) {
  const address = index >= 0 ? source.cell(run.id, step, index) : null;
  image.classList.toggle("absent", !address);
  if (address) image.src = address;
}

// A slider over the steps, with buttons, arrow keys and, where asked for, a player. It begins at a step, or at the last one.
export function stepSlider(steps, label, onchange, { player = false, step = null } = {}) {
  const first = steps.includes(step) ? steps.indexOf(step) : steps.length - 1;
  let timer = null;
  const slider = h("input", { type: "range", min: "0", max: String(steps.length - 1), step: "1", value: String(first), "aria-label": label, oninput: () => moved() });
  const shown = h("output", {}, "");
  const play = h("button", { type: "button", onclick: () => (timer ? stop() : start()) }, t("play"));

  function moved() {
    const step = steps[Number(slider.value)];
    shown.textContent = `${t("step")} ${number(step)}`;
    slider.setAttribute("aria-valuetext", shown.textContent);
    onchange(step, Number(slider.value));
  }
  function move(by) {
    slider.value = String(Math.min(steps.length - 1, Math.max(0, Number(slider.value) + by)));
    moved();
  }
  function start() {
    if (Number(slider.value) === steps.length - 1) slider.value = "0";
    moved();
    play.textContent = t("pause");
    timer = setInterval(() => (slider.isConnected && Number(slider.value) < steps.length - 1 ? move(1) : stop()), 350);
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = t("play");
  }
  const button = (text, name, by) => h("button", { type: "button", "aria-label": name, onclick: () => move(by) }, text);
  const element = h("div.stepper", {}, button("‹", t("previous"), -1), slider, button("›", t("next"), 1), shown, player && steps.length > 1 ? play : null);
  return { element, move, moved, slider };
}

// memory.samples: the mode, the prompt and the step that are looked at; no step is the newest one.
export function samplesView(run, memory) {
  const { prompts, grids } = run.samples;
  if (!grids.length) return h("p.empty", {}, t("empty_samples"));
  if (!prompts.length) return wholeGrids(run);
  const place = h("div"), state = memory.samples ??= { mode: "time", prompt: 0, step: null, pair: {} };
  const modes = [["time", t("through_time")], ["all", t("all_prompts")], ["pair", t("side_by_side")]];
  const makers = { time: throughTime, all: allPrompts, pair: sideBySide };
  const show = () => place.replaceChildren(makers[state.mode](run, state, show));
  show();
  return h("div", {}, h("div.toolbar", {}, choice(t("samples"), modes, state.mode, (mode) => { state.mode = mode; show(); })), place);
}

function throughTime(run, state, show) {
  const { prompts, grids } = run.samples, steps = grids.map((grid) => grid.step);
  state.prompt = Math.min(state.prompt, prompts.length - 1);
  const image = sampleImage(run, steps.at(-1), grids.at(-1).cells[state.prompt], prompts[state.prompt]);
  image.classList.add("large");
  const stepper = stepSlider(steps, t("step"), (step, place) => {
    state.step = place === steps.length - 1 ? null : step;
    setImage(image, run, step, grids[place].cells[state.prompt]);
    image.alt = `${prompts[state.prompt]}, ${t("step")} ${step}`;
    for (const near of [place - 1, place + 1]) if (grids[near] && !isReport) new Image().src = source.cell(run.id, steps[near], grids[near].cells[state.prompt]);
  }, { player: true, step: state.step });
  const strip = promptStrip(run, state, show);
  const view = h("div.through-time", {}, h("div", {}, stepper.element, h("figure.stage", {}, image, h("figcaption", {}, foreign(prompts[state.prompt]))), gridLink(run, stepper, steps)), strip);
  view.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.target === stepper.slider || strip.contains(event.target)) return;
    stepper.move(by);
    event.preventDefault();
  });
  stepper.moved();
  return view;
}

function gridLink(run, stepper, steps) {
  const link = h("a.small", { download: "" }, t("grid"));
  const point = () => { const address = source.grid(run.id, steps[Number(stepper.slider.value)]); link.hidden = !address; if (address) link.href = address; };
  stepper.slider.addEventListener("input", point);
  link.addEventListener("pointerenter", point);
  link.addEventListener("focus", point);
  point();
  return link;
}

// The newest image of each prompt, to choose one; arrow keys move within the strip.
function promptStrip(run, state, show) {
  const { prompts, grids } = run.samples, newest = grids.at(-1);
  const choose = (index) => { state.prompt = index; show(); document.querySelector(`[data-prompt="${index}"]`)?.focus(); announce(prompts[index]); };
  const buttons = prompts.map((prompt, index) => h("button.prompt", {
    type: "button", "data-prompt": String(index), "aria-pressed": String(index === state.prompt), tabindex: index === state.prompt ? "0" : "-1", title: prompt, onclick: () => choose(index),
  }, sampleImage(run, newest.step, newest.cells[index], prompt)));
  const strip = h("div.strip", { role: "group", "aria-label": t("prompt") }, buttons);
  strip.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    choose((state.prompt + by + prompts.length) % prompts.length);
  });
  return strip;
}

function cellGallery(run, place) {
  const { prompts, grids } = run.samples;
  return prompts.map((prompt, index) => h("figure", {}, sampleImage(run, grids[place].step, grids[place].cells[index], prompt), h("figcaption", {}, foreign(prompt))));
}

function allPrompts(run, state) {
  const steps = run.samples.grids.map((grid) => grid.step), gallery = h("div.gallery");
  const stepper = stepSlider(steps, t("step"), (step, place) => {
    state.step = place === steps.length - 1 ? null : step;
    gallery.replaceChildren(...cellGallery(run, place));
  }, { player: true, step: state.step });
  stepper.moved();
  return h("div", {}, stepper.element, gallery);
}

function sideBySide(run, state) {
  const steps = run.samples.grids.map((grid) => grid.step);
  const column = (label, start) => {
    const gallery = h("div.gallery");
    const stepper = stepSlider(steps, label, (step, place) => {
      state.pair[label] = step;
      gallery.replaceChildren(...cellGallery(run, place));
    }, { step: state.pair[label] ?? start });
    stepper.moved();
    return h("section", { "aria-label": label }, stepper.element, gallery);
  };
  return h("div.pair", {}, column(t("first_step"), steps[0]), column(t("later_step"), steps.at(-1)));
}

function wholeGrids(run) {
  const steps = run.samples.grids.map((grid) => grid.step);
  const image = h("img.whole", { alt: "" });
  const stepper = stepSlider(steps, t("step"), (step) => { image.src = source.grid(run.id, step); image.alt = `${t("samples")}, ${t("step")} ${step}`; }, { player: true });
  stepper.moved();
  return h("div", {}, stepper.element, image);
}
