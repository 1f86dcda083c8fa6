// Who did what to what is stored.
import { html } from "../lib.js";
import { get } from "../api.js";
import { number, visible } from "../format.js";
import { useLive } from "../live.js";
import { Moment, Table, Title, Trouble } from "../ui.js";

export function Audit() {
  const { data, error } = useLive(() => get("audit", { limit: 100 }), [], { every: 5000 });
  return html`<${Title} name="Audit" /><${Trouble} error=${error} />
    ${data && html`<section class="card"><${Table} caption="Audit" rows=${data.entries} id=${(entry) => entry.id} empty="Nobody has changed anything." columns=${[
      { label: "When", cell: (entry) => html`<${Moment} at=${entry.at} />` },
      { label: "Who", cell: (entry) => visible(entry.who) },
      { label: "What", cell: (entry) => visible(entry.action) },
      { label: "Of which", class: "wide", cell: (entry) => html`<code class="lines">${visible(JSON.stringify(entry.criteria))}</code>` },
      { label: "Affected", class: "number", cell: (entry) => number(entry.affected) },
      { label: "Why", cell: (entry) => html`<span class="lines">${visible(entry.why ?? "–")}</span>` },
    ]} /></section>`}`;
}
