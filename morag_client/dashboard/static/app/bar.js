// A task's way through the pipeline, a segment for each step.
import { html } from "./lib.js";
import { duration, stepName } from "./format.js";

/** The segments of a task: {name, status, fill (0 to 1), seconds}. */
export function segments(task, pipeline) {
  const own = new Map(task.steps.map((step) => [step.name, step]));
  const ended = task.state !== "pending" && task.state !== "running";
  const known = task.steps.map((step) => step.name).filter((name) => name !== "processing");
  if (known.length === 0) return [whole(task)];
  const wanted = task.state === "completed" ? known : ordered(pipeline, known);
  const found = wanted.map((name) => {
    const step = own.get(name);
    return { name, status: step?.status ?? "pending", seconds: step?.seconds ?? null, fill: step ? 1 : 0 };
  });
  if (task.state === "failed" && !found.some((one) => one.status === "failed")) {
    const at = found.find((one) => one.status !== "completed") ?? found.at(-1);
    Object.assign(at, { status: "failed", fill: 1 });
  }
  found.forEach((one, place) => {
    if (one.status !== "started") return;
    one.fill = ended ? 1 : Math.min(0.95, Math.max(0.12, (task.progress / 100) * found.length - place));
    if (ended) one.status = "ended";
  });
  return found;
}

// The pipeline's order, with steps that it does not know where they first came.
function ordered(pipeline, known) {
  const others = known.filter((name) => !pipeline.includes(name));
  return known.some((name) => pipeline.includes(name)) ? [...pipeline, ...others] : known;
}

function whole(task) {
  const status = { completed: "completed", failed: "failed", cancelled: "ended", lost: "ended" }[task.state] ?? "started";
  return { name: task.stage ?? "progress", status, seconds: task.seconds, fill: status === "started" ? task.progress / 100 : 1 };
}

const WORDS = { completed: "done", started: "running", failed: "failed", pending: "to come", ended: "not finished" };

/** @param {{task: object, pipeline: string[]}} props */
export function StepBar({ task, pipeline }) {
  const shown = segments(task, pipeline);
  const at = shown.find((one) => one.status === "failed") ?? shown.find((one) => one.status === "started");
  const said = `${Math.round(task.progress)} %${at ? `, ${stepName(at.name)} ${WORDS[at.status]}` : ""}`;
  return html`<div class=${`bar ${task.state}`} role="progressbar" aria-valuemin="0" aria-valuemax="100"
      aria-valuenow=${Math.round(task.progress)} aria-valuetext=${said} aria-label="Progress">
    ${shown.map((one) => html`<span key=${one.name} class=${`segment ${one.status}`}
      title=${`${stepName(one.name)}: ${WORDS[one.status]}${one.seconds === null || one.seconds === undefined ? "" : `, ${duration(one.seconds)}`}`}>
      <span style=${{ width: `${Math.round(one.fill * 100)}%` }}></span></span>`)}
  </div>`;
}
