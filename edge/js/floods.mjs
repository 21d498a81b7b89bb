// Floods: beyond the first few of a series within its window, events are counted and told as one. Which events are a
// series is the core's word; here they are numbers only.
import { core, failed, sleep } from "./core.mjs";

const WINDOW_MS = 10_000;
const LATE_MS = 5_000; // after this another request takes over from one that ended before it could tell
const FREE = 20; // events of a series within a window that are told each by itself
const MAX_SERIES = 1_000; // in memory; what does not fit is told by itself
const MAX_CLAIMED = 20; // users that an event for many names

const series = new Map(); // name -> { name, until, seen, count, first_ms, last_ms, claimed }

/**
 * Null if an event of a series is to be told by itself. Otherwise the count that it went into, and whether this one is its
 * `holder`: the one that tells all of them.
 */
export function counted(name, claimed) {
  const now = Date.now();
  let one = series.get(name);
  if (one && now >= one.until && !one.count) {
    series.delete(name);
    one = null;
  }
  if (one && now >= one.until + LATE_MS) {
    one.until = now + WINDOW_MS;
    add(one, now, claimed);
    return { one, holder: true };
  }
  if (!one) {
    if (series.size >= MAX_SERIES) forget(now);
    if (series.size >= MAX_SERIES) return null;
    one = { name, until: now + WINDOW_MS, seen: 0, count: 0, first_ms: now, last_ms: now, claimed: [] };
    series.set(name, one);
  }
  one.seen += 1;
  if (one.seen <= FREE) return null;
  add(one, now, claimed);
  return { one, holder: one.count === 1 };
}

/** The holder's event at the end of the window, as that of all that were counted until then. */
export async function told({ one }, event) {
  await sleep(Math.max(one.until - Date.now(), 0));
  if (series.get(one.name) === one) series.delete(one.name);
  const { count, first_ms, last_ms, claimed } = one;
  if (count === 1) return event;
  const all = JSON.stringify({ count, first_ms, last_ms, claimed });
  const tell = () => core.coalesce(event, all, crypto.getRandomValues(new Uint8Array(32))) ?? event;
  try {
    return tell();
  } catch (error) {
    failed(error);
    return tell();
  }
}

function add(one, now, claimed) {
  if (!one.count) one.first_ms = now;
  one.count += 1;
  one.last_ms = now;
  if (claimed && one.claimed.length < MAX_CLAIMED && !one.claimed.includes(claimed)) one.claimed.push(claimed);
}

function forget(now) {
  for (const [name, one] of series) if (now >= one.until && !one.count) series.delete(name);
}
