// Events, the newest first, also those that belong to no task.
import { html, useEffect, useState } from "../lib.js";
import { get } from "../api.js";
import { number, visible } from "../format.js";
import { Link, go } from "../router.js";
import { useLive } from "../live.js";
import { Badge, Choice, Moment, Table, Title, Trouble } from "../ui.js";

const STATES = [["", "All"], ["stored", "Waiting"], ["retrying", "Retrying"], ["handled", "Handled"], ["failed", "Failed"]];

export function Events({ params }) {
  const { state = "", name = "", before = "" } = params;
  const { data, error } = useLive(() => get("events", { state, name, before }), [state, name, before], { every: before ? 15000 : 2500 });
  return html`<${Title} name="Events" />
    <div class="filters">
      <${Choice} label="State" options=${STATES} value=${state} onChange=${(key) => go("/events", { ...params, state: key, before: "" }, { replace: true })} />
      <${NameFilter} value=${name} onChange=${(value) => go("/events", { ...params, name: value, before: "" }, { replace: true })} />
    </div>
    <${Trouble} error=${error} />
    ${data && html`<section class="card"><${Table} caption="Events" rows=${data.events} id=${(event) => event.id}
      empty=${data.next ? `None among the newest ${number(data.window)} looked at; go on with "Older".` : "There are none."} columns=${[
        { label: "Event", cell: (event) => html`<${Link} to=${`/events/${event.id}`} class="id clip">${visible(event.name)}<//>` },
        { label: "Task", cell: (event) => (event.task_key ? html`<${Link} to=${`/tasks/${event.task_key}`} class="id clip">${visible(event.task_id ?? "by its URL")}<//>` : html`<span class="muted">none</span>`) },
        { label: "Document", cell: (event) => html`<span class="clip">${visible(event.document_id ?? "–")}</span>` },
        { label: "State", cell: (event) => html`<${Badge} state=${event.state} />${event.is_late ? html` <${Badge} state="late">late<//>` : ""}${event.belongs_to !== null ? html` <span class="badge wait">superseded</span>` : ""}` },
        { label: "Received", class: "number", cell: (event) => html`<${Moment} at=${event.received_at} />` },
      ]} /></section>
      <div class="pages">
        ${before && html`<${Link} to="/events" params=${{ ...params, before: "" }}>Newest<//>`}
        ${data.next && html`<${Link} to="/events" params=${{ ...params, before: String(data.next) }}>Older<//>`}
      </div>`}`;
}

function NameFilter({ value, onChange }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const submit = (event) => {
    event.preventDefault();
    onChange(text.trim());
  };
  return html`<form class="inline" onSubmit=${submit}>
    <label>Name <input type="search" value=${text} onInput=${(event) => setText(event.target.value)} placeholder="*.failed" /></label>
    <button type="submit" class="small">Filter</button>
  </form>`;
}
