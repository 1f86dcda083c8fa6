// The way in.
import { html, useRef, useState } from "../lib.js";
import { post } from "../api.js";
import { visible } from "../format.js";
import { Title } from "../ui.js";

export function Login({ onDone }) {
  const [state, setState] = useState({ busy: false, error: "" });
  const name = useRef(null);
  const password = useRef(null);
  const enter = async (event) => {
    event.preventDefault();
    setState({ busy: true, error: "" });
    try {
      await post("login", { password: password.current.value, name: name.current.value });
      onDone();
    } catch (error) {
      setState({ busy: false, error: error.message });
      password.current.select();
    }
  };
  return html`<main class="login"><form class="card" onSubmit=${enter}>
    <${Title} name="Log in" />
    <label class="field"><span>Your name <span class="muted">(for the audit)</span></span>
      <input ref=${name} name="name" autocomplete="username" maxlength="64" autofocus /></label>
    <label class="field">Password
      <input ref=${password} name="password" type="password" autocomplete="current-password" required /></label>
    ${state.error && html`<p class="trouble" role="alert">${visible(state.error)}</p>`}
    <div class="buttons"><button type="submit" class="primary" disabled=${state.busy}>Log in</button></div>
  </form></main>`;
}
