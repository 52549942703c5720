// Calls to the backend: the key added, reachability reported, errors as ApiError.

import { answered, suspect } from "./connection.js";
import { askForKey, currentKey } from "./key.js";

/** An answer that is an error, or (status 0) none at all; `message` is for people. */
export class ApiError extends Error {
  constructor(status, detail) {
    super(words(status, detail));
    this.status = status;
    this.detail = detail;
  }
}

/** Return a response with status 2xx, whose body is still to be read. */
export async function request(method, path, { body, signal } = {}) {
  for (;;) {
    const key = currentKey();
    const headers = {};
    if (key) headers.Authorization = `Bearer ${key}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, {
        method,
        headers,
        signal,
        cache: "no-store",
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      suspect();
      throw new ApiError(0, "The backend does not answer.");
    }
    answered();
    if (response.ok) return response;
    if (response.status === 401) {
      // Another call may have been given a new key meanwhile.
      if (currentKey() !== key || (await askForKey({ refused: key !== null }))) continue;
    }
    throw new ApiError(response.status, await detailOf(response));
  }
}

async function json(method, path, body) {
  const response = await request(method, path, { body });
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch {
    suspect();
    throw new ApiError(0, "The backend's answer broke off.");
  }
}

export const api = {
  get: (path) => json("GET", path),
  post: (path, body) => json("POST", path, body),
  delete: (path) => json("DELETE", path),
};

async function detailOf(response) {
  try {
    return (await response.json()).detail;
  } catch {
    return undefined;
  }
}

function words(status, detail) {
  if (status === 401) return "The backend asks for its key: give it with the button Key.";
  if (Array.isArray(detail)) {
    return detail.map(({ loc, msg }) => `${(loc ?? []).slice(1).join(" ")}: ${msg}`).join("; ");
  }
  return detail || `The backend answered with status ${status}.`;
}
