// The Worker's sockets and timers. No policy and no parsing: the wasm core decides, by synchronous calls on plain data.
// Whatever must survive a reset of the core (streams, unsent batches, caches) lives in these modules.
import { configured, core, failed, within } from "./core.mjs";
import { deliver } from "./delivery.mjs";
import { verify } from "./tokens.mjs";

const EMPTY = new Uint8Array(0);
const CAPTURE_MS = 25_000; // waitUntil ends 30 s after the response
const CONSUME_MS = 60_000; // a consumer that takes longer is retried

export default {
  fetch(request, env, ctx) {
    const arrived = Date.now();
    const { mounts, error } = configured(env);
    if (error) return problem(503, error);
    const url = new URL(request.url);
    const mount = mounts.get(url.host);
    if (!mount) return problem(421, url.host);
    const target = mount.upstream + url.pathname + url.search;
    const plan = planned(mount, request.method, url);
    if (!plan) return fetch(outgoing(mount, target, request)).catch(() => problem(502, url.host));
    const response = audited(request, env, ctx, { mount, url, target, plan, arrived });
    // A client that hangs up cancels its request: what the origin may have done by then must still become an event.
    ctx.waitUntil(response);
    return response;
  },

  async queue(batch, env, ctx) {
    try {
      if (configured(env).error) return batch.retryAll({ delaySeconds: 300 });
      // A reset of the core drops the consumer's pending work without a word: then time decides.
      await within(CONSUME_MS, core.queue(batch, env, ctx), "the consumer did not end");
    } catch (error) {
      failed(error);
      batch.retryAll({ delaySeconds: 30 });
    }
  },
};

/** The request to the origin; `passing` is its body where that is read on its way. */
function outgoing(mount, target, request, passing) {
  const { method, headers } = request;
  const forward = passing
    ? new Request(target, { method, headers, body: passing.body, signal: passing.signal, redirect: "manual" })
    : new Request(target, request);
  if (mount.forward_client_ip) nameClient(mount, request, forward.headers);
  return forward;
}

/** The platform's word on the client's address, and nobody else's. */
function nameClient(mount, request, headers) {
  for (const name of mount.strip) headers.delete(name);
  try {
    const address = core.client_ip(mount.index, lines(request.headers, mount.address_headers), cf(request));
    if (address) headers.set(mount.forward_client_ip, address);
  } catch (error) {
    failed(error);
  }
}

async function audited(request, env, ctx, seen) {
  const { mount, url, target, plan, arrived } = seen;
  const copies = { request: null, response: null, early: null };
  try {
    if (plan[0] && request.body) {
      const length = request.headers.get("content-length");
      if (length === null) {
        seen.passing = passing(request.body, plan[0]);
        copies.early = seen.passing.copy;
      } else {
        copies.request = request.clone().body;
        // A body that is not small is read along, so that the copy is cut at the cap and not held whole.
        if (!(Number(length) <= plan[0])) copies.early = read(copies.request, plan[0], deadline());
      }
    }
  } catch (error) {
    failed(error);
  }
  let response;
  try {
    response = await fetch(outgoing(mount, target, request, seen.passing));
  } catch {
    seen.passing?.end(true);
    response = problem(502, url.host);
    record(request, env, ctx, seen, null, copies);
    return response;
  }
  try {
    if (plan[1] && response.body && !response.webSocket) copies.response = response.clone().body;
  } catch (error) {
    failed(error);
  }
  seen.duration = Date.now() - arrived;
  record(request, env, ctx, seen, response, copies);
  return response;
}

/** Hands everything after the response to waitUntil; nothing in here can reach the response. */
function record(request, env, ctx, seen, response, copies) {
  try {
    ctx.waitUntil(
      capture(request, env, seen, response, copies).catch((error) => {
        release(copies);
        failed(error);
      }),
    );
  } catch (error) {
    release(copies);
    failed(error);
  }
}

function release(copies) {
  for (const copy of [copies.request, copies.response]) if (copy && !copy.locked) copy.cancel().catch(() => {});
}

async function capture(request, env, seen, response, copies) {
  const { mount, url, plan, arrived } = seen;
  const requestLines = lines(request.headers, mount.request_headers);
  const responseLines = response ? lines(response.headers, mount.response_headers) : "";
  const limit = deadline();
  const [asked, answered] = await Promise.all([
    copies.early ?? read(copies.request, plan[0], limit),
    read(copies.response, plan[1], limit),
  ]);
  limit.end();
  const look = (step) => {
    const { index } = mount;
    const facts = new core.Seen(index, request.method, url.pathname, url.search, requestLines, cf(request), arrived);
    if (response) facts.answered(response.status, responseLines, seen.duration);
    const drafted = step(facts);
    facts.free();
    return drafted;
  };
  // If the core stops over an exchange, it is reset, and an event without its contents stands in for the one lost.
  const fallback = () => look((facts) => facts.fallback(plan[2]));
  const drafted = attempt(
    () => look((facts) => facts.inspect(asked.bytes, asked.cut, answered.bytes, answered.cut)),
    fallback,
  );
  if (!drafted) return;
  const [draft, checks] = drafted;
  const judged = await Promise.all(JSON.parse(checks).map((check) => verify(check, mount, env)));
  const random = crypto.getRandomValues(new Uint8Array(84));
  const events = attempt(
    () => core.build(mount.index, draft, JSON.stringify(judged), random),
    () => core.build(mount.index, fallback()[0], "[]", random),
  );
  await Promise.all(events.map((event) => deliver(event, mount.tenant, env)));
}

function attempt(step, instead) {
  try {
    return step();
  } catch (error) {
    failed(error);
    return instead();
  }
}

/**
 * A request's body of unknown length, and a copy of its beginning. Where the client breaks off, the platform would end
 * a cloned body as if it were whole; here the request to the origin is aborted instead.
 */
function passing(body, cap) {
  const reader = body.getReader();
  const abort = new AbortController();
  const chunks = [];
  let size = 0;
  let settle;
  const copy = new Promise((resolve) => {
    settle = (cut) => resolve({ bytes: joined(chunks, Math.min(size, cap)), cut });
  });
  const late = setTimeout(() => settle(true), CAPTURE_MS);
  const end = (cut) => {
    clearTimeout(late);
    settle(cut);
  };
  const pull = async (controller) => {
    try {
      const { done, value } = await reader.read();
      if (done) {
        end(size > cap);
        controller.close();
        return;
      }
      if (size < cap) chunks.push(value.slice(0, cap - size));
      size += value.length;
      controller.enqueue(value);
    } catch {
      end(true);
      abort.abort();
      await new Promise(() => {}); // an error here would end the body as well
    }
  };
  const cancel = (reason) => {
    end(true);
    return reader.cancel(reason);
  };
  return { body: new ReadableStream({ pull, cancel }), copy, end, signal: abort.signal };
}

/** The end of the time for reading copies: one timer for all that are read together. */
function deadline() {
  const limit = { readers: [], over: false };
  const timer = setTimeout(() => {
    limit.over = true;
    for (const reader of limit.readers) reader.cancel().catch(() => {});
  }, CAPTURE_MS);
  limit.end = () => clearTimeout(timer);
  return limit;
}

/** Up to `cap` bytes of a body copy, which is then cancelled, so that nobody waits for its rest. */
async function read(body, cap, limit) {
  if (!body) return { bytes: EMPTY, cut: false };
  const reader = body.getReader();
  limit.readers.push(reader);
  const chunks = [];
  let size = 0;
  let cut = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const kept = value.length > cap - size ? value.subarray(0, cap - size) : value;
      chunks.push(kept);
      size += kept.length;
      if (kept.length < value.length) {
        cut = true;
        break;
      }
    }
  } catch {
    cut = true; // the origin or the client broke off
  }
  if (cut) reader.cancel().catch(() => {});
  return { bytes: joined(chunks, size), cut: cut || limit.over };
}

function joined(chunks, size) {
  if (chunks.length === 1) return chunks[0];
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** `[request bytes, response bytes, path template]` to capture, or undefined if no rule is about the request. */
function planned(mount, method, url) {
  const ask = () => mount.plans[core.route(mount.index, method, url.pathname, url.search)];
  return attempt(ask, () => attempt(ask, () => [0, 0, "(unknown)"]));
}

function lines(headers, names) {
  let text = "";
  for (const name of names) {
    const value = headers.get(name);
    if (value !== null) text += `${name}: ${value}\n`;
  }
  return text;
}

function cf(request) {
  return request.cf ? JSON.stringify(request.cf) : "null";
}

function problem(status, detail) {
  const headers = { "content-type": "application/problem+json" };
  return new Response(core.problem(status, detail), { status, headers });
}
