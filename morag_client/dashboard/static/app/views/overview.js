// How everything is doing, at a glance.
import { html } from "../lib.js";
import { get } from "../api.js";
import { ago, duration, number, plural, stepName, visible } from "../format.js";
import { Link, go } from "../router.js";
import { useConnected, useLive } from "../live.js";
import { Badge, Choice, Moment, Nothing, Table, Title, Trouble, useMayAct, useSession } from "../ui.js";
import { StepBar } from "../bar.js";
import { Chart } from "../chart.js";
import { useConfirm } from "../confirm.js";
import { FirstStep } from "./first_step.js";

const RANGES = [["15m", "15 min"], ["1h", "1 h"], ["6h", "6 h"], ["24h", "24 h"], ["7d", "7 d"]];

export function Overview({ params }) {
  const range = RANGES.some(([key]) => key === params.range) ? params.range : "1h";
  const { data, error, reload } = useLive(() => get("overview"), []);
  const activity = useLive(() => get("activity", { range }), [range], { every: 3000 });
  if (!data) return html`<${Title} name="Overview" /><${Trouble} error=${error} /><${Loading} />`;
  const isEmpty = isBlank(data);
  return html`
    <div class="head top"><${Title} name="Overview" /><${Liveness} error=${error} /><${Reconcile} done=${reload} /></div>
    <${Trouble} error=${error} />
    ${isEmpty && html`<${FirstStep} />`}
    ${!isEmpty && html`<${WithoutHandlers} waiting=${data.backlog.waiting} />`}
    <${Tiles} data=${data} />
    <${InFlight} data=${data} />
    ${!isEmpty && html`
      <div class="head"><h2 class="plain">Over time</h2>
        <${Choice} label="How far back" options=${RANGES} value=${range}
          onChange=${(key) => go("/", { ...params, range: key === "1h" ? "" : key }, { replace: true })} /></div>
      <${Charts} activity=${activity} />
      <div class="columns"><${Durations} /><${Handlers} backlog=${data.backlog} /></div>
      <${Ended} data=${data} />`}
  `;
}

/** Why nothing is seen of tasks whose events are stored: nobody here looks at them. */
function WithoutHandlers({ waiting }) {
  const { has_handlers: hasHandlers } = useSession();
  if (hasHandlers || !waiting) return null;
  return html`<section class="card" aria-labelledby="without"><h2 id="without">This receiver has no handlers</h2>
    <p>${plural(waiting, "event")} ${waiting === 1 ? "is" : "are"} stored and ${waiting === 1 ? "waits" : "wait"}. Tasks and their
      steps are shown here once${" "}<code>morag-client serve app:receiver</code>${" "}looks at them.</p></section>`;
}

const isBlank = (data) =>
  Object.values(data.tasks).every((count) => count === 0) &&
  ["waiting", "retrying", "failed", "quarantined"].every((name) => data.backlog[name] === 0);

const Loading = () => html`<div class="card loading" aria-busy="true">Looking …</div>`;

function Liveness({ error }) {
  const connected = useConnected();
  if (error) return html`<span class="liveness bad">Not up to date</span>`;
  return html`<span class="liveness" title=${connected ? "Told of each change" : "Asks every other second"}>
    <i class="pulse" aria-hidden="true"></i>Live</span>`;
}

function Reconcile({ done }) {
  const session = useSession();
  const mayAct = useMayAct();
  const ask = useConfirm();
  if (!mayAct || !session.can_reconcile) return null;
  const question = {
    title: "Reconcile now?", button: "Reconcile", action: "reconcile", body: {}, done,
    text: "MoRAG is asked what became of the tasks that have gone silent, and what never arrived is filled in.",
    told: (report) => `MoRAG was asked about ${plural(report.asked, "task")}; ${plural(Object.values(report.made).reduce((sum, count) => sum + count, 0), "event")} filled in.${report.errors?.length ? ` ${report.errors[0]}` : ""}`,
  };
  return html`<button type="button" onClick=${() => ask(question)}>Reconcile now</button>`;
}

function Tiles({ data }) {
  const { backlog, tasks } = data;
  const open = (tasks.pending ?? 0) + (tasks.running ?? 0);
  const window = tasks.completed + tasks.failed + tasks.cancelled + tasks.lost > 9000 ? "of the newest 10,000 tasks" : "";
  const wait = backlog.oldest_waiting ? `oldest ${ago(backlog.oldest_waiting)}` : "none waits";
  return html`<ul class="tiles" aria-label="Key figures">
    <${Tile} label="In flight" value=${open} to="/tasks" params=${{ state: "open" }} tone="run" />
    <${Tile} label="Completed" value=${tasks.completed} to="/tasks" params=${{ state: "completed" }} tone="ok" note=${window} />
    <${Tile} label="Failed" value=${tasks.failed} to="/tasks" params=${{ state: "failed" }} tone="bad" note=${window} />
    <${Tile} label="Stalled" value=${data.stalled} to="/tasks" params=${{ state: "stalled" }} tone="warn"
      note=${`silent for ${Math.round(data.stalled_after / 60)} min`} />
    <${Tile} label="Handler backlog" value=${backlog.waiting} to="/events" params=${{ state: "stored" }} tone="wait" note=${wait} />
    <${Tile} label="Retrying" value=${backlog.retrying} to="/events" params=${{ state: "retrying" }} tone="warn" />
    <${Tile} label="Dead letters" value=${backlog.dead_letters} to="/dead-letters" tone="bad" />
    <${Tile} label="Orphans" value=${backlog.orphaned} to="/dead-letters" params=${{ orphaned: "1" }} tone="warn" />
    <${Tile} label="Quarantine" value=${backlog.quarantined} to="/quarantine" tone="warn" />
    <${Tile} label="Duplicates" value=${data.duplicates} tone="wait" note="recognised since the start" />
  </ul>`;
}

function Tile({ label, value = 0, to, params, tone, note }) {
  const inside = html`<span class="label">${label}</span><span class="value">${number(value)}</span>
    <span class="note">${note ?? ""}</span>`;
  const look = `tile ${value ? tone : "none"}`;
  return html`<li>${to ? html`<${Link} to=${to} params=${params} class=${look}>${inside}<//>` : html`<div class=${look}>${inside}</div>`}</li>`;
}

function InFlight({ data }) {
  const open = (data.tasks.pending ?? 0) + (data.tasks.running ?? 0);
  return html`<section class="card" aria-labelledby="in-flight">
    <div class="head"><h2 id="in-flight">In flight</h2>
      ${open > data.in_flight.length && html`<${Link} to="/tasks" params=${{ state: "open" }}>all ${number(open)}<//>`}</div>
    ${data.in_flight.length === 0
      ? html`<${Nothing}>No task is under way.<//>`
      : html`<ul class="flights">${data.in_flight.map((task) => html`<${Flight} key=${task.key} task=${task} data=${data} />`)}</ul>`}
  </section>`;
}

export function Flight({ task, data }) {
  const silent = (Date.parse(data.now) - Date.parse(task.updated_at)) / 1000;
  const isStalled = (task.state === "running" || task.state === "pending") && silent > data.stalled_after;
  return html`<li class="flight" data-task=${task.task_id ?? ""}>
    <div class="who"><${TaskLink} task=${task} />
      ${task.document_id && html`<span class="muted clip" title=${visible(task.document_id)}>${visible(task.document_id)}</span>`}</div>
    <div class="way"><${StepBar} task=${task} pipeline=${data.pipeline} />
      <span class="where clip">${isStalled ? html`<${Badge} state="stalled">silent for ${duration(silent)}<//>` : where(task)}</span></div>
    <span class="percent">${Math.round(task.progress)} %</span>
    <span class="age muted" title="since the last event">${ago(task.updated_at, Date.parse(data.now))}</span>
  </li>`;
}

function where(task) {
  if (task.error) return html`<span class="bad-text">${visible(task.error)}</span>`;
  const step = task.step ? stepName(task.step) : task.stage ? stepName(task.stage) : "Accepted";
  return `${step}${task.message ? `: ${visible(task.message)}` : ""}`;
}

export const TaskLink = ({ task }) =>
  html`<${Link} to=${`/tasks/${task.key}`} class="id clip">${visible(task.task_id ?? task.correlation?.ref ?? "task without an id")}<//>`;

function Charts({ activity }) {
  const { data, error } = activity;
  if (!data) return html`<${Trouble} error=${error} /><div class="columns"><div class="card chart loading"></div><div class="card chart loading"></div></div>`;
  const moments = data.buckets.map((bucket) => bucket.since);
  const of = (name) => data.buckets.map((bucket) => bucket[name]);
  return html`<div class="columns">
    <${Chart} title="Throughput" moments=${moments} width=${data.width} unit="came" series=${[
      { label: "Events received", tone: "run", values: of("received"), area: true },
      { label: "Tasks begun", tone: "text", values: of("begun") },
    ]} />
    <${Chart} title="Failures" moments=${moments} width=${data.width} unit="failed" series=${[
      { label: "Tasks that failed", tone: "bad", values: of("failed"), area: true },
      { label: "Events whose handlers gave up", tone: "warn", values: of("given_up") },
    ]} />
  </div>`;
}

function Durations() {
  const { data, error } = useLive(() => get("steps"), [], { every: 15000, onPoke: false });
  const steps = data?.steps ?? [];
  const longest = Math.max(...steps.map((step) => step.p90), 0.001);
  return html`<section class="card" aria-labelledby="durations">
    <div class="head"><h2 id="durations">How long steps take</h2>
      ${data && html`<span class="muted">newest ${number(data.tasks)} completed tasks</span>`}</div>
    <${Trouble} error=${error} />
    ${steps.length === 0 ? html`<${Nothing}>No task has completed a step whose start was seen.<//>` : html`<table class="plain">
      <caption class="offscreen">Durations of steps; so many percent took no longer</caption>
      <thead><tr><th scope="col">Step</th><th scope="col" class="number">50 %</th><th scope="col" class="number">90 %</th>
        <th scope="col" class="number">99 %</th></tr></thead>
      <tbody>${steps.map((step) => html`<tr key=${step.name}>
        <th scope="row"><span class="measure"><i style=${{ width: `${Math.max(2, (step.p90 / longest) * 100)}%` }}></i></span>${stepName(step.name)}</th>
        <td class="number">${duration(step.p50)}</td><td class="number">${duration(step.p90)}</td><td class="number">${duration(step.p99)}</td>
      </tr>`)}</tbody></table>`}
  </section>`;
}

function Handlers({ backlog }) {
  const names = Object.keys(backlog.handlers).sort();
  return html`<section class="card" aria-labelledby="handlers">
    <div class="head"><h2 id="handlers">Handlers in trouble</h2></div>
    ${names.length === 0 ? html`<${Nothing}>None: nothing is retried, gave up or has lost its handler.<//>` : html`<table class="plain">
      <caption class="offscreen">Runs by handler</caption>
      <thead><tr><th scope="col">Handler</th><th scope="col" class="number">Retrying</th><th scope="col" class="number">Gave up</th>
        <th scope="col" class="number">Orphaned</th></tr></thead>
      <tbody>${names.map((name) => html`<tr key=${name}>
        <th scope="row"><${Link} to="/dead-letters" params=${{ handler: name }} class="clip">${visible(name)}<//></th>
        ${["retrying", "failed", "orphaned"].map((kind) => html`<td class="number">${number(backlog.handlers[name][kind] ?? 0)}</td>`)}
      </tr>`)}</tbody></table>`}
  </section>`;
}

function Ended({ data }) {
  return html`<section class="card" aria-labelledby="ended">
    <div class="head"><h2 id="ended">Ended lately</h2><${Link} to="/tasks" params=${{ state: "ended" }}>all<//></div>
    <${Table} caption="Tasks that ended lately" rows=${data.ended} id=${(task) => task.key} empty="No task has ended yet." columns=${[
      { label: "Task", cell: (task) => html`<${TaskLink} task=${task} />` },
      { label: "Document", class: "minor", cell: (task) => html`<span class="clip">${visible(task.document_id ?? "–")}</span>` },
      { label: "Steps", class: "wide", cell: (task) => html`<${StepBar} task=${task} pipeline=${data.pipeline} />` },
      { label: "State", cell: (task) => html`<${Badge} state=${task.state} />` },
      { label: "Took", class: "number minor", cell: (task) => duration(task.seconds) },
      { label: "Ended", class: "number", cell: (task) => html`<${Moment} at=${task.finished_at ?? task.updated_at} />` },
    ]} />
  </section>`;
}
