// What keeps the page up to date: it asks again and again, sooner when Socket.IO says that something happened.
import { useEffect, useRef, useState } from "./lib.js";
import { ROOT } from "./api.js";

const WITHOUT_SOCKET = 1500;
const WITH_SOCKET = 8000;
const LONGEST_WAIT = 30000;
const BREATH = 400;
const ECHO = 1000;

const pokes = new Set();
const watchers = new Set();
let socket = null;
let connected = false;

/** Follows the progress of all tasks, where the receiver lets us; without it the page asks more often. */
export async function follow(token) {
  if (socket) return;
  try {
    await import(new URL("../socket.io/socket.io.js", ROOT).href);
    if (typeof globalThis.io !== "function") return;
    const path = new URL("../socket.io/", ROOT).pathname;
    socket = globalThis.io(ROOT.origin, { path, auth: token ? { token } : undefined, reconnectionDelayMax: LONGEST_WAIT });
  } catch {
    return; // it is not there; what asks goes on asking
  }
  socket.on("connect", () => mark(true));
  socket.on("disconnect", () => mark(false));
  socket.on("connect_error", () => mark(false));
  socket.on("task_update", () => {
    for (const poke of pokes) poke();
  });
}

/** Ends that, as after logging out. */
export function unfollow() {
  socket?.disconnect();
  socket = null;
  mark(false);
}

function mark(state) {
  if (connected === state) return;
  connected = state;
  for (const watcher of watchers) watcher(state);
}

/** Whether what happens is told to us as it happens. */
export function useConnected() {
  const [state, setState] = useState(connected);
  useEffect(() => {
    watchers.add(setState);
    setState(connected);
    return () => watchers.delete(setState);
  }, []);
  return state;
}

/**
 * What `load` finds, kept up to date while the page is seen.
 * @template T
 * @param {() => Promise<T>} load
 * @param {unknown[]} keys what else is looked for when one of these changes
 * @param {{every?: number|null, onPoke?: boolean}} options milliseconds from one look to the next; null: only once
 * @returns {{data: T|null, error: Error|null, reload: () => void}}
 */
export function useLive(load, keys, { every = WITHOUT_SOCKET, onPoke = true } = {}) {
  const [state, setState] = useState({ data: null, error: null });
  const reload = useRef(() => {});
  useEffect(() => {
    const looking = new Looking(load, setState, { every });
    reload.current = () => looking.now();
    if (onPoke) pokes.add(looking.soon);
    document.addEventListener("visibilitychange", looking.seen);
    setState((known) => ({ data: known.data, error: null }));
    looking.now();
    return () => {
      pokes.delete(looking.soon);
      document.removeEventListener("visibilitychange", looking.seen);
      looking.end();
    };
  }, keys);
  return { ...state, reload: () => reload.current() };
}

class Looking {
  constructor(load, show, { every }) {
    this.load = load;
    this.show = show;
    this.every = every;
    this.timer = 0;
    this.failures = 0;
    this.busy = false;
    this.again = false;
    this.last = 0;
    this.ended = false;
    this.echo = false;
    this.soon = () => {
      this.echo = true;
      this.schedule(Math.max(0, BREATH - (Date.now() - this.last)));
    };
    this.seen = () => document.hidden || this.now();
  }

  async now() {
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    clearTimeout(this.timer);
    this.timer = 0;
    const poked = this.echo;
    this.echo = false;
    try {
      const data = await this.load();
      this.failures = 0;
      if (!this.ended) this.show({ data, error: null });
    } catch (error) {
      this.failures += 1;
      if (!this.ended) this.show((known) => ({ data: known.data, error }));
    }
    this.busy = false;
    this.last = Date.now();
    if (this.ended) return;
    if (this.again) {
      this.again = false;
      this.soon();
    } else if (poked) {
      this.schedule(ECHO); // what was found may be a moment old, as it is shared by all who look
    } else if (this.every !== null) this.schedule(this.pause());
  }

  pause() {
    const usual = connected ? Math.max(this.every, WITH_SOCKET) : this.every;
    return Math.min(LONGEST_WAIT, usual * 2 ** Math.min(this.failures, 5));
  }

  schedule(wait) {
    if (this.ended) return;
    const due = Date.now() + wait;
    if (this.timer && this.due <= due) return;
    clearTimeout(this.timer);
    this.due = due;
    this.timer = setTimeout(() => {
      this.timer = 0;
      if (!document.hidden) this.now();
    }, wait);
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
  }
}
