// The same work in JavaScript: capped clones read after the response, JSON, the session cookie and its verified token,
// named fields redacted, a salted SHA-256 for each field, batches under an Ed25519 signature, sent directly. It makes
// the choices that are cheapest in JavaScript: random salts instead of derived ones, verdicts cached by the token.
const CAP = 131072;
const hosts = new Map();
const verdicts = new Map();
const utf8 = new TextEncoder();
let signer = null;
let jwks = null;
let waiting = [];
let sending = false;
let seq = 0;

const SECRET_NAME = /password|passwd|secret|token|api[_-]?key|credential|authorization|cookie|otp|nonce/i;
const SECRET_TEXT =
  /eyJ[\w-]{10,}\.[\w-]{10,}(\.[\w-]+)?|\b(sk|rk|pk_live|ghp|nf_live|sb_secret)[-_][\w-]{16,}|:\/\/[^/@\s]+@|Bearer\s+\S{8,}|\b(?:\d[ -]?){13,19}\b|[\w+/=-]{32,}/g;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export default {
  async fetch(request, env, ctx) {
    if (hosts.size === 0) for (const [host, upstream] of Object.entries(JSON.parse(env.HOSTS))) hosts.set(host, upstream);
    const arrived = Date.now();
    const url = new URL(request.url);
    const upstream = hosts.get(url.host);
    if (!upstream) return new Response(null, { status: 421 });
    const target = upstream + url.pathname + url.search;
    if (request.method !== "POST" || url.pathname !== "/api/create-agent") return fetch(new Request(target, request));
    const asked = request.clone().body;
    const response = await fetch(new Request(target, request));
    const answered = response.clone().body;
    const duration = Date.now() - arrived;
    ctx.waitUntil(capture(request, response, asked, answered, arrived, duration, env));
    return response;
  },
};

async function capture(request, response, asked, answered, arrived, duration, env) {
  const [requestText, responseText] = await Promise.all([read(asked), read(answered)]);
  const before = JSON.parse(requestText);
  const after = JSON.parse(responseText);
  const token = session(request.headers.get("cookie") ?? "");
  const claims = token && JSON.parse(decode(token.split(".")[1]));
  const trust = token && (await verified(token, claims, arrived, env)) ? "verified" : "anonymous";
  const agent = after.agent ?? {};
  const wanted = {
    mode: agent.mode ?? before.agent?.mode,
    status: agent.status ?? before.agent?.status,
    plugins: agent.plugins_required ?? before.agent?.plugins_required,
    plugins_count: (agent.plugins_required ?? []).length,
    has_schedule: Boolean(agent.schedule_cron),
    has_workflow: Boolean(agent.workflow_steps?.length || agent.pilot_steps?.length),
    input_keys: before.input_values && Object.keys(before.input_values),
    error: after.error,
  };
  const structure = {
    tenant: "demo", id: crypto.randomUUID(), occurred_at: arrived, action: "AGENT_CREATED", severity: "info",
    outcome: after.success === false ? "failure" : "success", trust, entity_type: "agent", duration,
    method: request.method, route: "/api/create-agent", rule: "app/agent.create", status: response.status,
  };
  const fields = [
    structure,
    claims && { id: claims.sub, email: claims.email, role: claims.role, aal: claims.aal, method: claims.amr?.[0]?.method },
    { id: redact("id", agent.id), name: redact("name", agent.agent_name ?? before.agent?.agent_name) },
    request.cf?.clientIp,
    redact("user_agent", request.headers.get("user-agent")),
    claims?.session_id,
    redact("", wanted),
  ];
  const seed = crypto.getRandomValues(new Uint8Array(16 * fields.length));
  const commitments = await Promise.all(
    fields.map(async (field, tag) => {
      if (field === undefined || field === null) return null;
      const value = utf8.encode(JSON.stringify(field));
      const bytes = new Uint8Array(20 + value.length);
      bytes.set([0, tag, 1, 0]);
      bytes.set(seed.subarray(16 * tag, 16 * tag + 16), 4);
      bytes.set(value, 20);
      return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    }),
  );
  const joined = new Uint8Array(32 * fields.length);
  commitments.forEach((commitment, tag) => commitment && joined.set(commitment, 32 * tag));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", joined));
  await deliver({ digest: hex(digest), seed: hex(seed), fields }, env);
}

async function read(body) {
  if (!body) return "null";
  const reader = body.getReader();
  const chunks = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    size += value.length;
    if (size > CAP) {
      reader.cancel().catch(() => {});
      break;
    }
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return new TextDecoder().decode(bytes);
}

function redact(name, value) {
  if (value === undefined || value === null) return value;
  if (SECRET_NAME.test(name) && typeof value !== "number") return "[masked]";
  if (typeof value === "string") {
    return value.slice(0, 4000).replace(SECRET_TEXT, (found) => (UUID.test(found) ? found : "[masked]")).slice(0, 1000);
  }
  if (Array.isArray(value)) return value.map((item) => redact(name, item));
  if (typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redact(key, item)]));
  }
  return value;
}

function session(header) {
  for (const pair of header.split(";")) {
    const [name, value] = pair.trim().split("=");
    if (name.startsWith("sb-") && name.endsWith("-auth-token") && value?.startsWith("base64-")) {
      return JSON.parse(decode(value.slice(7))).access_token;
    }
  }
  return null;
}

async function verified(token, claims, at, env) {
  if (!verdicts.has(token)) {
    jwks ??= await (await fetch(env.JWKS_URL)).json();
    const [header, payload, signature] = token.split(".");
    const { kid } = JSON.parse(decode(header));
    const { kty, crv, x, y } = jwks.keys.find((key) => key.kid === kid);
    const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
    const key = await crypto.subtle.importKey("jwk", { kty, crv, x, y }, algorithm, false, ["verify"]);
    const valid = await crypto.subtle.verify(algorithm, key, bytesOf(signature), utf8.encode(`${header}.${payload}`));
    verdicts.set(token, valid);
  }
  return verdicts.get(token) && claims.exp * 1000 > at;
}

async function deliver(event, env) {
  const entry = { event, accepted: false };
  waiting.push(entry);
  await sleep(100);
  while (!entry.accepted) {
    if (sending) {
      await sleep(100);
      continue;
    }
    sending = true;
    try {
      while (!entry.accepted) {
        const batch = waiting.splice(0, 100);
        signer ??= await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
        const header = `batch ${seq++} ${Date.now()} ${batch.map((one) => one.event.digest).join("")}`;
        const signature = await crypto.subtle.sign("Ed25519", signer.privateKey, utf8.encode(header));
        const body = JSON.stringify({ header, signature: hex(new Uint8Array(signature)), events: batch.map((one) => one.event) });
        const response = await fetch(env.INGEST_URL, { method: "POST", body });
        await response.body?.cancel();
        for (const one of batch) one.accepted = true;
      }
    } finally {
      sending = false;
    }
  }
}

function decode(base64url) {
  return new TextDecoder().decode(bytesOf(base64url));
}

function bytesOf(base64url) {
  return Uint8Array.from(atob(base64url.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
}

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
