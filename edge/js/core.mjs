// The wasm core and its life: configured once for each instance, reset after any stop.
import * as core from "./index.js";

export { core };

let edge = null; // { text, mounts: Map host -> mount, delivery, tenants, policy, error }
let resets = 0; // since the last record of traffic
const policies = new Map(); // tenant -> the signed note in force

/** The plan of the configuration in force. */
export function configured(env) {
  if (edge && edge.text === env.EDGETRAIL_CONFIG) return edge;
  const text = env.EDGETRAIL_CONFIG;
  try {
    edge = planned(env, JSON.parse(core.configure(text ?? "", env.EDGETRAIL_HASH_KEY ?? "")));
  } catch (error) {
    edge = { text, mounts: new Map(), error: String(error?.message ?? error) };
    console.error(`edgetrail: ${edge.error}`);
  }
  return edge;
}

function planned(env, plan) {
  const mounts = new Map(plan.mounts.map((mount, index) => [mount.host, { ...mount, index }]));
  const tenants = [...new Set(plan.mounts.map((mount) => mount.tenant))];
  const { delivery, policy, coverage_ms } = plan;
  return { text: env.EDGETRAIL_CONFIG, hashKey: env.EDGETRAIL_HASH_KEY, mounts, tenants, delivery, policy, coverage_ms };
}

/** Puts a policy whose signature was checked into force. Throws, and leaves everything as it is, if it may not be. */
export function adopted(env, tenant, note) {
  edge = planned(env, JSON.parse(core.adopt(tenant, note)));
  policies.set(tenant, note);
}

/** How often the core was reset since the last call. */
export function takeResets() {
  const taken = resets;
  resets = 0;
  return taken;
}

/** After any throw: if the core stopped, a new instance, configured as before (the old one has stale memory). */
export function failed(error) {
  // A RangeError is a stack that ran over: it leaves the instance as broken as a trap does.
  const stopped = error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
  console.error(`edgetrail: ${stopped ? "the core was reset" : `${error?.name}: ${error?.message}`}`);
  if (!stopped) return;
  resets += 1;
  core.__wbg_reset_state();
  core.configure(edge.text, edge.hashKey ?? "");
  for (const [tenant, note] of policies) core.adopt(tenant, note);
}

export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The promise, or an error in these words once the time is over. */
export async function within(ms, promise, words) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(words)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
