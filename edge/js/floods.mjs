// Floods: beyond the first few of a series within its window, events are counted into one draft and sent as one.
// Which events are a series, and what two of them become, is the core's word.
import { core } from "./core.mjs";

const WINDOW_MS = 10_000;
const LATE_MS = 5_000; // after this another request takes over from one that ended before it could send
const FREE = 20; // events of a series within a window that are sent each by itself
const MAX_SERIES = 1_000; // in memory; what does not fit is sent by itself

const series = new Map(); // name -> { until, seen, drafted }

/**
 * What becomes of a drafted event `[draft, checks]` of a series: itself, if it is to be sent; a promise of all that were
 * counted, for the first one that is; null for the others, which that one stands for.
 */
export function coalesced(name, drafted) {
  const now = Date.now();
  let one = series.get(name);
  if (one?.drafted && now >= one.until + LATE_MS) {
    const left = one.drafted[0];
    one = { until: now + WINDOW_MS, seen: FREE, drafted: null };
    series.set(name, one);
    drafted = [core.coalesce(left, drafted[0]), drafted[1]];
  }
  if (one && now >= one.until && !one.drafted) {
    series.delete(name);
    one = null;
  }
  if (!one) {
    if (series.size >= MAX_SERIES) forget(now);
    if (series.size >= MAX_SERIES) return drafted;
    one = { until: now + WINDOW_MS, seen: 0, drafted: null };
    series.set(name, one);
  }
  one.seen += 1;
  if (one.seen <= FREE) return drafted;
  if (one.drafted) {
    one.drafted = [core.coalesce(one.drafted[0], drafted[0]), drafted[1]];
    return null;
  }
  one.drafted = drafted;
  return new Promise((resolve) => {
    setTimeout(() => {
      if (series.get(name) === one) series.delete(name);
      resolve(one.drafted);
    }, one.until - now);
  });
}

function forget(now) {
  for (const [name, one] of series) if (now >= one.until && !one.drafted) series.delete(name);
}
