// <edgetrail-activity src="https://audit.example.com">: somebody's own activity inside an application's page.
//
//   const activity = document.querySelector("edgetrail-activity");
//   activity.getToken = async () => (await supabase.auth.getSession()).data.session?.access_token;
//
// The token is asked for before each request, sent to `src` and kept nowhere. Everything is shown as text. Attributes: `src`,
// `kind` (sign-ins, changes, runs), `limit`. Colours: --edgetrail-ink, --edgetrail-paper, --edgetrail-soft, --edgetrail-line,
// --edgetrail-accent, --edgetrail-accent-ink, --edgetrail-bad; without them as the page's color-scheme says. Letters:
// --edgetrail-font. Events: `edgetrail-disowned`, `edgetrail-error`.

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
  :host { display: block;
    --ink: var(--edgetrail-ink, light-dark(#1b2430, #e4eaf1)); --paper: var(--edgetrail-paper, light-dark(#ffffff, #10151c));
    --soft: var(--edgetrail-soft, light-dark(#566273, #9dabbc)); --line: var(--edgetrail-line, light-dark(#d5dbe3, #2d3846));
    --accent: var(--edgetrail-accent, light-dark(#0b57a4, #7db8f5)); --bad: var(--edgetrail-bad, light-dark(#b3132b, #ff8b98));
    --accent-ink: var(--edgetrail-accent-ink, light-dark(#ffffff, #0b1420));
    color: var(--ink); background: var(--paper); font: 15px/1.5 var(--edgetrail-font, system-ui, sans-serif); }
  :host([hidden]), [hidden] { display: none; }
  h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
  ol { list-style: none; margin: 0; padding: 0; }
  li { display: grid; grid-template-columns: 4.5rem minmax(0, 1fr) auto; gap: .25rem 1rem; padding: .6rem 0; border-top: 1px solid var(--line); }
  p { margin: 0; overflow-wrap: anywhere; }
  time, .soft { color: var(--soft); }
  time { font-variant-numeric: tabular-nums; }
  .told { font-weight: 600; unicode-bidi: isolate; }
  .mark { font-size: .8rem; font-weight: 400; color: var(--soft); border: 1px solid currentColor; border-radius: 999px; padding: 0 .5rem; }
  .mark.bad { color: var(--bad); }
  button { font: inherit; font-size: .9rem; color: var(--ink); background: transparent; border: 1px solid var(--line); border-radius: 6px; padding: .2rem .6rem; cursor: pointer; }
  button.sure { background: var(--accent); border-color: var(--accent); color: var(--accent-ink); }
  button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
  .more { margin-top: .75rem; }
  @media (max-width: 32rem) { li { grid-template-columns: minmax(0, 1fr); } }
`);

function make(name, words, properties = {}) {
  const element = Object.assign(document.createElement(name), properties);
  if (words !== undefined) element.textContent = words;
  return element;
}

class EdgetrailActivity extends HTMLElement {
  static observedAttributes = ["src", "kind", "limit"];
  #token = null;
  #turn = 0;
  #next = null;
  #status = make("p", "", { className: "soft" });
  #list = make("div");
  #more = make("button", "Older", { type: "button", className: "more", hidden: true });

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [sheet];
    const section = make("section");
    section.setAttribute("aria-label", "Your activity");
    this.#status.setAttribute("role", "status");
    this.#more.addEventListener("click", () => this.#load(this.#next));
    section.append(this.#status, this.#list, this.#more);
    shadow.append(section);
  }

  /** Gives the application's token, or a promise of it. Setting it loads the list. */
  get getToken() { return this.#token; }
  set getToken(token) { this.#token = token; this.reload(); }

  connectedCallback() {
    // A property that was set before this script ran hides the accessor.
    if (Object.hasOwn(this, "getToken")) {
      const token = this.getToken;
      delete this.getToken;
      this.#token = token;
    }
    this.reload();
  }

  attributeChangedCallback() { this.reload(); }

  /** Loads the list anew. */
  reload() {
    if (!this.isConnected || typeof this.#token !== "function" || !this.getAttribute("src")) return;
    this.#list.replaceChildren();
    this.#more.hidden = true;
    this.#load(null);
  }

  async #ask(path, parameters, method) {
    const url = new URL(path, this.getAttribute("src"));
    for (const [name, value] of parameters) if (value) url.searchParams.set(name, value);
    const token = await this.#token();
    if (!token) throw new Error("You are not signed in.");
    const answer = await fetch(url, { method, headers: { authorization: `Bearer ${token}` }, credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer" });
    if (answer.ok) return answer.json();
    if (answer.status === 401) throw new Error("Your sign-in is over. Sign in again to see your activity.");
    if (answer.status === 429) throw new Error("That was too often. Try again in a moment.");
    throw new Error("Your activity cannot be shown right now.");
  }

  async #load(cursor) {
    const mine = ++this.#turn;
    this.#say("Loading…");
    try {
      const told = await this.#ask("/v1/me/activity", [["kind", this.getAttribute("kind")], ["limit", this.getAttribute("limit")], ["cursor", cursor]], "GET");
      if (mine !== this.#turn) return;
      const first = this.#list.querySelectorAll("li").length;
      told.activity.forEach((entry) => this.#add(entry));
      this.#next = told.next_cursor;
      this.#more.hidden = !this.#next;
      this.#say(this.#list.childElementCount ? "" : "Nothing was recorded in the last 90 days.");
      // Whoever pressed "Older" goes on reading where the new part begins.
      if (cursor) this.#list.querySelectorAll("li")[first]?.focus();
    } catch (error) {
      if (mine === this.#turn) this.#fail(error);
    }
  }

  #say(words) { this.#status.textContent = words; }

  #fail(error) {
    this.#say(error instanceof TypeError ? "Your activity cannot be reached right now." : error.message);
    this.dispatchEvent(new CustomEvent("edgetrail-error", { detail: { message: error.message } }));
  }

  #add(entry) {
    const at = new Date(entry.at);
    const day = at.toLocaleDateString(undefined, { dateStyle: "long" });
    let list = this.#list.lastElementChild;
    if (this.#list.dataset.day !== day || !list) {
      list = make("ol");
      this.#list.dataset.day = day;
      list.setAttribute("aria-label", day);
      this.#list.append(make("h3", day), list);
    }
    const item = make("li", undefined, { tabIndex: -1 });
    const body = make("div");
    const told = make("p", entry.text, { className: "told" });
    const marks = [
      [entry.outcome === "failure", "failed"], [entry.by === "somebody_else", "not by you"],
      [entry.device?.new, "new device"], [entry.place?.new, "new place"],
    ];
    for (const [is, words] of marks) if (is) told.append(" ", make("span", words, { className: "mark" }));
    const from = [entry.place && `from ${entry.place.name}`, entry.device && `with ${entry.device.name}`, entry.ip && `address ${entry.ip}`];
    body.append(told);
    if (entry.changes) body.append(make("p", entry.changes, { className: "soft" }));
    if (from.some(Boolean)) body.append(make("p", from.filter(Boolean).join(", "), { className: "soft" }));
    item.append(make("time", at.toLocaleTimeString(undefined, { timeStyle: "short" }), { dateTime: entry.at, title: entry.at }), body, this.#denial(entry));
    list.append(item);
  }

  #denial(entry) {
    const place = make("p");
    const said = () => place.replaceChildren(make("span", "You said this was not you", { className: "mark bad" }));
    if (entry.disowned) {
      said();
      return place;
    }
    const ask = make("button", "This wasn’t me", { type: "button" });
    ask.setAttribute("aria-label", `This wasn’t me: ${entry.text}`);
    const sure = make("button", "Yes, it wasn’t me", { type: "button", className: "sure" });
    const no = make("button", "Cancel", { type: "button" });
    ask.addEventListener("click", () => { place.replaceChildren(sure, " ", no); sure.focus(); });
    no.addEventListener("click", () => { place.replaceChildren(ask); ask.focus(); });
    sure.addEventListener("click", async () => {
      sure.disabled = true;
      try {
        const answer = await this.#ask(`/v1/me/activity/${encodeURIComponent(entry.id)}/disown`, [], "POST");
        said();
        this.#say(`Noted: that was not you. ${answer.next}`);
        this.dispatchEvent(new CustomEvent("edgetrail-disowned", { detail: { id: entry.id } }));
      } catch (error) {
        sure.disabled = false;
        this.#fail(error);
      }
    });
    place.append(ask);
    return place;
  }
}

customElements.define("edgetrail-activity", EdgetrailActivity);
