// Tasks, by state, document, or whatever one knows of them.
import { html, useEffect, useState } from "../lib.js";
import { get } from "../api.js";
import { ago, number, visible } from "../format.js";
import { Link, go } from "../router.js";
import { useLive } from "../live.js";
import { Badge, Choice, Table, Title, Trouble } from "../ui.js";
import { StepBar } from "../bar.js";
import { TaskLink } from "./overview.js";

const STATES = [["", "All"], ["open", "In flight"], ["stalled", "Stalled"], ["completed", "Completed"], ["failed", "Failed"],
  ["cancelled", "Cancelled"], ["lost", "Lost"]];

export function Tasks({ params }) {
  const { q = "", state = "", document: documentId = "", before = "" } = params;
  const { data, error } = useLive(() => get("tasks", { q, state, document: documentId, before }), [q, state, documentId, before],
    { every: before || q ? 10000 : 2500 });
  const pipeline = usePipeline();
  return html`
    <${Title} name=${q ? "Found tasks" : "Tasks"} />
    ${q
      ? html`<p class="muted">For <b class="id">${visible(q)}</b>: ids of any age, and parts of ids and correlations among the
          newest ${number(data?.window ?? 20000)} tasks. <${Link} to="/tasks">All tasks<//></p>`
      : html`<div class="filters">
          <${Choice} label="State" options=${STATES} value=${state} onChange=${(key) => go("/tasks", { ...params, state: key, before: "" }, { replace: true })} />
          <${DocumentFilter} value=${documentId} onChange=${(value) => go("/tasks", { ...params, document: value, before: "" }, { replace: true })} />
        </div>`}
    <${Trouble} error=${error} />
    ${data && html`<section class="card"><${TaskTable} tasks=${data.tasks} pipeline=${pipeline} empty=${q ? "Nothing is known by that." : "There are none."} /></section>
      <div class="pages">
        ${before && html`<${Link} to="/tasks" params=${{ ...params, before: "" }}>Newest<//>`}
        ${data.next && html`<${Link} to="/tasks" params=${{ ...params, before: String(data.next) }}>Older<//>`}
      </div>`}`;
}

function usePipeline() {
  const { data } = useLive(() => get("steps"), [], { every: null, onPoke: false });
  return (data?.steps ?? []).map((step) => step.name);
}

function DocumentFilter({ value, onChange }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const submit = (event) => {
    event.preventDefault();
    onChange(text.trim());
  };
  return html`<form class="inline" onSubmit=${submit}>
    <label>Document <input type="search" value=${text} onInput=${(event) => setText(event.target.value)} placeholder="whole id" /></label>
    <button type="submit" class="small">Filter</button>
  </form>`;
}

function TaskTable({ tasks, pipeline, empty }) {
  return html`<${Table} caption="Tasks" rows=${tasks} id=${(task) => task.key} empty=${empty} columns=${[
    { label: "Task", cell: (task) => html`<${TaskLink} task=${task} />` },
    { label: "Document", cell: (task) => html`<span class="clip">${visible(task.document_id ?? "–")}</span>` },
    { label: "Steps", class: "wide", cell: (task) => html`<${StepBar} task=${task} pipeline=${pipeline} />` },
    { label: "Progress", class: "number", cell: (task) => `${Math.round(task.progress)} %` },
    { label: "State", cell: (task) => html`<${Badge} state=${task.state} />${task.tenant && html` <span class="muted">${visible(task.tenant)}</span>`}` },
    { label: "Last event", class: "number", cell: (task) => html`<span title=${task.updated_at}>${ago(task.updated_at)} ago</span>` },
  ]} />`;
}
