// The served policy: asked for at most once a minute behind a response, believed only under a trusted signature.
import { adopted, configured, core, failed } from "./core.mjs";

const ASK_EVERY_MS = 60_000;
const WAIT_MS = 5_000;
const MAX_BYTES = 600_000;
const utf8 = new TextEncoder();

const known = new Map(); // tenant -> { etag, asked, refused }

/** Asks for the policies of all tenants if it is time to; the last good one stays whatever comes. */
export function refresh(env, ctx, now) {
  const { policy, tenants } = configured(env);
  if (!policy) return;
  for (const tenant of tenants) {
    const one = known.get(tenant) ?? { etag: null, asked: 0, refused: null };
    if (now - one.asked < Math.min(policy.every_ms ?? ASK_EVERY_MS, ASK_EVERY_MS)) continue;
    one.asked = now;
    known.set(tenant, one);
    ctx.waitUntil(
      pickUp(env, policy, tenant, one).catch((error) => {
        failed(new Error(`the policy of ${tenant} was not picked up: ${error?.message ?? error}`));
      }),
    );
  }
}

async function pickUp(env, policy, tenant, one) {
  const headers = one.etag ? { "if-none-match": one.etag } : {};
  const response = await fetch(policy.url + tenant, { headers, signal: AbortSignal.timeout(WAIT_MS) });
  if (response.status !== 200) {
    await response.body?.cancel();
    if (response.status !== 304 && response.status !== 404) throw new Error(`the backend answered ${response.status}`);
    return;
  }
  const etag = response.headers.get("etag");
  if (etag && etag === one.refused) {
    await response.body?.cancel();
    return;
  }
  try {
    if (Number(response.headers.get("content-length")) > MAX_BYTES) throw new Error("it is too large");
    const note = await response.text();
    if (!(await signed(note))) throw new Error("no trusted key signed it");
    adopted(env, tenant, note);
    one.etag = etag;
  } catch (error) {
    one.refused = etag;
    if (error instanceof WebAssembly.RuntimeError) failed(error);
    throw error;
  }
}

/** Whether a trusted key signed the note. */
async function signed(note) {
  for (const [key, message, signature] of core.policy_signatures(note)) {
    const imported = await crypto.subtle.importKey("raw", key, "Ed25519", false, ["verify"]);
    if (await crypto.subtle.verify("Ed25519", imported, signature, utf8.encode(message))) return true;
  }
  return false;
}
