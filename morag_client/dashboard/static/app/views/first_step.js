// What an inbox with nothing in it says.
import { html } from "../lib.js";
import { ROOT } from "../api.js";
import { Copy, useSession } from "../ui.js";

export function FirstStep() {
  const { webhook, has_handlers: hasHandlers } = useSession();
  const url = webhook.startsWith("http") ? webhook : new URL("../webhook", ROOT).href;
  const emit = `morag-client emit --url ${url}`;
  return html`<section class="card first" aria-labelledby="first">
    <h2 id="first">Nothing has arrived yet</h2>
    <ol>
      <li><b>Tell MoRAG where to post.</b> Submit a document with this as its <code>webhook_url</code>:
        <${Line} text=${url} /></li>
      <li><b>Or try it without MoRAG.</b> In another terminal, with the same <code>MORAG_WEBHOOK_SECRET</code>, this sends a
        document's whole way through the pipeline: <${Line} text=${emit} /></li>
      <li>${hasHandlers
        ? html`<b>Watch it here.</b> The task appears by itself, and its bar moves with each step.`
        : html`<b>Serve your handlers.</b> This receiver has none: events are stored and wait, and no task is shown, until${" "}
          <code>morag-client serve app:receiver</code> looks at them.`}</li>
    </ol>
  </section>`;
}

const Line = ({ text }) => html`<span class="line"><code>${text}</code><${Copy} text=${text} /></span>`;
