// Doing something: asked first, with room for the reason, and told how it went.
import { html, createContext, useContext, useRef, useState } from "./lib.js";
import { post } from "./api.js";
import { visible } from "./format.js";
import { Dialog } from "./ui.js";

const ConfirmContext = createContext(null);

/** `ask({title, text, button, tone, action, body, done})`: opens the question; `done()` after it was done. */
export const useConfirm = () => useContext(ConfirmContext);

export function Confirming({ children }) {
  const [question, setQuestion] = useState(null);
  const [told, setTold] = useState("");
  const finish = (text) => {
    setQuestion(null);
    setTold(text);
    setTimeout(() => setTold((now) => (now === text ? "" : now)), 6000);
  };
  return html`<${ConfirmContext.Provider} value=${setQuestion}>
    ${children}
    ${question && html`<${Question} question=${question} onEnd=${finish} onClose=${() => setQuestion(null)} />`}
    <div class="toast" role="status" aria-live="polite">${told && html`<p>${told}</p>`}</div>
  <//>`;
}

function Question({ question, onEnd, onClose }) {
  const [state, setState] = useState({ busy: false, error: "" });
  const why = useRef(null);
  const act = async (event) => {
    event.preventDefault();
    setState({ busy: true, error: "" });
    try {
      const answer = await post(`actions/${question.action}`, { ...question.body, why: why.current.value });
      onEnd(question.told?.(answer.done) ?? "Done.");
      question.done?.();
    } catch (error) {
      setState({ busy: false, error: error.message });
    }
  };
  return html`<${Dialog} title=${question.title} onClose=${onClose}>
    <form onSubmit=${act}>
      <p>${question.text}</p>
      <label class="field"><span>Why? <span class="muted">(optional, kept in the audit)</span></span>
        <input ref=${why} type="text" maxlength="1000" autocomplete="off" autofocus />
      </label>
      ${state.error && html`<p class="trouble" role="alert">${visible(state.error)}</p>`}
      <div class="buttons">
        <button type="button" onClick=${onClose}>Cancel</button>
        <button type="submit" class=${question.tone ?? "primary"} disabled=${state.busy}>${question.button}</button>
      </div>
    </form>
  <//>`;
}
