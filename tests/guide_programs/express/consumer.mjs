// The guide's Express consumer: what its functions read, read strictly, so that a missing field is a 500.
import express from "express";

const app = express();
app.use(express.json());

function field(object, name) {
  if (object === null || typeof object !== "object" || object[name] === undefined || object[name] === null) {
    throw new Error(`${name} is missing`);
  }
  return object[name];
}

const tasks = {
  task_started: (data) => ({ task_id: field(data, "task_id") }),
  task_completed: (data) => ({ task_id: field(data, "task_id"), chunks: field(field(data, "result"), "chunks_created") }),
  task_failed: (data) => ({ task_id: field(data, "task_id"), error: field(data, "error") }),
};

function step(data) {
  const names = ["task_id", "step", "status", "progress_percent"];
  return Object.fromEntries(names.map((name) => [name, field(data, name)]));
}

app.post("/webhook", (request, response) => {
  const kind = field(request.body, "event_type");
  field(request.body, "timestamp");
  const data = field(request.body, "data");
  const told = kind in tasks ? tasks[kind](data) : step(data);
  console.log(JSON.stringify({ event_type: kind, ...told }));
  response.json({ status: "received" });
});

const server = app.listen(Number(process.argv[2]), "127.0.0.1", () => {
  console.log(`listening on ${server.address().port}`);
});
