// Charts as files: PNG with the title and the labels of the lines, and CSV.

import { h, save } from "./dom.js";

export function savePng(title, chart, lines) {
  const ratio = devicePixelRatio, room = 34 * ratio, row = 20 * ratio, labels = labelPlaces(lines, chart.width, ratio);
  const sheet = h("canvas", { width: chart.width, height: chart.height + 2 * room + row * (labels.at(-1)?.row ?? 0) });
  const look = getComputedStyle(document.documentElement), pen = sheet.getContext("2d");
  pen.fillStyle = look.getPropertyValue("--card").trim();
  pen.fillRect(0, 0, sheet.width, sheet.height);
  pen.drawImage(chart, 0, room);
  pen.font = `600 ${14 * ratio}px system-ui, sans-serif`;
  pen.fillStyle = look.getPropertyValue("--text").trim();
  pen.fillText(title, 12 * ratio, 22 * ratio);
  pen.font = labelFont(ratio);
  for (const label of labels) {
    pen.fillStyle = label.line.color;
    pen.fillText(label.line.label, label.left, room + chart.height + 22 * ratio + row * label.row);
  }
  sheet.toBlob((blob) => save(`${title}.png`, blob));
}

// Where the label of each line is written under the chart, in rows of its width.
function labelPlaces(lines, width, ratio) {
  const pen = h("canvas").getContext("2d"), start = 12 * ratio;
  pen.font = labelFont(ratio);
  let left = start, row = 0;
  return lines.map((line) => {
    const length = pen.measureText(line.label).width;
    if (left > start && left + length > width) [left, row] = [start, row + 1];
    const place = { line, left, row };
    left += length + 16 * ratio;
    return place;
  });
}

function labelFont(ratio) { return `${12 * ratio}px system-ui, sans-serif`; }

export function saveCsv(title, axis, lines) {
  const rows = lines.flatMap((line) => line.x.map((x, index) => [line.label, x, line.y[index] ?? "", line.low?.[index] ?? "", line.high?.[index] ?? ""]));
  const text = [["name", axis, "value", "low", "high"], ...rows].map((row) => row.map(csvCell).join(",")).join("\n");
  save(`${title}.csv`, `${text}\n`);
}

function csvCell(value) {
  const text = String(value);
  if (typeof value === "number") return text;
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
