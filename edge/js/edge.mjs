// The Worker's sockets, timers and crypto. No policy and no parsing: the wasm core decides, by synchronous calls on
// plain data. Whatever must survive a reset of the core (streams, unsent batches, caches) lives here.
import * as core from "./index.js";

const EMPTY = new Uint8Array(0);
const CAPTURE_MS = 25_000; // waitUntil ends 30 s after the response
const SEND_MS = 10_000; // a send that takes longer has failed
const SILENT_MS = 5_000; // after this another request takes over from a sender
const DELIVER_MS = 28_000; // what is not sent by then stays for the next request
const CONSUME_MS = 60_000; // a consumer that takes longer is retried
const MAX_WAITING = 5_000; // events of one stream in memory: about 5 MB
const MAX_CACHED = 2_000; // verdicts and keys
const JWKS_FRESH_MS = 600_000; // as long as Supabase says its key set may be cached
const JWKS_RETRY_MS = 60_000; // an unknown key id asks again at most this often

const IMPORT = {
  HS256: { name: "HMAC", hash: "SHA-256" },
  ES256: { name: "ECDSA", namedCurve: "P-256" },
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
};
const VERIFY = { HS256: "HMAC", ES256: { name: "ECDSA", hash: "SHA-256" }, RS256: "RSASSA-PKCS1-v1_5" };
const utf8 = new TextEncoder();

let edge = null; // { text, mounts: Map host -> mount, delivery, error }
let signing = null; // { name, id, key: CryptoKey }
const streams = new Map(); // tenant -> stream
const verdicts = new Map(); // mount and token hash -> "valid" | "invalid"
const keys = new Map(); // key text -> CryptoKey
const keySets = new Map(); // url -> { text, at, asked }

export default {
  fetch(request, env, ctx) {
    const arrived = Date.now();
    const { mounts, error } = configured(env);
    if (error) return problem(503, error);
    const url = new URL(request.url);
    const mount = mounts.get(url.host);
    if (!mount) return problem(421, url.host);
    const target = mount.upstream + url.pathname + url.search;
    const headers = mount.forward_client_ip ? forwarded(mount, request) : null;
    const plan = mount.plans[route(mount, request.method, url, env)];
    if (!plan) return fetch(outgoing(target, request, headers));
    return audited(request, env, ctx, { mount, url, target, headers, plan, arrived });
  },

  async queue(batch, env, ctx) {
    try {
      if (configured(env).error) return batch.retryAll({ delaySeconds: 300 });
      const settled = core.queue(batch, env, ctx).then(() => true);
      if (!(await Promise.race([settled, sleep(CONSUME_MS)]))) batch.retryAll({ delaySeconds: 30 });
    } catch (error) {
      failed(error, env);
      batch.retryAll({ delaySeconds: 30 });
    }
  },
};

function outgoing(target, request, headers) {
  const forward = new Request(target, request);
  return headers ? new Request(forward, { headers }) : forward;
}

/** The request's headers with the platform's word on the client's address, and nobody else's. */
function forwarded(mount, request) {
  const headers = new Headers(request.headers);
  for (const name of mount.strip) headers.delete(name);
  try {
    const address = core.client_ip(mount.index, lines(request.headers, mount.request_headers), cf(request));
    if (address) headers.set(mount.forward_client_ip, address);
  } catch (error) {
    failed(error, null);
  }
  return headers;
}

async function audited(request, env, ctx, seen) {
  const { mount, url, target, headers, plan, arrived } = seen;
  const copies = { request: null, response: null, early: null };
  try {
    if (plan[0] && request.body) {
      copies.request = request.clone().body;
      // A body that is not known to be small is read along, so that the copy is cut at the cap and not held whole.
      const length = Number(request.headers.get("content-length") ?? Infinity);
      if (!(length <= plan[0])) copies.early = read(copies.request, plan[0]);
    }
  } catch (error) {
    failed(error, env);
  }
  let response;
  try {
    response = await fetch(outgoing(target, request, headers));
  } catch {
    response = problem(502, url.host);
    record(request, env, ctx, seen, null, copies);
    return response;
  }
  try {
    if (plan[1] && response.body && !response.webSocket) copies.response = response.clone().body;
  } catch (error) {
    failed(error, env);
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
        failed(error, env);
      }),
    );
  } catch (error) {
    release(copies);
    failed(error, env);
  }
}

function release(copies) {
  for (const copy of [copies.request, copies.response]) if (copy && !copy.locked) copy.cancel().catch(() => {});
}

async function capture(request, env, seen, response, copies) {
  const { mount, url, plan, arrived } = seen;
  const requestLines = lines(request.headers, mount.request_headers);
  const responseLines = response ? lines(response.headers, mount.response_headers) : "";
  const [asked, answered] = await Promise.all([
    copies.early ?? read(copies.request, plan[0]),
    read(copies.response, plan[1]),
  ]);
  const exchange = () => {
    const facts = new core.Seen(mount.index, request.method, url.pathname, url.search, requestLines, cf(request), arrived);
    if (response) facts.answered(response.status, responseLines, seen.duration);
    return facts;
  };
  const drafted = attempt(env, exchange, (facts) =>
    facts.inspect(asked.bytes, asked.cut, answered.bytes, answered.cut),
  );
  if (!drafted) return;
  const [draft, checks] = drafted;
  const judged = await Promise.all(JSON.parse(checks).map((check) => verify(check, mount, env)));
  const random = crypto.getRandomValues(new Uint8Array(42));
  const event = attempt(env, exchange, (facts, fallback) =>
    core.build(mount.index, fallback ? facts.fallback()[0] : draft, JSON.stringify(judged), random),
  );
  if (event) await deliver(event, mount.tenant, env);
}

/** Runs a step of the core; if the core stops, it is reset and the step runs once more on a fallback event. */
function attempt(env, exchange, step) {
  try {
    return step(exchange(), false);
  } catch (error) {
    failed(error, env);
    const facts = exchange();
    return step.length > 1 ? step(facts, true) : facts.fallback();
  }
}

/** Up to `cap` bytes of a body copy, which is then cancelled, so that nobody waits for its rest. */
async function read(body, cap) {
  if (!body) return { bytes: EMPTY, cut: false };
  const reader = body.getReader();
  const chunks = [];
  let size = 0;
  let cut = false;
  const late = setTimeout(() => {
    cut = true;
    reader.cancel().catch(() => {});
  }, CAPTURE_MS);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      chunks.push(value.subarray(0, cap - size));
      size += Math.min(value.length, cap - size);
      if (value.length > chunks.at(-1).length) {
        cut = true;
        break;
      }
    }
  } catch {
    cut = true; // the origin or the client broke off
  } finally {
    clearTimeout(late);
    if (cut) reader.cancel().catch(() => {});
  }
  if (chunks.length === 1) return { bytes: chunks[0], cut };
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return { bytes, cut };
}

// --- Signatures of tokens ---

async function verify(check, mount, env) {
  const name = `${mount.index} ${check.key}`;
  const known = verdicts.get(name);
  if (known) return known;
  try {
    const key = check.alg === "HS256" ? await secretKey(mount, env) : await publicKey(check, mount);
    if (!key) return "unavailable";
    const signature = bytesOf(check.signature);
    const valid = await crypto.subtle.verify(VERIFY[check.alg], key, signature, utf8.encode(check.data));
    remember(verdicts, name, valid ? "valid" : "invalid");
    return valid ? "valid" : "invalid";
  } catch (error) {
    console.error(`edgetrail: a token's signature could not be checked: ${error.name}`);
    return "unavailable";
  }
}

async function secretKey(mount, env) {
  const secret = mount.hs256_secret && env[mount.hs256_secret];
  return secret ? imported("raw", utf8.encode(secret), "HS256", `secret ${mount.hs256_secret}`) : null;
}

async function publicKey(check, mount) {
  if (!mount.jwks_url) return null;
  for (const refresh of [false, true]) {
    const set = await keySet(mount.jwks_url, refresh);
    const jwk = set && core.select_key(set, check.alg, check.kid ?? undefined);
    if (jwk) return imported("jwk", JSON.parse(jwk), check.alg, jwk);
  }
  return null;
}

async function imported(format, material, alg, name) {
  const known = keys.get(name);
  if (known) return known;
  const key = await crypto.subtle.importKey(format, material, IMPORT[alg], false, ["verify"]);
  remember(keys, name, key);
  return key;
}

async function keySet(url, refresh) {
  const now = Date.now();
  const known = keySets.get(url);
  const fresh = known?.text && now - known.at < JWKS_FRESH_MS;
  if (fresh && !refresh) return known.text;
  if (known && now - known.asked < (known.text ? JWKS_RETRY_MS : 1_000)) return known.text;
  keySets.set(url, { text: known?.text, at: known?.at ?? 0, asked: now });
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(3_000) });
    if (response.ok) keySets.set(url, { text: await response.text(), at: now, asked: now });
    else await response.body?.cancel();
  } catch (error) {
    console.error(`edgetrail: the key set did not come: ${error.name}`);
  }
  return keySets.get(url).text;
}

// --- Delivery: group commit per tenant ---

/** Ends when the event is accepted, by this request's own sending or another's. Only plain data is shared. */
async function deliver(bytes, tenant, env) {
  const stream = streamOf(tenant);
  const event = { bytes, accepted: false };
  stream.waiting.push(event);
  while (stream.waiting.length > MAX_WAITING) {
    stream.waiting.shift().accepted = true;
    stream.dropped += 1; // declared in the next header
  }
  const deadline = Date.now() + DELIVER_MS;
  const { linger_ms: linger } = edge.delivery;
  await sleep(linger);
  while (!event.accepted && Date.now() < deadline) {
    const idle = !stream.sender || Date.now() - stream.heard > SILENT_MS;
    if (idle) await send(stream, event, env);
    if (!event.accepted) await sleep(Math.max(linger, 20));
  }
}

function streamOf(tenant) {
  if (!streams.has(tenant)) {
    const id = crypto.getRandomValues(new Uint8Array(16));
    streams.set(tenant, { tenant, id, seq: 0, prev: "", dropped: 0, waiting: [], unsent: null, sender: null, heard: 0 });
  }
  return streams.get(tenant);
}

/** Sends batches until `event` is accepted; a failed send keeps its signed bytes, seq and prev. */
async function send(stream, event, env) {
  const turn = {};
  stream.sender = turn;
  stream.heard = Date.now();
  try {
    while (!event.accepted && stream.sender === turn) {
      const batch = (stream.unsent ??= sealed(stream, env));
      batch.framed ??= await signed(batch, env);
      await accepted(batch.framed, env);
      for (const one of batch.events) one.accepted = true;
      if (stream.unsent === batch) stream.unsent = null;
      stream.heard = Date.now();
    }
  } catch (error) {
    failed(error, env);
  } finally {
    if (stream.sender === turn) stream.sender = null;
  }
}

/** Takes seq and prev at once, without a pause in between; only the signature is waited for. */
function sealed(stream, env) {
  const { tenant, id, seq, prev, dropped } = stream;
  const offered = stream.waiting.slice(0, edge.delivery.max_events);
  const [header, hash, body, count] = core.seal(
    tenant, id, seq, prev, Date.now(), dropped, offered.map((event) => event.bytes),
  );
  stream.waiting.splice(0, count);
  Object.assign(stream, { seq: seq + 1, prev: hash, dropped: stream.dropped - dropped });
  return { header, body, events: offered.slice(0, count), framed: null };
}

async function signed(batch, env) {
  if (!signing) {
    const [name, id, pkcs8] = core.signer(env.EDGETRAIL_SIGNING_KEY ?? "");
    signing = { name, id, key: await crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", false, ["sign"]) };
  }
  const signature = await crypto.subtle.sign("Ed25519", signing.key, utf8.encode(batch.header));
  return core.frame(batch.header, signing.name, signing.id, new Uint8Array(signature), batch.body);
}

async function accepted(framed, env) {
  const { direct, url, content_type } = edge.delivery;
  if (!direct) return within(SEND_MS, env.EVENTS.send(framed, { contentType: "bytes" }));
  const headers = { "content-type": content_type };
  const response = await fetch(url, { method: "POST", body: framed, headers, signal: AbortSignal.timeout(SEND_MS) });
  await response.body?.cancel();
  if (response.status !== 200) throw new Error(`the backend answered ${response.status}`);
}

// --- Small things ---

function configured(env) {
  if (edge && edge.text === env.EDGETRAIL_CONFIG) return edge;
  try {
    const plan = JSON.parse(core.configure(env.EDGETRAIL_CONFIG ?? ""));
    const mounts = new Map(plan.mounts.map((mount, index) => [mount.host, { ...mount, index }]));
    edge = { text: env.EDGETRAIL_CONFIG, mounts, delivery: plan.delivery };
  } catch (error) {
    edge = { text: env.EDGETRAIL_CONFIG, mounts: new Map(), error: String(error.message ?? error) };
    console.error(`edgetrail: ${edge.error}`);
  }
  return edge;
}

/** After any throw out of the core: a new instance, configured as before (a stopped one has stale memory). */
function failed(error, env) {
  console.error(`edgetrail: ${error?.name}: ${error instanceof WebAssembly.RuntimeError ? "core reset" : error?.message}`);
  if (!(error instanceof WebAssembly.RuntimeError)) return;
  core.__wbg_reset_state();
  core.configure(env?.EDGETRAIL_CONFIG ?? edge.text);
}

function route(mount, method, url, env) {
  try {
    return core.route(mount.index, method, url.pathname, url.search);
  } catch (error) {
    failed(error, env);
    return core.route(mount.index, method, url.pathname, url.search);
  }
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

function bytesOf(base64url) {
  return Uint8Array.from(atob(base64url.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
}

function remember(map, name, value) {
  if (map.size >= MAX_CACHED) map.delete(map.keys().next().value);
  map.set(name, value);
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("the queue did not answer")), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
