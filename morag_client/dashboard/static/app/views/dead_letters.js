// Runs that gave up, or whose handlers are gone.
import { html } from "../lib.js";
import { get } from "../api.js";
import { plural, visible } from "../format.js";
import { Link, go } from "../router.js";
import { useLive } from "../live.js";
import { Choice, Moment, Table, Title, Trouble, useMayAct } from "../ui.js";
import { useConfirm } from "../confirm.js";

const KINDS = [["", "Gave up"], ["1", "Orphaned"]];

export function DeadLetters({ params }) {
  const { handler = "", orphaned = "" } = params;
  const { data, error, reload } = useLive(() => get("dead-letters", { handler, orphaned, limit: 100 }), [handler, orphaned], { every: 3000 });
  const mayAct = useMayAct();
  const ask = useConfirm();
  const letters = data?.letters ?? [];
  const all = { all: true, handler: handler || null, orphaned: orphaned === "1" };
  return html`<div class="head top"><${Title} name="Dead letters" />
      ${mayAct && letters.length > 0 && html`<div class="buttons">
        <button type="button" onClick=${() => ask(retry(all, everyOf(handler), reload))}>Retry all</button>
        <button type="button" class="danger" onClick=${() => ask(discard(all, everyOf(handler), reload))}>Discard all</button></div>`}</div>
    <div class="filters"><${Choice} label="Kind" options=${KINDS} value=${orphaned} onChange=${(key) => go("/dead-letters", { ...params, orphaned: key }, { replace: true })} />
      ${handler && html`<span>of <b class="id">${visible(handler)}</b> <${Link} to="/dead-letters" params=${{ orphaned }}>all handlers<//></span>`}</div>
    <${Trouble} error=${error} />
    ${data && html`<section class="card"><${Table} caption="Dead letters" rows=${letters} id=${(letter) => letter.id}
      empty=${orphaned ? "No run waits for a handler that is gone." : "Every handler has got through, or is still trying."} columns=${[
        { label: "Handler", cell: (letter) => html`<span class="id clip">${visible(letter.handler)}</span>` },
        { label: "Event", cell: (letter) => html`<${Link} to=${`/events/${letter.record_id}`} class="id clip">${visible(letter.event_name)}<//>
          ${letter.task_id && html`<span class="muted clip block">${visible(letter.task_id)}</span>`}` },
        { label: "Error", class: "wide", cell: (letter) => html`<span class="bad-text lines">${visible(letter.error ?? "–")}</span>` },
        { label: "Attempts", class: "number", cell: (letter) => letter.attempts },
        { label: "When", class: "number", cell: (letter) => html`<${Moment} at=${letter.finished_at} />` },
        ...(mayAct ? [{ label: "Actions", class: "acts", cell: (letter) => html`<div class="buttons">
          <button type="button" class="small" onClick=${() => ask(retry({ ids: [letter.id] }, one(letter), reload))}>Retry</button>
          <button type="button" class="small danger" onClick=${() => ask(discard({ ids: [letter.id] }, one(letter), reload))}>Discard</button></div>` }] : []),
      ]} /></section>`}`;
}

const one = (letter) => html`<b class="id">${visible(letter.handler)}</b> for <b class="id">${visible(letter.event_name)}</b>`;
const everyOf = (handler) => (handler ? html`Every one of <b class="id">${visible(handler)}</b>` : "Every one, also those not listed here");

const retry = (body, what, done) => ({
  title: "Retry?", button: "Retry", action: "retry-dead-letters", body, done,
  text: html`${what}: the handler runs again, with all its attempts.`,
  told: (outcome) => `${plural(outcome.retried, "run")} waiting for its handler again${outcome.pruned ? `, ${outcome.pruned} pruned` : ""}.`,
});

const discard = (body, what, done) => ({
  title: "Discard for good?", button: "Discard", tone: "danger", action: "discard-dead-letters", body, done,
  text: html`${what}: the handler will not run for it any more. The event and the error stay to be read.`,
  told: (outcome) => `${plural(outcome, "run")} discarded.`,
});
