// Where one is: the path below the dashboard and the filters behind it, both in the address.
import { html, useEffect, useState } from "./lib.js";
import { ROOT } from "./api.js";

const base = ROOT.pathname.replace(/\/$/, "");
const listeners = new Set();

/** @returns {{path: string[], params: Record<string, string>}} */
export function here() {
  const below = location.pathname.startsWith(base) ? location.pathname.slice(base.length) : "";
  const path = below.split("/").filter(Boolean).map(decoded);
  return { path, params: Object.fromEntries(new URLSearchParams(location.search)) };
}

/** A part of the path as it reads; as it stands where it is no encoding of anything. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of a place. */
export function address(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) if (value) query.set(name, value);
  const search = query.toString();
  return `${base}${path === "/" ? "" : path}${search ? `?${search}` : ""}`;
}

/** Goes there; `replace` for what is only another filter. */
export function go(path, params = {}, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address(path, params));
  tell();
  if (!replace) scrollTo(0, 0);
}

export function useRoute() {
  const [route, setRoute] = useState(here);
  useEffect(() => {
    const changed = () => setRoute(here());
    listeners.add(changed);
    addEventListener("popstate", changed);
    return () => {
      listeners.delete(changed);
      removeEventListener("popstate", changed);
    };
  }, []);
  return route;
}

/** A link within the dashboard. */
export function Link({ to, params, children, ...rest }) {
  const follow = (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(to, params);
  };
  return html`<a href=${address(to, params)} onClick=${follow} ...${rest}>${children}</a>`;
}

function tell() {
  for (const listener of listeners) listener();
}
