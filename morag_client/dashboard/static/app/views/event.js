// One event: what it said, and what each handler made of it.
import { html } from "../lib.js";
import { get } from "../api.js";
import { duration, plural, size, visible } from "../format.js";
import { Link } from "../router.js";
import { useLive } from "../live.js";
import { Badge, Copy, Moment, Nothing, Title, Trouble, useMayAct, useSession } from "../ui.js";
import { useConfirm } from "../confirm.js";

export function EventPage({ id }) {
  const { data, error, reload } = useLive(() => get(`events/${encodeURIComponent(id)}`), [id], { every: 3000 });
  const mayAct = useMayAct();
  const ask = useConfirm();
  if (!data) return html`<${Title} name=${`Event ${id}`} /><${Trouble} error=${error} />`;
  const { event, payload } = data;
  return html`<div class="head top"><${Title} name=${`Event ${id}`}><span class="kicker">Event ${event.id}</span><span class="id whole">${visible(event.name)}</span><//>
      <${Badge} state=${event.state} />
      ${mayAct && html`<div class="buttons"><button type="button" onClick=${() => ask(replayOf([event], { title: "Replay this event?", done: reload }))}>Replay</button></div>`}</div>
    <${Trouble} error=${error} />
    <section class="card stack"><${EventFacts} event=${event} /><${Runs} event=${event} done=${reload} /><${Payload} payload=${payload} event=${event} /></section>`;
}

function EventFacts({ event }) {
  const facts = [
    ["Task", event.task_key && html`<${Link} to=${`/tasks/${event.task_key}`} class="id">${visible(event.task_id ?? event.correlation.ref)}<//>`],
    ["Document", event.document_id && html`<span class="id">${visible(event.document_id)}</span>`],
    ["Received", html`<${Moment} at=${event.received_at} />`],
    ["Happened", event.timestamp && html`<${Moment} at=${event.timestamp} />`],
    ["Dialect", visible(event.dialect)],
    ["Source", visible(event.source)],
    ["Progress", event.progress_percent !== null && `${event.progress_percent} %`],
    ["Late", event.is_late && html`<${Badge} state="late">told of something older than was known<//>`],
    ["Error", event.error_message && html`<span class="bad-text">${visible(event.error_message)}</span>`],
  ].filter(([, value]) => value);
  return html`<dl class="facts">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** What each handler made of an event. */
export function Runs({ event, done }) {
  const mayAct = useMayAct();
  const ask = useConfirm();
  if (event.belongs_to !== null) {
    return html`<p class="muted">Superseded: ${event.belongs_to ? html`<${Link} to=${`/events/${event.belongs_to}`}>event ${event.belongs_to}<//>` : "another event"}
      told the same before, and handlers ran for that one.</p>`;
  }
  if (event.runs.length === 0) {
    return html`<p class="muted">${event.state === "stored" ? "No handler has looked at it yet." : "No handler asks for it."}</p>`;
  }
  return html`<div class="runs">${event.runs.map((run) => html`<div class="outcome" key=${run.handler}>
    <div class="head"><span class="id">${visible(run.handler)}</span><${Badge} state=${run.state} />
      <span class="muted">${plural(run.attempts, "attempt")}${run.started_at && run.finished_at ? `, ${duration((Date.parse(run.finished_at) - Date.parse(run.started_at)) / 1000)}` : ""}</span>
      ${run.next_attempt_at && html`<span class="muted">next <${Moment} at=${run.next_attempt_at} /> ${until(run.next_attempt_at)}</span>`}
      ${mayAct && html`<button type="button" class="small" onClick=${() => ask(again(event, run, done))}>Run again</button>`}</div>
    ${run.error && html`<p class="bad-text error">${visible(run.error)}</p>`}
    ${run.traceback && html`<details><summary>Traceback</summary><pre tabindex="0">${visible(run.traceback)}</pre></details>`}
  </div>`)}</div>`;
}

const until = (moment) => {
  const seconds = (Date.parse(moment) - Date.now()) / 1000;
  return seconds > 0 ? `(in ${duration(seconds)})` : "(due)";
};

const again = (event, run, done) => ({
  title: "Run this handler again?", button: "Run again", action: "replay", done,
  body: { ids: [event.id], handler: run.handler },
  text: html`<b class="id">${visible(run.handler)}</b> gets <b class="id">${visible(event.name)}</b> once more, with all its attempts.`,
  told: toldOfReplay,
});

/** The question before events are handled again. */
export function replayOf(events, { title, done }) {
  return {
    title, button: "Replay", action: "replay", done, body: { ids: events.map((event) => event.id) },
    text: "Handlers that failed run again; where none did, all of them do. Each has all its attempts again.",
    told: toldOfReplay,
  };
}

const toldOfReplay = (outcome) => {
  const parts = [];
  if (outcome.replayed) parts.push(`${plural(outcome.replayed, "event")} will be handled again`);
  if (outcome.brought_forward) parts.push(`${plural(outcome.brought_forward, "attempt")} brought forward`);
  if (outcome.waiting) parts.push(`${plural(outcome.waiting, "event")} not handled yet`);
  if (outcome.pruned) parts.push(`${plural(outcome.pruned, "event")} pruned`);
  return `${parts.join(", ") || "Nothing to replay"}.`;
};

/** A body to be read and copied, and the files that it names. */
export function Payload({ payload, event }) {
  if (payload.text === null) return html`<${Nothing}>Its body was pruned.<//>`;
  return html`<${Artefacts} artefacts=${payload.artefacts} />
    <div class="payload"><div class="head"><h3>Payload</h3><span class="muted">${event?.dialect ? `${visible(event.dialect)}, ` : ""}${size(payload.size)}${payload.is_json ? "" : ", no JSON"}</span>
      <${Copy} text=${payload.text} /></div>
      <pre class="body" tabindex="0" aria-label="Payload">${visible(payload.text)}</pre></div>`;
}

function Artefacts({ artefacts }) {
  const { api_url: apiUrl } = useSession();
  if (artefacts.length === 0) return null;
  return html`<div class="artefacts"><h3>Artefacts</h3><ul>${artefacts.map(({ key, where }) => {
    const url = safeUrl(where, apiUrl);
    return html`<li key=${where}><span class="muted">${visible(key)}</span>
      ${url ? html`<a href=${url} target="_blank" rel="noopener noreferrer" class="id">${visible(where)}</a>` : html`<span class="id">${visible(where)}</span>`}
      <${Copy} text=${where} /></li>`;
  })}</ul></div>`;
}

// Only what leads to a file over HTTP becomes a link: never javascript:, and nothing that we would have to guess.
function safeUrl(where, apiUrl) {
  try {
    const url = where.startsWith("/") ? (apiUrl ? new URL(where, apiUrl) : null) : new URL(where);
    if (!url || !["http:", "https:"].includes(url.protocol)) return null;
    if (where.startsWith("/") && url.origin !== new URL(apiUrl).origin) return null;
    return url.href;
  } catch {
    return null;
  }
}
