// What makes the pages quicker to use. Every page is complete without it.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const root = document.documentElement;

function remember(name, value) {
  document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=lax`;
}

// Times: the server writes UTC; this place's own are written over it.
function showTimes(within = document) {
  const local = root.dataset.zone === "local";
  for (const time of $$("time[datetime]", within)) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const two = (number) => String(number).padStart(2, "0");
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    time.dataset.utc ??= time.textContent;
    time.textContent = local ? `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}` : time.dataset.utc;
    time.title = local ? `${time.dataset.utc} UTC` : `${at.toLocaleString()} here`;
  }
}

const zone = $("#zone");
function turnZone() {
  const next = root.dataset.zone === "local" ? "utc" : "local";
  root.dataset.zone = next;
  remember("zone", next);
  labelSwitches();
  showTimes();
}
const theme = $("#theme");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
function turnTheme() {
  root.dataset.theme = isDark() ? "light" : "dark";
  remember("theme", root.dataset.theme);
  labelSwitches();
}
function labelSwitches() {
  zone.textContent = root.dataset.zone === "local" ? "Local time" : "UTC";
  zone.setAttribute("aria-label", `Times in ${root.dataset.zone === "local" ? "local time" : "UTC"}; change`);
  theme.textContent = isDark() ? "Dark" : "Light";
  theme.setAttribute("aria-label", `${isDark() ? "Dark" : "Light"} colours; change`);
}
const help = $("#help");
zone.hidden = theme.hidden = $("#help-button").hidden = false;
zone.addEventListener("click", turnZone);
theme.addEventListener("click", turnTheme);
$("#help-button").addEventListener("click", () => help.showModal());
labelSwitches();
showTimes();

// Rows: j and k move, Enter opens, in a drawer where there is one.
const drawer = $("#drawer");
let current = -1;
const rows = () => $$("#rows .row");
function select(to) {
  const all = rows();
  if (!all.length) return;
  all[current]?.classList.remove("current");
  current = Math.max(0, Math.min(all.length - 1, to));
  all[current].classList.add("current");
  all[current].scrollIntoView({ block: "nearest" });
  $(".open", all[current]).focus({ preventScroll: true });
  if (drawer && !drawer.hidden) open($(".open", all[current]).href);
}

let asked = 0;
async function open(url) {
  if (!drawer) { location.href = url; return; }
  const mine = ++asked;
  const answer = await fetch(url).catch(() => null);
  if (mine !== asked) return;
  const page = answer?.ok && !answer.redirected ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
  const event = page && $("article.event", page);
  if (!event) { location.href = url; return; }
  const bar = document.createElement("div");
  bar.className = "bar";
  const link = document.createElement("a");
  link.href = url;
  link.textContent = "Open as a page";
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", shut);
  bar.append(link, close);
  const wasHidden = drawer.hidden;
  drawer.replaceChildren(bar, document.adoptNode(event));
  drawer.hidden = false;
  drawer.scrollTop = 0;
  if (wasHidden) close.focus();
  showTimes(drawer);
  checkProof(drawer);
}
function shut() {
  if (!drawer || drawer.hidden) return false;
  drawer.hidden = true;
  drawer.replaceChildren();
  const row = rows()[current];
  if (row) $(".open", row).focus();
  return true;
}
document.addEventListener("click", (click) => {
  const row = click.target.closest("#rows .row");
  if (!row || click.metaKey || click.ctrlKey || click.shiftKey || click.button !== 0) return;
  const link = click.target.closest("a");
  if (link && !link.classList.contains("open")) return;
  if (!link && String(getSelection())) return;
  click.preventDefault();
  const all = rows();
  all[current]?.classList.remove("current");
  current = all.indexOf(row);
  row.classList.add("current");
  open($(".open", row).href);
});

document.addEventListener("keydown", (press) => {
  if (press.metaKey || press.ctrlKey || press.altKey) return;
  if (press.key === "Escape") {
    if (!help.open && shut()) press.preventDefault();
    else if (document.activeElement?.id === "q") document.activeElement.blur();
    return;
  }
  if (help.open || press.target.closest("input, textarea, select")) return;
  const act = {
    "/": () => { const q = $("#q"); if (q) { q.focus(); q.select(); } else location.href = "/"; },
    j: () => select(current + 1),
    k: () => select(current - 1),
    e: () => { const tool = $("#export"); if (tool) { tool.open = true; $("select, input:not([type=hidden])", tool)?.focus(); } },
    u: turnZone,
    t: turnTheme,
    "?": () => help.showModal(),
  }[press.key];
  if (act) { press.preventDefault(); act(); }
});

// Charts: drag over bars to look at their time alone.
for (const figure of $$(".chart")) {
  const chart = $("svg", figure);
  const brush = $(".brush", chart);
  if (!brush) continue;
  const bars = chart.viewBox.baseVal.width;
  const [from, to] = $$(".axis time", figure).map((time) => Date.parse(time.dateTime));
  const at = (pointer) => {
    const box = chart.getBoundingClientRect();
    return Math.max(0, Math.min(bars, ((pointer.clientX - box.left) / box.width) * bars));
  };
  let began = null;
  let moved = false;
  const paint = (one, other) => {
    brush.setAttribute("x", Math.min(one, other));
    brush.setAttribute("width", Math.abs(one - other));
  };
  chart.addEventListener("pointerdown", (pointer) => {
    if (pointer.button !== 0) return;
    began = at(pointer);
    moved = false;
  });
  chart.addEventListener("dragstart", (drag) => drag.preventDefault());
  addEventListener("pointermove", (pointer) => {
    if (began === null) return;
    if (Math.abs(at(pointer) - began) > 0.5) moved = true;
    if (moved) paint(began, at(pointer));
  });
  addEventListener("pointerup", (pointer) => {
    if (began === null) return;
    const [one, other] = [Math.floor(Math.min(began, at(pointer))), Math.ceil(Math.max(began, at(pointer)))];
    began = null;
    if (!moved) return;
    const time = (bar) => new Date(from + ((to - from) * bar) / bars).toISOString();
    const base = figure.dataset.timeless;
    location.href = `/?q=${encodeURIComponent(`${base} after:${time(one)} before:${time(other)}`.trim())}`;
  });
  chart.addEventListener("click", (click) => moved && click.preventDefault(), true);
}

// Completion: what the word that is being written could become.
const q = $("#q");
const offer = $("#offer");
if (q && offer) {
  let told = null;
  let chosen = -1;
  let turn = 0;
  q.setAttribute("role", "combobox");
  q.setAttribute("aria-autocomplete", "list");
  q.setAttribute("aria-controls", "offer");
  q.setAttribute("aria-expanded", "false");
  const bytes = (text) => new TextEncoder().encode(text).length;
  const hide = () => {
    offer.hidden = true;
    chosen = -1;
    q.setAttribute("aria-expanded", "false");
    q.removeAttribute("aria-activedescendant");
  };
  const choose = (to) => {
    const options = $$("[role=option]", offer);
    chosen = (to + options.length) % options.length;
    options.forEach((option, place) => option.setAttribute("aria-selected", String(place === chosen)));
    options[chosen].scrollIntoView({ block: "nearest" });
    q.setAttribute("aria-activedescendant", options[chosen].id);
  };
  const take = (word) => {
    const all = new TextEncoder().encode(q.value);
    const part = (begin, end) => new TextDecoder().decode(all.slice(begin, end));
    const before = part(0, told.start) + word;
    q.value = before + part(told.end) + (word.endsWith(":") ? "" : part(told.end) ? "" : " ");
    const place = before.length + (word.endsWith(":") ? 0 : 1);
    q.setSelectionRange(place, place);
    hide();
  };
  const ask = async () => {
    const mine = ++turn;
    const place = bytes(q.value.slice(0, q.selectionStart));
    const answer = await fetch(`/complete?q=${encodeURIComponent(q.value)}&at=${place}`).catch(() => null);
    if (!answer?.ok || mine !== turn) return;
    told = await answer.json();
    if (mine !== turn || document.activeElement !== q) return;
    const words = told.start === told.end && !q.value ? [] : told.words.slice(0, 12);
    offer.replaceChildren(...words.map((word, place) => {
      const option = document.createElement("div");
      option.id = `offer-${place}`;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.textContent = word;
      option.addEventListener("pointerdown", (press) => { press.preventDefault(); take(word); });
      return option;
    }));
    hide();
    offer.hidden = !words.length;
    q.setAttribute("aria-expanded", String(!offer.hidden));
  };
  q.addEventListener("input", ask);
  q.addEventListener("blur", hide);
  q.addEventListener("keydown", (press) => {
    if (offer.hidden) return;
    if (press.key === "ArrowDown") choose(chosen + 1);
    else if (press.key === "ArrowUp") choose(chosen < 0 ? -1 : chosen - 1);
    else if ((press.key === "Enter" || press.key === "Tab") && chosen >= 0) take($$("[role=option]", offer)[chosen].textContent);
    else if (press.key === "Escape") { hide(); press.stopPropagation(); } else return;
    press.preventDefault();
  });
}

// Files that are being made: the list looks again until there is none.
const files = $("#exports");
async function lookAgain() {
  const answer = await fetch(files.dataset.busy).catch(() => null);
  const page = answer?.ok && !answer.redirected ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
  const list = page && $("#exports", page);
  if (list) {
    files.replaceChildren(...document.adoptNode(list).childNodes);
    showTimes(files);
  }
  if (!list || list.dataset.busy) setTimeout(lookAgain, 2000);
}
if (files?.dataset.busy) setTimeout(lookAgain, 1000);

// Live: rows as they come. The browser comes back by itself, with the place up to which it was told.
const live = $("[data-live]");
if (live) {
  const state = $("#live-state");
  const pause = $("#pause");
  const most = 500;
  let held = null;
  let count = 0;
  const source = new EventSource(live.dataset.live);
  const say = () => { state.textContent = held ? `Paused; ${held.length} waiting` : `Connected; ${count} since this page was opened`; };
  const add = (html) => {
    const item = document.createElement("li");
    item.append(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
    $(".row", item)?.classList.add("fresh");
    showTimes(item);
    live.prepend(item);
    if (current >= 0) current += 1;
    while (live.children.length > most) live.lastChild.remove();
  };
  source.addEventListener("open", say);
  source.addEventListener("message", (message) => {
    count += 1;
    const html = JSON.parse(message.data);
    if (held) held.push(html); else add(html);
    say();
  });
  source.addEventListener("error", () => {
    state.textContent = source.readyState === EventSource.CLOSED ? "The server refuses this; load the page again" : "Connecting again…";
  });
  pause.hidden = false;
  pause.addEventListener("click", () => {
    if (held) { const waiting = held; held = null; waiting.forEach(add); } else held = [];
    pause.textContent = held ? "Go on" : "Pause";
    say();
  });
}

// Proofs: the stored bytes of an event hash to an entry, the entry leads to a root, and a key of the log signed that root.
const sha256 = async (...parts) => new Uint8Array(await crypto.subtle.digest("SHA-256", joined(parts)));
const ascii = (text) => new TextEncoder().encode(text);
const fromBase64 = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
const isSame = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);
const u16 = (number) => Uint8Array.of(number >> 8, number & 255);

function joined(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => { all.set(part, at); return at + part.length; }, 0);
  return all;
}

class Bytes {
  constructor(bytes) { this.bytes = bytes; this.at = 0; }
  take(count) {
    if (this.at + count > this.bytes.length) throw new Error("the stored bytes are cut off");
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
  number(count) { return this.take(count).reduce((sum, byte) => sum * 256 + byte, 0); }
}

// The digest of an opening, whole (1) or with erased values (2): shared/src/leaf says how it is made.
async function digestOf(opening) {
  const bytes = new Bytes(opening);
  const version = bytes.number(1);
  if (version !== 1 && version !== 2) throw new Error("the stored bytes are of an unknown version");
  const seed = version === 1 ? await crypto.subtle.importKey("raw", bytes.take(32), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]) : null;
  const count = bytes.number(1);
  const parts = [ascii("audit/event/v1\0"), u16(count)];
  for (let field = 0; field < count; field += 1) {
    const tag = u16(bytes.number(2));
    const type = bytes.take(1);
    if (!seed && type[0] === 0) { parts.push(tag, bytes.take(32)); continue; }
    const salt = seed ? new Uint8Array(await crypto.subtle.sign("HMAC", seed, tag)).slice(0, 16) : bytes.take(16);
    const length = bytes.take(4);
    const value = bytes.take(new DataView(length.buffer, length.byteOffset).getUint32(0));
    parts.push(tag, await sha256(ascii("audit/field/v1\0"), tag, salt, type, length, value));
  }
  if (bytes.at !== opening.length) throw new Error("bytes stand behind the event");
  return sha256(...parts);
}

// RFC 9162, section 2.1.3.2.
async function rootOf(entry, index, size, hashes) {
  let [place, last] = [index, size - 1];
  let hash = await sha256(Uint8Array.of(0), entry);
  for (const other of hashes) {
    if (last === 0) throw new Error("the proof is too long");
    if (place % 2 === 1 || place === last) {
      hash = await sha256(Uint8Array.of(1), other, hash);
      while (place % 2 === 0 && place !== 0) [place, last] = [place / 2, Math.floor(last / 2)];
    } else hash = await sha256(Uint8Array.of(1), hash, other);
    [place, last] = [Math.floor(place / 2), Math.floor(last / 2)];
  }
  if (last !== 0) throw new Error("the proof is too short");
  return hash;
}

async function isSigned(note, keys) {
  const end = note.indexOf("\n\n");
  const text = ascii(note.slice(0, end + 1));
  for (const line of note.slice(end + 2).split("\n")) {
    const [dash, name, signature] = line.split(" ");
    for (const key of keys) {
      const [of, , ...rest] = key.split("+");
      if (dash !== "—" || of !== name) continue;
      const raw = fromBase64(rest.join("+")).slice(1);
      const known = await crypto.subtle.importKey("raw", raw, "Ed25519", false, ["verify"]);
      if (await crypto.subtle.verify("Ed25519", known, fromBase64(signature).slice(4), text)) return true;
    }
  }
  return false;
}

async function verified(line) {
  const [head, note] = [line.proof.slice(0, line.proof.indexOf("\n\n")), line.proof.slice(line.proof.indexOf("\n\n") + 2)];
  const lines = head.split("\n").slice(1).filter((text) => !text.startsWith("extra "));
  const index = Number(lines[0].replace("index ", ""));
  const entry = fromBase64(line.entry);
  if (!isSame(await digestOf(fromBase64(line.opening)), entry.subarray(10))) throw new Error("the stored bytes are not those that the log holds");
  const [origin, size, root] = note.split("\n");
  if (origin !== line.origin) throw new Error("the head is of another log");
  if (!isSame(await rootOf(entry, index, Number(size), lines.slice(1).map(fromBase64)), fromBase64(root))) throw new Error("the proof does not lead to the signed root");
  if (!(await isSigned(note, line.verifier_keys))) throw new Error("no key of the log signed this head");
  return { index, size: Number(size) };
}

async function checkProof(within = document) {
  const badge = $("[data-proof]", within);
  if (!badge) return;
  const link = $("a", badge);
  const say = (kind, words) => {
    badge.classList.remove("good", "bad");
    if (kind) badge.classList.add(kind);
    const word = document.createElement("span");
    word.textContent = words;
    link.textContent = "Proof";
    badge.replaceChildren(word, link);
  };
  if (!globalThis.crypto?.subtle) return say("", "Not checked here: browsers verify signatures on https pages only.");
  const answer = await fetch(badge.dataset.proof).catch(() => null);
  if (answer?.status === 409) return say("", "Not in the log yet: the next signed head will cover it.");
  if (!answer?.ok) return say("", "The proof could not be fetched.");
  try {
    const { index, size } = await verified(await answer.json());
    say("good", `Verified in your browser: entry ${index} of the signed head of ${size}, under the key that this server names.`);
  } catch (error) {
    say("bad", `Does not verify: ${error.message}. Keep this proof, and check the log with a bundle offline.`);
  }
}
checkProof();
