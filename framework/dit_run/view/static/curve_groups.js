// Which values share a chart, and how each is called there.

import { t } from "./words.js";

const ORDER = ["loss", "validation", "scores", "timesteps", "gradient_norm", "learning_rate", "images_per_second", "tokens_per_second", "share_of_peak", "profile", "memory", "loss_parts", "validation_parts", "probe_timesteps", "other"];
const WITH_ERRORS = /^(validation|probe)\/loss(_ema)?$/;
const SINGLE = { loss: "loss", grad_norm: "gradient_norm", learning_rate: "learning_rate", images_per_second: "images_per_second", tokens_per_second: "tokens_per_second", share_of_peak: "share_of_peak" };

// Returns [group, label], or null for a value that has no line of its own.
export function placed(name) {
  if (SINGLE[name]) return [SINGLE[name], t(SINGLE[name])];
  if (name === "epoch" || name.includes("standard_error")) return null;
  const [first, ...rest] = name.split("/");
  const second = rest.join("/");
  if (first === "validation" || first === "probe") return placedLoss(first, second);
  if (first === "loss" || first === "share") return ["loss_parts", name];
  if (first === "profile") return ["profile", second];
  if (name === "memory_gb") return ["memory", `${t("peak_memory")} (GB)`];
  return rest.length ? [`scores:${first}`, second.replaceAll("_", " ")] : ["other", name];
}

function placedLoss(first, second) {
  const side = first === "validation" ? t("held_out") : t("training_set");
  const part = /^loss(_ema)?_part_(\d+)$/.exec(second);
  const weights = (ema) => (ema ? `, ${t("averaged")}` : "");
  if (part) return [first === "validation" ? "timesteps" : "probe_timesteps", `${part[2]}${part[2] === "0" ? ` (${t("least_noise")})` : ""}${weights(part[1])}`];
  if (second === "loss" || second === "loss_ema") return ["validation", `${side}${weights(second === "loss_ema")}`];
  return ["validation_parts", `${side} ${second}`];
}

export function groupTitle(group) {
  const [kind, name] = group.split(":");
  return name ? `${t(kind)}: ${name}` : t(kind);
}

export function sortedGroups(groups) {
  const rank = (group) => ORDER.indexOf(group.split(":")[0]);
  return [...groups].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

// The name of the standard error of a loss, or of a score: "shapes/above_chance/standard_error".
function errorName(name) {
  return WITH_ERRORS.test(name) ? name.replace("/loss", "/standard_error") : name.replace(/(_train)?$/, "/standard_error$1");
}

// The band of standard errors of a loss or a score, which are logged at the same steps.
export function withErrors(name, series) {
  const curve = series[name], errors = series[errorName(name)];
  if (!errors || errors.x.length !== curve.x.length || curve.low) return curve;
  const edge = (sign) => curve.y.map((value, index) => (value === null || errors.y[index] === null ? null : value + sign * errors.y[index]));
  return { ...curve, low: edge(-1), high: edge(1) };
}
