// The wasm core and its life: configured once for each instance, reset after any stop.
import * as core from "./index.js";

export { core };

let edge = null; // { text, mounts: Map host -> mount, delivery, error }

/** The plan of the configuration in force. */
export function configured(env) {
  if (edge && edge.text === env.EDGETRAIL_CONFIG) return edge;
  try {
    const plan = JSON.parse(core.configure(env.EDGETRAIL_CONFIG ?? ""));
    const mounts = new Map(plan.mounts.map((mount, index) => [mount.host, { ...mount, index }]));
    edge = { text: env.EDGETRAIL_CONFIG, mounts, delivery: plan.delivery };
  } catch (error) {
    edge = { text: env.EDGETRAIL_CONFIG, mounts: new Map(), error: String(error?.message ?? error) };
    console.error(`edgetrail: ${edge.error}`);
  }
  return edge;
}

/** After any throw: if the core stopped, a new instance, configured as before (the old one has stale memory). */
export function failed(error) {
  // A RangeError is a stack that ran over: it leaves the instance as broken as a trap does.
  const stopped = error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
  console.error(`edgetrail: ${stopped ? "the core was reset" : `${error?.name}: ${error?.message}`}`);
  if (!stopped) return;
  core.__wbg_reset_state();
  core.configure(edge.text);
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
