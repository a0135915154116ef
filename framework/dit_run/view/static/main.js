// The frame of the page: header, language, theme, and the page that the address names.

import { comparePage } from "./compare_page.js";
import { h } from "./dom.js";
import { runPage } from "./run_page.js";
import { runsPage } from "./runs_page.js";
import { changeLanguage, currentLanguage, store, stored, t } from "./words.js";

function theme() {
  return stored("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

function pageOf(address) {
  const [kind, first, second] = address.replace(/^#\/?/, "").split("/");
  if (kind === "run" && first) return runPage(first, second);
  if (kind === "compare" && first) return comparePage(first.split(",").filter(Boolean));
  return runsPage();
}

function show() {
  document.documentElement.lang = currentLanguage();
  document.documentElement.dataset.theme = theme();
  document.title = "dit-run";
  const content = h("main", { id: "content", tabindex: "-1" });
  const other = theme() === "dark" ? "light" : "dark";
  const header = h("header.top", {},
    h("a.skip", { href: "#content", onclick: (event) => { event.preventDefault(); content.focus(); } }, t("skip")),
    h("a.brand", { href: "#/" }, h("span.mark", { "aria-hidden": "true" }), "dit-run"),
    h("span.fill"),
    h("button.quiet", { type: "button", lang: currentLanguage() === "en" ? "zh" : "en", onclick: () => { changeLanguage(); show(); } }, t("language")),
    h("button.quiet", { type: "button", "aria-label": `${t("theme")}: ${t(other)}`, onclick: () => { store("theme", other); show(); } }, t(other)));
  const page = pageOf(location.hash);
  content.append(page);
  const announcement = h("div.hidden", { id: "announcement", role: "status", "aria-live": "polite" });
  document.body.replaceChildren(header, h("p.lost-note", { role: "alert" }, t("lost")), content, announcement);
  page.ready?.catch((error) => page.replaceChildren(h("p.empty", { role: "alert" }, error.message === "not_found" ? t("not_found") : t("lost"))));
}

addEventListener("hashchange", show);
show();
