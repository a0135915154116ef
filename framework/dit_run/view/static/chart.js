// One chart: lines over a common x axis, with bands, smoothing, log axes, zoom, PNG and CSV. Drawn by uPlot.

import { saveCsv, savePng } from "./chart_files.js";
import { duration, h, number } from "./dom.js";
import { isReport } from "./source.js";
import { t } from "./words.js";

const COLORS = ["#3b6fe0", "#e0772b", "#159a80", "#a156d6", "#d23f74", "#8a8a1f", "#1f93b8", "#8d6248"];

export function colorOf(index) { return COLORS[index % COLORS.length]; }

// Exponential smoothing without the pull to zero at the start; gaps stay gaps.
export function smoothed(values, weight) {
  let last = 0, count = 0;
  return values.map((value) => {
    if (value === null) return null;
    last = last * weight + value * (1 - weight);
    count += 1;
    return last / (1 - weight ** count);
  });
}

function positive(values) { return values.map((value) => (value > 0 ? value : null)); }

// lines: [{label, color, dash, x, y, low, high}], settings: {smoothing, logX, logY, axis, range}
export class Chart {
  constructor(title, { onzoom }) {
    this.title = title;
    this.onzoom = onzoom;
    this.lines = [];
    this.hidden = new Set();
    this.plot = null;
    this.canvas = h("div.plot", { role: "img" });
    this.legend = h("ul.legend");
    this.note = h("p.chart-note");
    const buttons = h("div.chart-buttons", {},
      h("button.quiet", { type: "button", onclick: () => this.savePng(), "aria-label": `${title}: ${t("png")}` }, t("png")),
      h("button.quiet", { type: "button", onclick: () => this.saveCsv(), "aria-label": `${title}: ${t("csv")}` }, t("csv")));
    this.element = h("section.chart", { "aria-label": title }, h("header", {}, h("h3", {}, title), buttons), this.canvas, this.legend, this.note);
    this.inView = false;
    this.stale = false;
    const resizing = new ResizeObserver(() => this.resize());
    const scrolling = new IntersectionObserver((entries) => this.scrolled(entries.at(-1).isIntersecting), { rootMargin: "100px" });
    this.observers = [resizing, scrolling];
    this.observers.forEach((observer) => observer.observe(this.canvas));
  }

  // Nothing is drawn where nothing changed or nobody looks; new values of the same lines keep the chart, its pointer and its
  // legend.
  show(lines, settings) {
    const look = lookOf(lines, settings), same = look === this.look;
    if (same && this.lines.every((line, index) => sameValues(line, lines[index]))) return;
    Object.assign(this, { lines, settings, look });
    if (same) this.values.forEach((value, index) => { value[0] = lines[index]; });
    else this.drawLegend();
    this.showValues(null);
    if (!this.inView && !isReport) this.stale = true; // a report may be printed
    else if (same && this.plot) this.plot.setData(this.table(this.parts()));
    else this.draw();
    this.canvas.setAttribute("aria-label", this.summary());
  }

  scrolled(inView) {
    this.inView = inView;
    if (inView && this.stale) this.draw();
  }

  get shown() { return this.lines.filter((line) => !this.hidden.has(line.label)); }

  draw() {
    const width = this.canvas.clientWidth;
    if (!width) return;
    this.stale = false;
    this.plot?.destroy();
    const parts = this.parts();
    const options = { width, height: 220, series: [{}, ...parts.series], bands: parts.bands, ...this.frame() };
    this.plot = new uPlot(options, this.table(parts), this.canvas);
  }

  table({ tables }) { return tables.length ? uPlot.join(tables) : [[]]; }

  // The series of uPlot, one table of x and y values for each, and the pairs of series that bound a band.
  parts() {
    const series = [], tables = [], bands = [];
    const { logX, logY, smoothing } = this.settings;
    const add = (line, values, style) => {
      const ys = logY ? positive(values) : values;
      tables.push([logX ? line.x.map((x) => Math.max(x, 1)) : line.x, ys]);
      series.push({ points: { show: line.x.length < 2, size: 6 }, ...style });
      return series.length;
    };
    for (const line of this.shown) {
      if (line.high) {
        const edge = { stroke: "transparent", width: 0, points: { show: false } };
        bands.push({ series: [add(line, line.high, edge), add(line, line.low, edge)], fill: `${line.color}30` });
      }
      const style = { stroke: line.color, width: 1.75, dash: line.dash };
      if (smoothing > 0 && line.x.length > 2) {
        add(line, line.y, { ...style, stroke: `${line.color}48`, width: 1 });
        add(line, smoothed(line.y, smoothing), style);
      } else add(line, line.y, style);
    }
    return { series, tables, bands };
  }

  frame() {
    const look = getComputedStyle(document.documentElement);
    const text = look.getPropertyValue("--muted").trim(), grid = { stroke: look.getPropertyValue("--line").trim(), width: 1 };
    const { axis, logX, logY, range } = this.settings;
    const asText = (value) => (axis === "time" ? duration(value) : number(value, 3));
    const axes = [
      { stroke: text, grid, ticks: grid, values: (_, values) => values.map((value) => (value === null ? "" : asText(value))), space: 64, size: 32 },
      { stroke: text, grid, ticks: grid, values: (_, values) => values.map((value) => (value === null ? "" : number(value, 3))), size: 66 },
    ];
    const scales = { x: { time: false, distr: logX ? 3 : 1 }, y: { distr: logY ? 3 : 1 } };
    if (range) scales.x.range = () => range;
    return {
      axes, scales, legend: { show: false }, padding: [8, 24, 0, 0],
      cursor: { sync: { key: "x" }, drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
      hooks: { setSelect: [(plot) => this.selected(plot)], setCursor: [(plot) => this.pointed(plot)] },
    };
  }

  selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const ends = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.onzoom(ends);
  }

  pointed(plot) {
    this.showValues(plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") : null);
  }

  // The values at an x, or the last ones, in the legend; and a note of those that are not finite.
  showValues(at) {
    this.values?.forEach(([line, place]) => { place.textContent = number(at === null ? lastOf(line.y) : nearest(line, at)); });
    const bad = this.lines.reduce((sum, line) => sum + (line.bad ?? 0), 0);
    this.note.textContent = bad ? t("nonfinite", { count: bad }) : "";
  }

  drawLegend() {
    this.values = [];
    const items = this.lines.map((line) => {
      const place = h("span.legend-value");
      this.values.push([line, place]);
      const swatch = h("span.swatch", { style: { borderTopColor: line.color, borderTopStyle: line.dash ? "dashed" : "solid" } });
      const button = h("button.quiet", { type: "button", "aria-pressed": String(!this.hidden.has(line.label)), onclick: () => this.flip(line, button) }, swatch, h("bdi", {}, line.label), place);
      return h("li", {}, button);
    });
    this.legend.replaceChildren(...items);
  }

  flip(line, button) {
    if (!this.hidden.delete(line.label)) this.hidden.add(line.label);
    button.setAttribute("aria-pressed", String(!this.hidden.has(line.label)));
    this.draw();
    this.canvas.setAttribute("aria-label", this.summary());
  }

  summary() {
    const parts = this.shown.map((line) => {
      const finite = line.y.filter((value) => value !== null);
      return finite.length ? `${line.label}: ${number(finite.at(-1))}, ${t("lowest")} ${number(finite.reduce((a, b) => Math.min(a, b)))}` : line.label;
    });
    return `${this.title}. ${parts.join("; ")}`;
  }

  resize() {
    const width = this.canvas.clientWidth;
    if (!width || !this.settings) return;
    if (this.plot) this.plot.setSize({ width, height: 220 });
    else if (this.inView) this.draw();
  }

  destroy() {
    this.observers.forEach((observer) => observer.disconnect());
    this.plot?.destroy();
  }

  savePng() {
    if (this.stale) this.draw();
    if (this.plot) savePng(this.title, this.plot.ctx.canvas, this.shown);
  }

  saveCsv() { saveCsv(this.title, this.settings.axis, this.lines); }
}

// All that decides how lines are drawn but their values.
function lookOf(lines, settings) {
  return JSON.stringify([settings, lines.map((line) => [line.label, line.color, line.dash, Boolean(line.high), Math.min(line.x.length, 3)])]);
}

function sameValues(before, after) {
  return before.bad === after.bad && ["x", "y", "low", "high"].every((name) => sameNumbers(before[name] ?? [], after[name] ?? []));
}

function sameNumbers(before, after) {
  return before.length === after.length && before.every((value, index) => value === after[index]);
}

function lastOf(values) { return values.findLast((value) => value !== null) ?? null; }

function nearest(line, at) {
  let best = null, distance = Infinity;
  for (let index = 0; index < line.x.length; index += 1) {
    const apart = Math.abs(line.x[index] - at);
    if (apart <= distance && line.y[index] !== null) [best, distance] = [line.y[index], apart];
  }
  return best;
}
