// Elements and numbers as text. Everything from a run is set as text, never as HTML.

import { currentLanguage, t } from "./words.js";

// h("p.note", {title: "x", onclick: f}, child, "text", ...) makes an element; null and false children are left out.
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) setAttribute(element, key, value);
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function setAttribute(element, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
  else if (key === "style") Object.assign(element.style, value);
  else if (key in element && typeof value !== "string") element[key] = value;
  else element.setAttribute(key, value === true ? "" : value);
}

// A text from a run, in a box of its own that marks of direction cannot leave.
export function foreign(text, tag = "bdi") {
  return h(tag, {}, String(text));
}

export function number(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e9) return value.toLocaleString("en-US").replaceAll(",", "\u202f");
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(digits)));
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 60) return `${Math.round(seconds)}s`;
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (days) return `${days}d${String(hours % 24).padStart(2, "0")}h`;
  if (hours) return `${hours}h${String(minutes % 60).padStart(2, "0")}m`;
  return `${minutes}m${String(Math.floor(seconds % 60)).padStart(2, "0")}s`;
}

export function bytes(count) {
  if (!Number.isFinite(count)) return "–";
  return count >= 1e9 ? `${(count / 1e9).toFixed(2)} GB` : count >= 1e6 ? `${(count / 1e6).toFixed(1)} MB` : `${Math.round(count / 1e3)} kB`;
}

export function moment(seconds) {
  if (!seconds) return "–";
  return new Date(seconds * 1000).toLocaleString(currentLanguage(), { dateStyle: "medium", timeStyle: "short" });
}

export function ago(seconds) {
  if (!seconds) return "–";
  const passed = (seconds - Date.now() / 1000);
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [unit, size] = units.find(([, length]) => Math.abs(passed) >= length) ?? units[3];
  return new Intl.RelativeTimeFormat(currentLanguage(), { numeric: "auto" }).format(Math.round(passed / size), unit);
}

export function pill(state) {
  return h(`span.pill.${state}`, {}, t(state));
}

export function progressBar(run) {
  if (!run.total_steps) return null;
  const share = Math.min(1, run.step / run.total_steps);
  const bar = h("div.bar", { role: "progressbar", "aria-label": t("progress"), "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": String(Math.round(share * 100)) });
  bar.append(h(`div.fill.${run.state}`, { style: { width: `${share * 100}%` } }));
  return bar;
}

export function stepsText(run) {
  return run.total_steps ? `${number(run.step)} ${t("of")} ${number(run.total_steps)}` : number(run.step);
}

// A group of buttons of which one is pressed.
export function choice(label, options, value, onchange) {
  const group = h("div.segments", { role: "group", "aria-label": label });
  const buttons = options.map(([name, text]) => h("button", { type: "button", "aria-pressed": String(name === value), onclick: () => {
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(options[index][0] === name)));
    onchange(name);
  } }, text));
  group.append(...buttons);
  return group;
}

export function toggle(label, checked, onchange) {
  return h("label.toggle", {}, h("input", { type: "checkbox", checked, onchange: (event) => onchange(event.target.checked) }), label);
}

export function save(name, content) {
  const blob = content instanceof Blob ? content : new Blob([content], { type: "text/plain" });
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export function announce(text) {
  const place = document.getElementById("announcement");
  if (place) place.textContent = text;
}
