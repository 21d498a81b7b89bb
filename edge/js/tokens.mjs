// Signatures of tokens, checked by the platform's crypto. A verdict is cached under the token's hash.
import { core, sleep } from "./core.mjs";

const MAX_CACHED = 2_000; // verdicts and keys
const JWKS_FRESH_MS = 600_000; // as long as Supabase says its key set may be cached
const JWKS_RETRY_MS = 60_000; // an unknown key id asks again at most this often
const JWKS_WAIT_MS = 3_000;

const IMPORT = {
  HS256: { name: "HMAC", hash: "SHA-256" },
  ES256: { name: "ECDSA", namedCurve: "P-256" },
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
};
const VERIFY = { HS256: "HMAC", ES256: { name: "ECDSA", hash: "SHA-256" }, RS256: "RSASSA-PKCS1-v1_5" };
const utf8 = new TextEncoder();

const verdicts = new Map(); // mount and token hash -> "valid" | "invalid"
const keys = new Map(); // key text -> CryptoKey
const keySets = new Map(); // url -> { text, at, asked, asking }

/** The verdict of that name, if it is known. */
export function verdict(name, mount) {
  return verdicts.get(`${mount.index} ${name}`);
}

/** The verdict on one check: valid, invalid, or unavailable where no key is to be had. */
export async function verify(check, mount, env) {
  const name = `${mount.index} ${check.key}`;
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
  const known = await settled(url, refresh);
  const now = Date.now();
  const fresh = known?.text && now - known.at < JWKS_FRESH_MS;
  if (fresh && !refresh) return known.text;
  if (known && now - known.asked < (known.text ? JWKS_RETRY_MS : 1_000)) return known.text;
  const set = { text: known?.text, at: known?.at ?? 0, asked: now, asking: true };
  keySets.set(url, set);
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(JWKS_WAIT_MS) });
    if (response.ok) Object.assign(set, { text: await response.text(), at: now });
    else await response.body?.cancel();
  } catch (error) {
    console.error(`edgetrail: the key set did not come: ${error.name}`);
  }
  set.asking = false;
  return set.text;
}

/**
 * What is known of a key set; where that is not enough and somebody asks for it already, once they have their answer. By a
 * timer of one's own: a request that ends takes its promises along.
 */
async function settled(url, refresh) {
  for (;;) {
    const known = keySets.get(url);
    const enough = !known?.asking || (known.text && !refresh);
    if (enough || Date.now() - known.asked >= JWKS_WAIT_MS) return known;
    await sleep(10);
  }
}

function bytesOf(base64url) {
  return Uint8Array.from(atob(base64url.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
}

function remember(map, name, value) {
  if (map.size >= MAX_CACHED) map.delete(map.keys().next().value);
  map.set(name, value);
}
