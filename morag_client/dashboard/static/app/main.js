// The page: who looks, where one is, and what is shown there.
import { html, render, useEffect, useErrorBoundary, useRef, useState } from "./lib.js";
import { get, keepToken, post } from "./api.js";
import { follow, unfollow } from "./live.js";
import { visible } from "./format.js";
import { Link, address, go, useRoute } from "./router.js";
import { SessionContext, Title } from "./ui.js";
import { Confirming } from "./confirm.js";
import { ThemeSwitch } from "./theme_switch.js";
import { Overview } from "./views/overview.js";
import { Tasks } from "./views/tasks.js";
import { Task } from "./views/task.js";
import { Events } from "./views/events.js";
import { EventPage } from "./views/event.js";
import { DeadLetters } from "./views/dead_letters.js";
import { Quarantine } from "./views/quarantine.js";
import { Audit } from "./views/audit.js";
import { Login } from "./views/login.js";

const PLACES = [["/", "Overview"], ["/tasks", "Tasks"], ["/events", "Events"], ["/dead-letters", "Dead letters"],
  ["/quarantine", "Quarantine"], ["/audit", "Audit"]];

function App() {
  const [visit, setVisit] = useState({ session: null, error: null });
  const enter = async () => {
    try {
      const session = await get("session");
      keepToken(session.csrf);
      setVisit({ session, error: null });
      // What is known comes first; what happens from now on may come a second later.
      if (session.has_progress) setTimeout(() => follow(session.progress_token), 1000);
    } catch (error) {
      setVisit({ session: null, error });
    }
  };
  useEffect(() => {
    enter();
  }, []);
  if (visit.error?.more?.login) return html`<${Login} onDone=${enter} />`;
  if (visit.error) return html`<${Closed} error=${visit.error} onAgain=${enter} />`;
  if (!visit.session) return null;
  return html`<${SessionContext.Provider} value=${visit.session}><${Confirming}><${Page} onLeave=${enter} /><//><//>`;
}

function Page({ onLeave }) {
  const route = useRoute();
  const place = `/${route.path[0] ?? ""}`;
  const main = useRef(null);
  const where = route.path.join("/");
  const first = useRef(true);
  useEffect(() => {
    if (first.current) first.current = false;
    else main.current.querySelector("h1")?.focus();
  }, [where]);
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>Skip to the content</a>
    <header>
      <${Link} to="/" class="mark"><i aria-hidden="true"></i>MoRAG inbox<//>
      <nav aria-label="Main"><ul>${PLACES.map(([path, name]) => html`<li key=${path}>
        <${Link} to=${path} aria-current=${place === path ? "page" : undefined}>${name}<//></li>`)}</ul></nav>
      <${Search} /><${Visitor} onLeave=${onLeave} />
    </header>
    <main id="main" ref=${main} tabindex="-1"><${Boundary} key=${where}><${View} route=${route} /><//></main>`;
}

function View({ route }) {
  const [place, id] = route.path;
  switch (place) {
    case undefined: return html`<${Overview} params=${route.params} />`;
    case "tasks": return id ? html`<${Task} id=${id} key=${id} />` : html`<${Tasks} params=${route.params} />`;
    case "events": return id ? html`<${EventPage} id=${id} key=${id} />` : html`<${Events} params=${route.params} />`;
    case "dead-letters": return html`<${DeadLetters} params=${route.params} />`;
    case "quarantine": return html`<${Quarantine} />`;
    case "audit": return html`<${Audit} />`;
    default: return html`<${Title} name="Not found" /><p>There is nothing here. <${Link} to="/">Overview<//></p>`;
  }
}

function Boundary({ children }) {
  const [error, retry] = useErrorBoundary();
  if (!error) return children;
  return html`<div class="card"><${Title} name="This cannot be shown" /><p class="trouble">${visible(error.message)}</p>
    <button type="button" onClick=${retry}>Try again</button></div>`;
}

function Search() {
  const field = useRef(null);
  const find = (event) => {
    event.preventDefault();
    const text = field.current.value.trim();
    if (text) go("/tasks", { q: text });
  };
  return html`<form role="search" class="search" action=${address("/tasks")} onSubmit=${find}>
    <label class="offscreen" for="search">Find a task by its id, document or correlation</label>
    <input id="search" ref=${field} type="search" placeholder="Task, document, correlation" autocomplete="off" maxlength="255" />
  </form>`;
}

function Visitor({ onLeave }) {
  return html`<${SessionContext.Consumer}>${(session) => {
    const leave = async () => {
      await post("logout");
      unfollow();
      onLeave();
    };
    return html`<div class="visitor">
      ${session.right === "read" && html`<span class="badge wait">read only</span>`}
      ${session.name && html`<span class="muted clip">${visible(session.name)}</span>`}
      <${ThemeSwitch} />
      ${session.by_password && html`<button type="button" class="small" onClick=${leave}>Log out</button>`}
    </div>`;
  }}<//>`;
}

const Closed = ({ error, onAgain }) => html`<main class="login"><div class="card"><${Title} name="The dashboard cannot be shown" />
  <p>${visible(error.message)}</p><div class="buttons"><button type="button" onClick=${onAgain}>Try again</button></div></div></main>`;

render(html`<${App} />`, document.getElementById("app"));
