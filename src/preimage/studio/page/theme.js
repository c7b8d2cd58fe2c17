// Light or dark: as the system has it, or as the person said.

import { iconButton } from "./dom.js";
import { say } from "./feedback.js";
import { t } from "./texts.js";

const NEXT = { system: "light", light: "dark", dark: "system" };

const chosen = () => (localStorage.getItem("theme") in NEXT ? localStorage.getItem("theme") : "system");

/** Put the choice into the page. */
export function applyTheme() {
  const theme = chosen();
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  dispatchEvent(new Event("themechange"));
}

/** The button that goes through system, light and dark. */
export function themeButton() {
  const label = () => t("theme.label", { theme: t(`theme.${chosen()}`) });
  const button = iconButton("theme", label(), () => {
    localStorage.setItem("theme", NEXT[chosen()]);
    applyTheme();
    button.setAttribute("aria-label", label());
    button.title = label();
    say(label());
  });
  return button;
}
