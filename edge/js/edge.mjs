// The Worker's sockets and timers. No policy and no parsing: the wasm core decides, by synchronous calls on plain data.
// Whatever must survive a reset of the core (streams, unsent batches, caches) lives in these modules.
import { configured, core, failed, sleep, takeResets, within } from "./core.mjs";
import { deliver } from "./delivery.mjs";
import { counted, told } from "./floods.mjs";
import { refresh } from "./policy.mjs";
import { verdict, verify } from "./tokens.mjs";

const EMPTY = new Uint8Array(0);
const BLIND = { request: 0, response: 0, stream: false, before: false, fail: "open" };
const BEHIND_MS = 2; // in which the answer leaves before anything is read or looked at
const CAPTURE_MS = 25_000; // waitUntil ends 30 s after the response
const CONSUME_MS = 60_000; // a consumer that takes longer is retried
const BEFORE_MS = 150; // what reading the old side may delay a request
const BEFORE_BYTES = 65_536;
const INTENT_MS = 2_000; // what recording an intent may delay a request

let recording = 0; // since when a record of the traffic is on its way; 0 if none is

export default {
  fetch(request, env, ctx) {
    const arrived = Date.now();
    const { mounts, coverage_ms, error } = configured(env);
    if (error) return problem(503, error);
    const url = new URL(request.url);
    const mount = mounts.get(url.host);
    if (!mount) return problem(421, url.host);
    const { pathname: path, search: query } = url;
    const target = mount.upstream + path + query;
    const plan = planned(mount, request.method, path, query, arrived);
    if (arrived - recording > 2 * coverage_ms) recordTraffic(env, ctx, arrived);
    refresh(env, ctx, arrived);
    if (!plan) return fetch(outgoing(mount, target, request)).catch(() => problem(502, url.host));
    const response = audited(request, env, ctx, { mount, host: url.host, path, query, target, plan, arrived });
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
  const { mount, host, target, plan, arrived } = seen;
  const copies = { request: null, response: null, early: null };
  try {
    if (plan.request && request.body) {
      const length = request.headers.get("content-length");
      if (length === null) {
        seen.passing = passing(request.body, plan.request);
        copies.early = seen.passing.copy;
      } else {
        copies.request = request.clone().body;
        // A body that is not small is read along, so that the copy is cut at the cap and not held whole.
        if (!(Number(length) <= plan.request)) copies.early = read(copies.request, plan.request, deadline());
      }
    }
  } catch (error) {
    failed(error);
  }
  if (plan.before) seen.before = await oldSide(request, seen);
  let response;
  if (plan.fail !== "open") {
    seen.intent = await intended(request, env, seen);
    if (seen.intent?.closed && !seen.intent.durable) {
      seen.passing?.end(true);
      seen.duration = Date.now() - arrived;
      response = problem(503, "audit-unavailable");
      record(request, env, ctx, seen, response, copies);
      return response;
    }
  }
  try {
    response = await fetch(outgoing(mount, target, request, seen.passing));
  } catch {
    seen.passing?.end(true);
    response = problem(502, host);
    record(request, env, ctx, seen, null, copies);
    return response;
  }
  try {
    if (plan.response && response.body && !response.webSocket) copies.response = response.clone().body;
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
  const { mount, plan } = seen;
  await sleep(BEHIND_MS);
  const responseLines = response ? lines(response.headers, mount.response_headers) : "";
  const limit = deadline();
  const streamed = plan.stream && response?.headers.get("content-type")?.startsWith("text/event-stream");
  const [asked, answered] = await Promise.all([
    copies.early ?? read(copies.request, plan.request, limit),
    streamed ? scan(copies.response, limit) : read(copies.response, plan.response, limit),
  ]);
  limit.end();
  const look = (step) => {
    const facts = factsOf(request, seen);
    if (response) facts.answered(response.status, responseLines, seen.duration);
    if (seen.before) facts.before(seen.before.bytes, seen.before.cut);
    if (seen.intent) facts.intended(seen.intent.id, seen.intent.durable);
    const drafted = step(facts);
    facts.free();
    return drafted;
  };
  // If the core stops over an exchange, it is reset, and an event without its contents stands in for the one lost.
  const fallback = () => look((facts) => facts.fallback(plan !== BLIND));
  const inspect = () =>
    attempt(
      () => look((facts) => facts.inspect(asked.bytes, asked.cut, answered.bytes, answered.cut)),
      fallback,
    );
  const drafted = inspect();
  if (!drafted) return;
  const name = drafted.series();
  const series = name && counted(name, drafted.claimed());
  if (series?.holder === false) {
    drafted.free();
    return;
  }
  const events = await built(mount, env, drafted, inspect, fallback);
  if (series) events[0] = await told(series, events[0]);
  await Promise.all(events.map((event) => deliver(event, mount.tenant, env)));
}

function factsOf(request, { mount, path, query, arrived }) {
  const asked = lines(request.headers, mount.request_headers);
  return new core.Seen(mount.index, request.method, path, query, asked, cf(request), arrived);
}

/**
 * Verifies and builds a drafted event. Where the core was reset in between, the draft went with it: then `again` gives the
 * same once more. `instead` gives one for an event that cannot be built.
 */
async function built(mount, env, drafted, again, instead) {
  const checks = drafted.checks();
  let judged = "";
  if (checks) {
    const known = checks.split(",").map((name) => verdict(name, mount));
    judged = known.every(Boolean) ? known.join() : await verified(drafted, known, mount, env);
  }
  const random = crypto.getRandomValues(new Uint8Array(84));
  const build = (draft, verdicts) => draft.build(mount.index, verdicts, random);
  try {
    return build(drafted, judged);
  } catch (error) {
    failed(error);
    const gone = !(error instanceof WebAssembly.RuntimeError);
    return attempt(() => (gone ? build(again(), judged) : build(instead(), "")), () => build(instead(), ""));
  }
}

/** The verdicts on a draft's signatures, of which some are not known. What is to be checked is read at once: the core may be reset. */
async function verified(drafted, known, mount, env) {
  const checks = known.map((verdict, at) => verdict ?? JSON.parse(drafted.check(at)));
  const ask = (check) => (typeof check === "string" ? check : verify(check, mount, env));
  return (await Promise.all(checks.map(ask))).join();
}

/** Reads the old side of a change, if that takes no longer than it may; null otherwise, and the request goes on. */
async function oldSide(request, { mount, path, query, arrived }) {
  const asked = lines(request.headers, mount.request_headers);
  const read = attempt(
    () => core.pre_read(mount.index, request.method, path, query, asked, arrived),
    () => null,
  );
  if (!read) return null;
  const [target, ...headers] = read;
  const pairs = headers.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]);
  const stop = new AbortController();
  const whole = async () => {
    const response = await fetch(target, { headers: pairs, redirect: "manual", signal: stop.signal });
    if (response.status === 200) return readAll(response.body, BEFORE_BYTES);
    response.body?.cancel().catch(() => {});
    return null;
  };
  try {
    return await within(BEFORE_MS, whole(), "the old side came too late");
  } catch {
    stop.abort();
    return null;
  }
}

/**
 * Records the intent before the origin sees the request: its event's id, whether that is durable, and whether the request
 * may not pass otherwise. Null if no rule that may apply asks for it.
 */
async function intended(request, env, seen) {
  const { mount, plan } = seen;
  const intent = { id: "unrecorded", durable: false, closed: plan.fail === "closed" };
  const draft = () => {
    const facts = factsOf(request, seen);
    const drafted = facts.intent();
    facts.free();
    return drafted;
  };
  const recorded = async (drafted) => {
    const [event] = await built(mount, env, drafted, draft, draft);
    intent.id = core.event_id(event);
    return deliver(event, mount.tenant, env, { urgent: true, within: INTENT_MS });
  };
  try {
    const drafted = draft();
    if (!drafted) return null;
    intent.closed = drafted.closed();
    intent.durable = await within(INTENT_MS, recorded(drafted), "the intent was not recorded in time");
  } catch (error) {
    failed(error);
  }
  return intent;
}

/** One record of the traffic, a while after the first request that it counts. */
function recordTraffic(env, ctx, now) {
  recording = now;
  const record = async () => {
    await sleep(configured(env).coverage_ms);
    if (recording === now) recording = 0;
    const resets = takeResets();
    for (const mount of configured(env).mounts.values()) {
      const records = attempt(() => core.traffic(mount.index, Date.now(), resets), () => []);
      // All at once, without a pause in which the core could be reset: its counts would go with it.
      const random = () => crypto.getRandomValues(new Uint8Array(84));
      const events = records.flatMap((draft) => draft.build(mount.index, "", random()));
      await Promise.all(events.map((event) => deliver(event, mount.tenant, env)));
    }
  };
  ctx.waitUntil(record().catch(failed));
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

async function readAll(body, cap) {
  const limit = { readers: [], over: false };
  return body ? read(body, cap, limit) : null;
}

/** Scans a stream of events as it passes: what the core kept of it, and whether its end was not seen. */
async function scan(body, limit) {
  if (!body) return { bytes: EMPTY, cut: false };
  const reader = body.getReader();
  limit.readers.push(reader);
  let cut = false;
  try {
    const scanner = new core.Scanner();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        scanner.feed(value);
      }
    } catch (error) {
      if (error instanceof WebAssembly.RuntimeError) throw error;
      cut = true; // the origin or the client broke off
    }
    return { bytes: scanner.finish(), cut: cut || limit.over };
  } catch (error) {
    failed(error);
    reader.cancel().catch(() => {});
    return { bytes: EMPTY, cut: true };
  }
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

/** The plan to capture a request with, or undefined if it is not audited. Every request is counted by this. */
function planned(mount, method, path, query, arrived) {
  const ask = () => mount.plans[mount.plan_of[core.look(mount.index, method, path, query, arrived)]];
  return attempt(ask, () => attempt(ask, () => BLIND));
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
