// Delivery: group commit per tenant. While one request sends, the events of others gather for the next batch.
import { configured, core, failed, sleep, within } from "./core.mjs";

const SEND_MS = 10_000; // a send that takes longer has failed
const SILENT_MS = 5_000; // after this another request takes over from a sender
const DELIVER_MS = 28_000; // waitUntil ends after 30 s; what is not sent by then stays for the next request
const LONGEST_PAUSE_MS = 5_000; // after failed sends; the first pause is a quarter of a second
const LONGEST_WAIT_MS = 60_000; // however long the backend asks to wait
const REFUSED = [400, 409, 413, 415]; // the same bytes will never be taken
const MAX_WAITING = 5_000; // events of one stream in memory: about 5 MB
const utf8 = new TextEncoder();

const streams = new Map(); // tenant -> stream
let signing = null; // { name, id, key: CryptoKey }

/**
 * Ends when the event is accepted, by this request's own sending or another's, or after `within` ms; whether it was.
 * Only plain data is shared. An `urgent` event does not wait for company.
 */
export async function deliver(bytes, tenant, env, { urgent = false, within: limit = DELIVER_MS } = {}) {
  const stream = streamOf(tenant);
  const event = { bytes, accepted: false };
  stream.waiting.push(event);
  while (stream.waiting.length > MAX_WAITING) {
    stream.waiting.shift().accepted = true;
    stream.dropped += 1; // declared in the next header
  }
  const linger = urgent ? 0 : configured(env).delivery.linger_ms;
  if (!urgent) await sleep(linger);
  if (event.accepted) return true; // most are: somebody who waited longer took it along, and no timer was needed
  const end = { over: false };
  const timer = setTimeout(() => (end.over = true), limit - linger);
  while (!event.accepted && !end.over) {
    const idle = !stream.sender || since(stream.heard) > SILENT_MS;
    if (idle && since(stream.failed) >= stream.pause) await send(stream, event, env);
    if (!event.accepted) await sleep(Math.max(linger, 20));
  }
  clearTimeout(timer);
  return event.accepted;
}

/** Milliseconds since a time of day; very long ago if that is to come: then the clock was set back meanwhile. */
function since(time) {
  const past = Date.now() - time;
  return past < 0 ? Infinity : past;
}

function streamOf(tenant) {
  if (!streams.has(tenant)) {
    const id = crypto.getRandomValues(new Uint8Array(16));
    const unbroken = { waiting: [], unsent: null, sender: null, heard: 0, failures: 0, failed: 0, pause: 0 };
    streams.set(tenant, { tenant, id, seq: 0, prev: "", dropped: 0, ...unbroken });
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
      const kept = await accepted(batch.framed, env);
      if (stream.unsent === batch) {
        stream.unsent = null;
        if (!kept) stream.dropped += batch.events.length;
      }
      for (const one of batch.events) one.accepted = true;
      Object.assign(stream, { heard: Date.now(), failures: 0 });
    }
  } catch (error) {
    failed(error);
    const pause = Math.min(250 * 2 ** stream.failures++, LONGEST_PAUSE_MS);
    Object.assign(stream, { failed: Date.now(), pause: Math.max(pause, error.wait_ms ?? 0) });
  } finally {
    if (stream.sender === turn) stream.sender = null;
  }
}

/** Takes seq and prev at once, without a pause in between; only the signature is waited for. */
function sealed(stream, env) {
  const { tenant, id, seq, prev, dropped } = stream;
  const offered = stream.waiting.slice(0, configured(env).delivery.max_events);
  const bytes = offered.map((event) => event.bytes);
  const [header, hash, body, count] = core.seal(tenant, id, seq, prev, Date.now(), dropped, bytes);
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

/** Whether the batch is in good hands; false if it never can be. Anything else is an error and tried again. */
async function accepted(framed, env) {
  const { direct, url, content_type } = configured(env).delivery;
  if (!direct) {
    // A copy: the platform takes the bytes that it is given away from us, also where it fails to send them.
    await within(SEND_MS, env.EVENTS.send(framed.slice(), { contentType: "bytes" }), "the queue did not answer");
    return true;
  }
  const headers = { "content-type": content_type };
  const response = await fetch(url, { method: "POST", body: framed, headers, signal: AbortSignal.timeout(SEND_MS) });
  await response.body?.cancel();
  if (response.status === 200) return true;
  const error = new Error(`the backend answered ${response.status}`);
  const wait = response.status === 429 ? Number(response.headers.get("retry-after")) : 0;
  error.wait_ms = Math.min(wait * 1_000 || 0, LONGEST_WAIT_MS);
  if (!REFUSED.includes(response.status)) throw error;
  failed(error);
  return false;
}
