// Asking the receiver, and letting it do something.

/** Where the dashboard is, whatever stands before it. */
export const ROOT = new URL("../../", import.meta.url);

/** An answer that is none: `status` is HTTP's (0: there was no answer), `more` what else was said. */
export class ApiError extends Error {
  constructor(status, detail, more = {}) {
    super(detail);
    this.status = status;
    this.more = more;
  }
}

let csrf = null;

/** @param {string|null} token what every action has to carry */
export function keepToken(token) {
  csrf = token;
}

/**
 * @param {string} path below `dashboard/api/`
 * @param {Record<string, string|number|null|undefined>} params what is empty is left out
 */
export async function get(path, params = {}) {
  const url = new URL(`api/${path}`, ROOT);
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  return answer(fetch(url, { credentials: "same-origin", cache: "no-store" }));
}

/** @param {string} path below `dashboard/api/` @param {object} body */
export async function post(path, body = {}) {
  const headers = { "content-type": "application/json" };
  if (csrf) headers["x-csrf-token"] = csrf;
  const options = { method: "POST", credentials: "same-origin", headers, body: JSON.stringify(body) };
  return answer(fetch(new URL(`api/${path}`, ROOT), options));
}

async function answer(request) {
  let response;
  try {
    response = await request;
  } catch {
    throw new ApiError(0, "the receiver does not answer");
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, body.detail ?? `the receiver answered ${response.status}`, body);
  return body;
}
