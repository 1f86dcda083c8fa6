// Light, dark, or as the system has it.
import { html, useState } from "./lib.js";

const NEXT = { auto: "light", light: "dark", dark: "auto" };
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };

export function ThemeSwitch() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme ?? "auto");
  const change = () => {
    const next = NEXT[theme];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("morag-theme", next);
    } catch {
      // Then it holds for this page.
    }
    setTheme(next);
    dispatchEvent(new Event("morag-theme"));
  };
  return html`<button type="button" class="plain" onClick=${change} aria-label=${`Colours: ${theme}. Change to ${NEXT[theme]}`}
    title=${`Colours: ${theme}`}><span aria-hidden="true">${SIGNS[theme]}</span></button>`;
}
