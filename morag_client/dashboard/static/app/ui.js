// The parts that every view is made of.
import { html, createContext, useContext, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";
import { exactly, time, visible } from "./format.js";

/** The visit: what one may do here. */
export const SessionContext = createContext(null);
export const useSession = () => useContext(SessionContext);
export const useMayAct = () => useSession()?.right === "act";

const ICONS = {
  completed: "✓", succeeded: "✓", handled: "✓",
  failed: "✕", died: "✕",
  running: "●", started: "●", retrying: "↻", stored: "…", pending: "…", stuck: "‖",
  cancelled: "–", discarded: "–", skipped: "–",
  lost: "?", orphaned: "?", late: "⏱", stalled: "‖",
};
const TONES = {
  completed: "ok", succeeded: "ok", handled: "quiet",
  failed: "bad", died: "bad",
  running: "run", started: "run", pending: "run", stored: "wait", retrying: "warn", stuck: "warn", stalled: "warn",
  late: "warn", lost: "warn", orphaned: "warn", cancelled: "wait", discarded: "wait", skipped: "wait",
};

/** A state, in its colour, its sign and its word. */
export function Badge({ state, children }) {
  return html`<span class=${`badge ${TONES[state] ?? "wait"}`}>
    <span aria-hidden="true">${ICONS[state] ?? "·"}</span>${children ?? visible(state)}
  </span>`;
}

/** A moment, exactly when pointed at. */
export const Moment = ({ at }) => html`<time dateTime=${at ?? ""} title=${exactly(at)}>${time(at)}</time>`;

/** The heading of a view; it has the focus when one comes there. */
export function Title({ children, name }) {
  const heading = useRef(null);
  useLayoutEffect(() => {
    document.title = `${name} · MoRAG inbox`;
  }, [name]);
  return html`<h1 ref=${heading} tabindex="-1" id="title">${children ?? name}</h1>`;
}

/** What went wrong, in place of or above what is known. */
export function Trouble({ error }) {
  if (!error) return null;
  return html`<p class="trouble" role="alert"><span aria-hidden="true">✕</span> ${visible(error.message)}</p>`;
}

/** What stands where there is nothing. */
export const Nothing = ({ children }) => html`<div class="nothing">${children}</div>`;

/** Copies a text, and says so. */
export function Copy({ text, label = "Copy" }) {
  const [said, setSaid] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setSaid("Copied");
    } catch {
      setSaid(copyBySelection(text) ? "Copied" : "Not allowed");
    }
    setTimeout(() => setSaid(""), 1500);
  };
  return html`<button type="button" class="small" onClick=${copy}><span aria-live="polite">${said || label}</span></button>`;
}

// Without TLS browsers have no clipboard for pages but this.
function copyBySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "offscreen";
  document.body.append(area);
  area.select();
  const worked = document.execCommand("copy");
  area.remove();
  return worked;
}

/** A table that becomes a list of cards where there is no room; `columns` are {label, class, cell(row)}. */
export function Table({ caption, columns, rows, id, empty }) {
  if (rows.length === 0 && empty) return html`<${Nothing}>${empty}<//>`;
  return html`<table class="rows">
    <caption class="offscreen">${caption}</caption>
    <thead><tr>${columns.map((column) => html`<th scope="col" class=${column.class ?? ""}>${column.label}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${id(row)}>
      ${columns.map((column) => html`<td class=${column.class ?? ""} data-label=${column.label}>
        <div>${column.cell(row)}</div></td>`)}
    </tr>`)}</tbody>
  </table>`;
}

/** A choice of a few, one of them chosen. */
export function Choice({ label, options, value, onChange }) {
  return html`<div class="choice" role="group" aria-label=${label}>
    ${options.map(([key, text]) => html`<button type="button" key=${key} aria-pressed=${key === value ? "true" : "false"}
      onClick=${() => onChange(key)}>${text}</button>`)}
  </div>`;
}

/** What fills the page with a question; Escape and the button close it, the focus goes back to where it was. */
export function Dialog({ title, onClose, children }) {
  const dialog = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    const shown = dialog.current;
    shown.showModal();
    return () => {
      shown.close(); // while it is open, nothing outside of it can have the focus
      before?.focus?.();
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`<dialog ref=${dialog} onCancel=${cancel} aria-labelledby="dialog-title">
    <h2 id="dialog-title">${title}</h2>${children}
  </dialog>`;
}
