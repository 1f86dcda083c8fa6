// What was authentic and could not be understood.
import { html, useState } from "../lib.js";
import { get } from "../api.js";
import { number, plural, size, visible } from "../format.js";
import { useLive } from "../live.js";
import { Moment, Nothing, Title, Trouble, useMayAct } from "../ui.js";
import { useConfirm } from "../confirm.js";
import { Payload } from "./event.js";

export function Quarantine() {
  const { data, error, reload } = useLive(() => get("quarantine", { limit: 100 }), [], { every: 3000 });
  const mayAct = useMayAct();
  const ask = useConfirm();
  const deliveries = data?.deliveries ?? [];
  return html`<div class="head top"><${Title} name="Quarantine" />
      ${mayAct && deliveries.length > 0 && html`<div class="buttons"><button type="button" onClick=${() => ask(retry({ all: true }, "Every delivery in quarantine", reload))}>Retry all</button></div>`}</div>
    <p class="muted">Deliveries that proved who sent them, and could not be understood. After an upgrade they may be.</p>
    <${Trouble} error=${error} />
    ${data && html`<section class="card">${deliveries.length === 0
      ? html`<${Nothing}>Everything that arrived was understood.<//>`
      : html`<ol class="events">${deliveries.map((one) => html`<${Delivery} key=${one.id} delivery=${one} done=${reload} />`)}</ol>`}</section>`}`;
}

function Delivery({ delivery, done }) {
  const [open, setOpen] = useState(false);
  const mayAct = useMayAct();
  const ask = useConfirm();
  const label = `delivery-${delivery.id}`;
  return html`<li class="event">
    <button type="button" class="summary" aria-expanded=${open ? "true" : "false"} aria-controls=${label} onClick=${() => setOpen(!open)}>
      <span class="sequence">${delivery.id}</span>
      <span class="name clip">${visible(delivery.problems[0] ?? delivery.code)}</span>
      <span class="marks"><span class="badge warn">${delivery.status}</span>${delivery.repeats > 0 && html`<span class="muted">${number(delivery.repeats)}× again</span>`}</span>
      <span class="muted when"><${Moment} at=${delivery.received_at} /></span>
    </button>
    ${open && html`<div id=${label} class="details">
      <ul class="problems">${delivery.problems.map((problem) => html`<li>${visible(problem)}</li>`)}</ul>
      <p class="muted">${size(delivery.size)} to <span class="id">${visible(delivery.path)}${delivery.query ? `?${visible(delivery.query)}` : ""}</span></p>
      ${mayAct && html`<div class="buttons">
        <button type="button" onClick=${() => ask(retry({ ids: [delivery.id] }, "This delivery", done))}>Retry</button>
        <button type="button" class="danger" onClick=${() => ask(discard(delivery.id, done))}>Discard</button></div>`}
      <${Body} id=${delivery.id} /></div>`}
  </li>`;
}

function Body({ id }) {
  const { data, error } = useLive(() => get(`quarantine/${id}`), [id], { every: null, onPoke: false });
  return html`<${Trouble} error=${error} />${data && html`<${Payload} payload=${data.delivery.payload} />`}`;
}

const retry = (body, what, done) => ({
  title: "Read again?", button: "Retry", action: "retry-quarantine", body, done,
  text: `${what}: what is understood by now is stored and handled, the rest stays.`,
  told: (outcome) => `${plural(outcome.accepted, "delivery", "deliveries")} understood, ${number(outcome.refused)} still not.`,
});

const discard = (id, done) => ({
  title: "Delete for good?", button: "Delete", tone: "danger", action: "discard-quarantine", body: { ids: [id] }, done,
  text: "This delivery is deleted and cannot be brought back.", told: (outcome) => `${plural(outcome, "delivery", "deliveries")} deleted.`,
});
