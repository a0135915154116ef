// Images from prompts with a checkpoint of the run.

import { h } from "./dom.js";
import { t } from "./words.js";

export function tryView(run) {
  return h("p.empty", {}, t("try_none"));
}
