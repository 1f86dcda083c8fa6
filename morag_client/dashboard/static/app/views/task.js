// One task: its steps in time, and every event with what its handlers made of it.
import { html, useState } from "../lib.js";
import { get } from "../api.js";
import { duration, plural, stepName, visible } from "../format.js";
import { useLive } from "../live.js";
import { Badge, Copy, Moment, Nothing, Title, Trouble, useMayAct } from "../ui.js";
import { StepBar } from "../bar.js";
import { useConfirm } from "../confirm.js";
import { Payload, Runs, replayOf } from "./event.js";

export function Task({ id }) {
  const { data, error, reload } = useLive(() => get(`tasks/${encodeURIComponent(id)}`), [id]);
  if (!data) return html`<${Title} name="Task" /><${Trouble} error=${error} />`;
  const { task, events } = data;
  const name = task.task_id ?? task.correlation.ref ?? "Task without an id";
  return html`
    <div class="head top"><${Title} name=${visible(name)}><span class="kicker">Task</span><span class="id whole">${visible(name)}</span><//>
      <${Badge} state=${task.state} /><${TaskActions} events=${events} done=${reload} /></div>
    <${Trouble} error=${error} />
    <section class="card">
      <div class="way big"><${StepBar} task=${task} pipeline=${task.state === "running" ? guess(task) : []} />
        <span class="percent">${Math.round(task.progress)} %</span></div>
      ${task.error && html`<p class="trouble"><span aria-hidden="true">✕</span> ${visible(task.error)} ${task.error_code && html`<code>${visible(task.error_code)}</code>`}</p>`}
      ${task.message && html`<p>${visible(task.message)}</p>`}
      <${Facts} task=${task} />
    </section>
    <${Timeline} task=${task} />
    <section class="card" aria-labelledby="events"><div class="head"><h2 id="events">Events</h2>
        <span class="muted">${plural(events.length, "event")}${data.is_complete ? "" : ", the first ones only"}</span></div>
      <ol class="events">${events.map((event) => html`<${EventItem} key=${event.id} event=${event} last=${events} done=${reload} />`)}</ol>
    </section>`;
}

const guess = (task) => task.steps.map((step) => step.name);

function TaskActions({ events, done }) {
  const mayAct = useMayAct();
  const ask = useConfirm();
  if (!mayAct) return null;
  const replay = replayOf(events, { title: "Replay this task?", done });
  return html`<div class="buttons">
    ${events.length > 0 && html`<button type="button" onClick=${() => ask(replay)}>Replay</button>`}
  </div>`;
}

function Facts({ task }) {
  const facts = [
    ["Document", task.document_id && html`<span class="id">${visible(task.document_id)}</span> <${Copy} text=${task.document_id} />`],
    ["Tenant", task.tenant && visible(task.tenant)],
    ["Began", task.started_at && html`<${Moment} at=${task.started_at} />`],
    ["Ended", task.finished_at && html`<${Moment} at=${task.finished_at} />`],
    ["Took", task.seconds !== null && duration(task.seconds)],
    ["Last event", task.updated_at && html`<${Moment} at=${task.updated_at} />`],
    ["Stage", task.stage && stepName(task.stage)],
    ["Late events", task.late ? html`<${Badge} state="late">${task.late}<//>` : null],
  ].filter(([, value]) => value);
  const ids = Object.entries(task.correlation);
  return html`<dl class="facts">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}
    ${ids.length > 0 && html`<div class="across"><dt>Correlation</dt><dd class="ids">${ids.map(([key, value]) =>
      html`<span class="pair" key=${key}><span class="muted">${visible(key)}</span> <span class="id">${visible(value)}</span></span>`)}</dd></div>`}
  </dl>`;
}

function Timeline({ task }) {
  const times = task.steps.flatMap((step) => [step.started_at, step.finished_at]).filter(Boolean).map(Date.parse);
  if (task.steps.length === 0) return null;
  const now = task.state === "running" && task.updated_at ? Date.parse(task.updated_at) : -Infinity;
  const first = Math.min(...times);
  const last = Math.max(...times, Math.min(now, Math.max(...times) + 60000));
  const reach = Math.max(last - first, 1);
  const at = (moment) => ((Date.parse(moment) - first) / reach) * 100;
  return html`<section class="card" aria-labelledby="timeline"><div class="head"><h2 id="timeline">Steps</h2>
      <span class="muted">${duration((Math.max(...times) - first) / 1000)} from first to last</span></div>
    <ol class="timeline">${task.steps.map((step) => {
      const from = step.started_at ? at(step.started_at) : step.finished_at ? at(step.finished_at) : 0;
      const to = step.finished_at ? at(step.finished_at) : step.status === "started" ? 100 : from;
      return html`<li key=${step.name}>
        <span class="step">${stepName(step.name)}</span>
        <span class="track"><i class=${step.status} style=${{ left: `${Math.min(from, 99)}%`, width: `${Math.max(0.8, to - from)}%` }}></i></span>
        <span class="took">${step.status === "started" ? "running" : duration(step.seconds)}</span>
        <${Badge} state=${step.status}>${step.status === "started" ? "running" : step.status}<//>
      </li>`;
    })}</ol>
  </section>`;
}

function EventItem({ event, done }) {
  const [open, setOpen] = useState(false);
  const label = `event-${event.id}`;
  const worst = event.runs.find((run) => ["failed", "died", "orphaned", "stuck", "retrying"].includes(run.state));
  return html`<li class="event">
    <button type="button" class="summary" aria-expanded=${open ? "true" : "false"} aria-controls=${label} onClick=${() => setOpen(!open)}>
      <span class="sequence" title="its number within the task">${event.sequence ?? "–"}</span>
      <span class="name id clip">${visible(event.name)}</span>
      <span class="marks">
        ${event.is_late && html`<${Badge} state="late">late<//>`}
        ${event.belongs_to !== null && html`<span class="badge wait" title="Another event told the same before">superseded</span>`}
        ${event.source !== "webhook" && html`<span class="badge wait">${visible(event.source)}</span>`}
        ${event.runs.length === 0 && event.state === "handled" ? html`<span class="muted">no handler</span>` : html`<${Badge} state=${worst?.state ?? event.state} />`}
      </span>
      <span class="muted when"><${Moment} at=${event.received_at} /></span>
    </button>
    ${event.error_message && !open && html`<p class="bad-text clip">${visible(event.error_message)}</p>`}
    ${open && html`<div id=${label} class="details"><${EventDetails} event=${event} done=${done} /></div>`}
  </li>`;
}

function EventDetails({ event, done }) {
  const { data, error } = useLive(() => get(`events/${event.id}`), [event.id], { every: null, onPoke: false });
  return html`<${Runs} event=${event} done=${done} /><${Trouble} error=${error} />
    ${data ? html`<${Payload} payload=${data.payload} event=${event} />` : !error && html`<${Nothing}>Looking …<//>`}`;
}
