// Uses the pages as a person would: `web.mjs CHROMIUM URL PICTURES`. Says `"listening"` when something should happen, and at the
// end what was wrong, as JSON. Pictures of pages are left in a folder.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [executablePath, base, pictures] = process.argv.slice(2);
const { EDGETRAIL_API_KEY: key, HOSTILE: hostile } = process.env;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const args = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args });
const problems = [];
const foreign = new Set();
let pages = 0;

function expect(is, words) {
  if (!is) problems.push(words);
}

async function step(name, act) {
  try {
    await act();
  } catch (error) {
    problems.push(`${name}: ${error.message.split("\n").slice(0, 3).join(" ")}`);
  }
}

async function tabIn(options) {
  // axe is put into the page from here, which the pages' own policy forbids.
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, timezoneId: "Europe/Berlin", bypassCSP: true, ...options });
  const tab = await context.newPage();
  tab.setDefaultTimeout(20000);
  tab.on("request", (request) => request.url().startsWith(base) || foreign.add(request.url()));
  tab.on("pageerror", (error) => problems.push(`script: ${error.message}`));
  tab.on("console", (message) => message.type() === "error" && !/status of 40[1349]/.test(message.text()) && problems.push(`console: ${message.text()}`));
  await tab.goto(`${base}/sign-in`);
  await tab.getByLabel("API key").fill(key);
  await tab.getByRole("button", { name: "Sign in" }).click();
  await tab.waitForURL(`${base}/`);
  return tab;
}

async function look(tab, name, parts) {
  pages += 1;
  if (!(await tab.evaluate(() => "axe" in globalThis))) await tab.evaluate(axe);
  const { violations } = await tab.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }));
  for (const { id, nodes } of violations) problems.push(`${name}: ${id}: ${nodes.slice(0, 2).map((node) => `${node.html.slice(0, 160)} ${node.any.map((check) => check.message).join("; ").slice(0, 160)}`).join(" | ")}`);
  const wide = (await tab.evaluate(() => document.documentElement.scrollWidth)) - tab.viewportSize().width;
  expect(wide <= 0, `${name} is ${wide} pixels too wide`);
  const snapshot = await tab.locator("body").ariaSnapshot();
  for (const part of ["banner", "main", ...(parts ?? [])]) expect(snapshot.includes(part), `${name}: no ${part} in the ARIA snapshot: ${snapshot.slice(0, 600)}`);
  await tab.screenshot({ path: join(pictures, `${name}.png`) });
}

// Pages that show the state of things, with what their ARIA snapshots must hold.
const places = [
  ["dashboard", "/dashboard", ['heading "Dashboard"', 'navigation "Time"', 'heading "Health"', 'heading "Agents, last 24 hours"', 'link "Credits used: not seen', 'link "Integrity"', 'link "Losses"', 'group "Events over time', 'group "Sign-ins over time', 'group "Changes over time', 'heading "Actors"', 'heading "Countries"']],
  ["runs", "/runs", ['heading "Runs"', 'combobox "Status"', 'textbox "Agent"', 'link "Support bot"', 'table']],
  ["run", "/runs/run-6", ['heading "Run of', 'heading "Its events"', 'cell "366 (by the answer)"']],
  ["agents", "/agents", ['heading "Agents"', 'heading "In figures"', 'link "agent-7"']],
  ["agent", "/agents/agent-7", ['heading "Agent agent-7"', 'heading "Runs by day"', 'group "Runs over time', 'heading "Intensity', 'cell "not captured"']],
  ["alerts", "/alerts", ['heading "Alerts"', 'heading "Losses', 'heading "Newest first"']],
  ["entities", "/entities", ['heading "Entities"', 'textbox "Id"', 'link "Support bot"']],
  ["actors", "/actors", ['heading "Actors"', 'link "alice@example.com"']],
  ["compliance", "/compliance", ['heading "Compliance"', 'link "SOC 2']],
  ["framework", "/compliance/soc2", ['heading "Controls"', 'link "CSV"', 'heading "Proof"', 'table']],
  ["exports", "/exports", ['heading "Exports"']],
  ["policies", "/policies", ['heading "Policies"']],
  ["retention", "/retention", ['heading "Propose other periods"', 'button "Preview"', 'button "Propose"', 'spinbutton "Standard events, days"']],
  ["access", "/access", ['heading "People"', 'heading "API keys"', 'heading "Signed in"', 'button "Grant"']],
];

const go = (tab, path) => tab.goto(base + path);
const search = (q) => `/?q=${encodeURIComponent(q)}`;

try {
  const tab = await tabIn({ colorScheme: "light" });
  await step("search", async () => {
    await go(tab, "/");
    await look(tab, "search", ['search', "navigation \"Main\"", 'button "Search"']);
    expect((await tab.locator("#rows .row").count()) === 50, "the first page has 50 rows");
    const before = await tab.locator("#rows .row .open").first().getAttribute("href");
    await tab.getByRole("link", { name: "Older" }).click();
    await tab.getByRole("link", { name: "Newest" }).waitFor();
    expect(before !== (await tab.locator("#rows .row .open").first().getAttribute("href")), "the second page is another");
  });
  await step("facets and chips", async () => {
    await go(tab, "/");
    await tab.locator(".facets a.value", { hasText: "failure" }).click();
    await tab.locator(".chips li").waitFor();
    expect((await tab.locator("#q").inputValue()) === "outcome:failure", `a facet adds its term: ${await tab.locator("#q").inputValue()}`);
    await look(tab, "narrowed");
    await tab.getByRole("link", { name: /^Remove/ }).click();
    await tab.waitForURL(`${base}/`);
  });
  await step("a broken search", async () => {
    await go(tab, search("outcom:failure is:failed"));
    expect((await tab.locator("mark").count()) === 1, "the bad part is marked");
    expect((await tab.locator("#rows .row").count()) > 0, "the rest runs");
    await look(tab, "broken");
    await tab.getByRole("link", { name: /^Search with/ }).click();
    await tab.waitForFunction(() => !document.querySelector("mark"));
  });
  await step("nothing found", async () => {
    await go(tab, search("actor:nobody"));
    await tab.getByRole("heading", { name: "No event found" }).waitFor();
    await look(tab, "nothing");
  });
  await step("brush", async () => {
    await go(tab, search("action:AGENT_*"));
    const box = await tab.locator(".chart svg").boundingBox();
    await tab.mouse.move(box.x + box.width * 0.5, box.y + 30);
    await tab.mouse.down();
    await tab.mouse.move(box.x + box.width * 0.8, box.y + 30, { steps: 5 });
    await tab.mouse.up();
    await tab.waitForURL(/after/);
    const q = await tab.locator("#q").inputValue();
    expect(/^action:AGENT_\* after:\S+ before:\S+$/.test(q) && (await tab.locator("mark").count()) === 0, `a brush gives times: ${q}`);
  });
  await step("drawer and event", async () => {
    await go(tab, search("action:AGENT_UPDATED outcome:success entity:agent/agent-7"));
    await tab.locator("#rows .row").first().click();
    await tab.locator("#drawer article.event").waitFor();
    await tab.locator("#drawer .proof.good").waitFor();
    await look(tab, "drawer", ["Verified in your browser"]);
    await tab.keyboard.press("Escape");
    expect(await tab.locator("#drawer").isHidden(), "Escape closes the drawer");
    await go(tab, await tab.locator("#rows .row .open").first().getAttribute("href"));
    await tab.locator(".proof.good").waitFor();
    expect((await tab.locator("table.diff del").allTextContents()).includes("gpt-4"), "the old side is shown");
    expect((await tab.locator("table.diff ins").allTextContents()).includes("gpt-5"), "the new side is shown");
    await look(tab, "event", ["Verified in your browser"]);
  });
  await step("a proof that does not verify", async () => {
    await go(tab, search("action:AGENT_CREATED"));
    const url = await tab.locator("#rows .row .open").first().getAttribute("href");
    await tab.route("**/proof", async (route) => {
      const answer = await route.fetch();
      const line = await answer.json();
      const bytes = Buffer.from(line.opening, "base64");
      bytes[bytes.length - 1] ^= 1;
      await route.fulfill({ response: answer, json: { ...line, opening: bytes.toString("base64") } });
    });
    await go(tab, url);
    await tab.locator(".proof.bad").waitFor();
    await tab.unroute("**/proof");
  });
  await step("keyboard", async () => {
    await go(tab, "/");
    await tab.keyboard.press("Tab");
    expect(await tab.evaluate(() => document.activeElement.className === "skip"), "the first stop skips to the content");
    await tab.keyboard.press("/");
    await tab.keyboard.press("Control+A");
    await tab.keyboard.type("seve");
    await tab.locator("#offer [role=option]").first().waitFor();
    await tab.keyboard.press("ArrowDown");
    await tab.keyboard.press("Enter");
    await tab.keyboard.type(">=warning");
    // Escape is for what is offered, once it is there.
    await tab.waitForLoadState("networkidle");
    await tab.keyboard.press("Escape");
    await tab.keyboard.press("Enter");
    await tab.waitForURL(/severity/);
    await tab.keyboard.press("Escape");
    await tab.locator("main").focus();
    await tab.keyboard.press("j");
    await tab.keyboard.press("j");
    await tab.keyboard.press("k");
    expect(await tab.locator("#rows .row").first().evaluate((row) => row.classList.contains("current")), "j and k move");
    await tab.keyboard.press("Enter");
    await tab.locator("#drawer article.event").waitFor();
    await tab.keyboard.press("Escape");
    await tab.keyboard.press("?");
    await tab.locator("#help[open]").waitFor();
    await look(tab, "help");
    await tab.keyboard.press("Escape");
  });
  await step("times of this place", async () => {
    await go(tab, "/");
    const utc = await tab.locator("#rows time").first().textContent();
    await tab.keyboard.press("u");
    expect(utc !== (await tab.locator("#rows time").first().textContent()), "local times differ in Berlin");
    await tab.keyboard.press("u");
    expect(utc === (await tab.locator("#rows time").first().textContent()), "and back");
  });
  await step("live", async () => {
    await go(tab, `/live?q=${encodeURIComponent("-is:own")}`);
    await tab.getByText("Connected").waitFor();
    console.log(JSON.stringify("listening"));
    await tab.locator("#rows .row").first().waitFor({ timeout: 60000 });
    await tab.waitForTimeout(300);
    expect((await tab.locator("#rows .row").count()) === 1, "one event comes once");
    await look(tab, "live");
  });
  await step("hostile texts", async () => {
    await go(tab, search("trust:asserted"));
    await tab.locator("#rows .row").first().waitFor();
    expect((await tab.locator("main script, main img").count()) === 0, "a row has no element of an event's making");
    await look(tab, "hostile-row");
    await go(tab, await tab.locator("#rows .row .open").first().getAttribute("href"));
    const flat = (text) => text.replace(/\s+/g, " ");
    expect(flat(await tab.locator("main").textContent()).split(flat(hostile)).length > 15, "hostile texts are shown as text");
    expect((await tab.locator("main script, main img").count()) === 0, "an event page has no element of an event's making");
    await look(tab, "hostile-event");
    const links = await tab.locator(".facts a").evaluateAll((all) => all.map((link) => link.getAttribute("href")));
    for (const link of links) {
      const answer = await tab.request.get(base + link);
      expect(answer.status() === 200 && !(await answer.text()).includes("<mark"), `a fact's link is understood: ${link.slice(0, 100)}`);
    }
    for (const link of await tab.locator(".sentence a").evaluateAll((all) => all.map((it) => it.getAttribute("href")).filter(Boolean)))
      expect((await tab.request.get(base + link)).status() === 200, `a link leads somewhere: ${link.slice(0, 100)}`);
    expect(!(await tab.evaluate(() => globalThis.hit)), "nothing of an event ran");
  });
  for (const [name, path] of [["entity", "/entities/agent/agent-7"], ["actor", "/actors/user-alice"], ["coverage", "/coverage"], ["inbox", "/inbox"], ["integrity", "/integrity"], ["streams", "/streams"], ["holds", "/holds"], ["erasures", "/erasures"], ["missing", "/events/none"]]) {
    await step(name, async () => {
      await go(tab, path);
      await look(tab, name);
    });
  }
  for (const [name, path, parts] of places) {
    await step(name, async () => {
      await go(tab, path);
      expect((await tab.locator("main script, main img").count()) === 0, `${name}: an element of an event's making`);
      await look(tab, name, parts);
    });
  }
  await step("figures lead to their searches", async () => {
    await go(tab, "/dashboard?window=30d");
    const shown = Number(await tab.locator(".tiles a").nth(1).textContent());
    await tab.locator(".tiles a").nth(1).click();
    expect((await tab.locator("#q").inputValue()) === "is:failed last:30d", "the figure's search");
    expect(shown > 30 && Number(await tab.locator(".chart figcaption strong").textContent()) === shown, `${shown} failures`);
    await go(tab, "/dashboard?window=30d");
    await tab.locator(".numbers summary").first().click();
    const rows = await tab.locator(".numbers").first().locator("tbody td:last-child").allTextContents();
    const total = Number(await tab.locator(".chart figcaption strong").first().textContent());
    expect(rows.length > 15 && rows.reduce((sum, text) => sum + Number(text), 0) === total, "the numbers add up");
    await look(tab, "dashboard-numbers");
    for (const link of await tab.locator(".ranking a, .tiles a, .key").evaluateAll((all) => all.map((it) => it.getAttribute("href")))) {
      const answer = await tab.request.get(base + link);
      expect(answer.status() === 200 && !(await answer.text()).includes("<mark"), `a figure's link is understood: ${link.slice(0, 100)}`);
    }
  });
  await step("saved searches", async () => {
    const name = hostile.replace(/[\r\n]/g, "").slice(0, 70);
    await go(tab, search("outcome:FAILURE entity:agent"));
    await tab.getByText("Saved searches").click();
    await tab.getByLabel("Name", { exact: true }).fill(name);
    await tab.getByLabel("for everybody of the tenant").check();
    await tab.getByRole("button", { name: "Save this search" }).click();
    await tab.waitForURL(/outcome%3Afailure/);
    await go(tab, "/");
    await tab.getByText("Saved searches").click();
    expect((await tab.locator(".saved .name").allTextContents()).includes(name), "a hostile name is shown as text");
    expect((await tab.locator("main script, main img").count()) === 0, "a name is no element");
    await look(tab, "saved");
    await tab.locator(".saved a").click();
    expect((await tab.locator("#q").inputValue()) === "outcome:failure entity:agent", "the search is in canonical form");
    await tab.getByText("Saved searches").click();
    await tab.getByRole("button", { name: /^Remove the saved search/ }).click();
    await tab.waitForURL(`${base}/`);
    expect((await tab.locator(".saved li").count()) === 0, "it is gone");
  });
  await step("a file that agrees with its manifest", async () => {
    await go(tab, search("action:AGENT_*"));
    const found = Number(await tab.locator(".chart figcaption strong").textContent());
    await tab.locator("main").focus();
    await tab.keyboard.press("e");
    await tab.waitForFunction(() => document.activeElement?.name === "format");
    await look(tab, "export", ['combobox "Format"', 'button "Download now"']);
    await tab.keyboard.press("Tab");
    for (let stops = 0; stops < 8; stops += 1) {
      if (await tab.evaluate(() => document.activeElement.textContent.startsWith("Make a file"))) break;
      await tab.keyboard.press("Tab");
    }
    await tab.keyboard.press("Enter");
    await tab.waitForURL(`${base}/exports`);
    const link = tab.getByRole("link", { name: /^Download/ }).first();
    await link.waitFor({ timeout: 60000 });
    await look(tab, "exports-made", ['link "Manifest']);
    const taken = tab.waitForEvent("download");
    await link.click();
    const bytes = readFileSync(await (await taken).path());
    const manifest = await (await tab.request.get(base + (await tab.getByRole("link", { name: /^Manifest/ }).first().getAttribute("href")))).json();
    expect(manifest.complete && manifest.sha256 === createHash("sha256").update(bytes).digest("hex"), "the file has the manifest's hash");
    const lines = bytes.toString().trimEnd().split("\n");
    expect(manifest.rows === lines.length && lines.length === found, `${manifest.rows} rows, ${lines.length} lines, ${found} found`);
    await go(tab, search("action:AGENT_*"));
    await tab.locator("#export summary").click();
    await tab.getByLabel("Format").selectOption("csv");
    const streamed = tab.waitForEvent("download");
    await tab.getByRole("button", { name: "Download now" }).click();
    const csv = readFileSync(await (await streamed).path(), "utf8");
    expect(csv.split("\r\n").length >= found + 1, "the stream is whole");
  });
  await step("what a rule found", async () => {
    await go(tab, "/alerts");
    const open = tab.getByRole("row", { name: /Many failed sign-ins/ });
    await open.waitFor();
    await open.getByRole("textbox").fill(hostile.replace(/[\r\n]/g, ""));
    await open.getByRole("button").click();
    await tab.waitForFunction(() => ![...document.querySelectorAll("tbody th")].some((cell) => cell.textContent.startsWith("Many failed")));
    expect((await tab.locator("main script, main img").count()) === 0, "a note is no element");
  });
  await step("hostile grants", async () => {
    await go(tab, "/access");
    await tab.getByLabel("E-mail address or subject").fill("<img/src=x/onerror=window.hit=1>@example.com");
    await tab.getByRole("button", { name: "Grant" }).click();
    await tab.getByRole("row", { name: /<img\/src/ }).waitFor();
    expect((await tab.locator("main img").count()) === 0 && !(await tab.evaluate(() => globalThis.hit)), "a grant is text");
    await look(tab, "access-granted");
  });
  await step("only by keyboard", async () => {
    await go(tab, "/dashboard");
    const stop = async (is) => {
      for (let stops = 0; stops < 60; stops += 1) {
        await tab.keyboard.press("Tab");
        if (await tab.evaluate(is)) return true;
      }
      return false;
    };
    expect(await stop(() => document.activeElement.getAttribute("href") === "/compliance"), "the navigation is in the order");
    await tab.keyboard.press("Enter");
    await tab.waitForURL(`${base}/compliance`);
    expect(await stop(() => document.activeElement.getAttribute("href") === "/compliance/soc2"), "a framework is reached");
    await tab.keyboard.press("Enter");
    await tab.waitForURL(/soc2/);
    expect(await stop(() => document.activeElement.matches("td.number a")), "a control's events are reached");
    await tab.keyboard.press("Enter");
    await tab.waitForURL(/\?q=/);
    expect((await tab.locator("mark").count()) === 0, "the control's search is understood");
  });
  await step("dark", async () => {
    const dark = await tabIn({ colorScheme: "dark" });
    for (const [name, path, parts] of places) {
      await go(dark, path);
      await look(dark, `dark-${name}`, parts);
    }
    await go(dark, "/");
    expect((await dark.evaluate(() => getComputedStyle(document.body).backgroundColor)) === "rgb(16, 21, 28)", "dark where the system is");
    await look(dark, "dark-search");
    await go(dark, search("action:AGENT_UPDATED outcome:success"));
    await dark.locator("#rows .row").first().click();
    await dark.locator("#drawer .proof.good").waitFor();
    await look(dark, "dark-drawer");
    await dark.keyboard.press("Escape");
    for (const [name, path] of places.filter(([name]) => ["dashboard", "runs", "run", "agents", "agent"].includes(name))) {
      await go(dark, path);
      await look(dark, `dark-${name}`);
    }
    await dark.keyboard.press("t");
    await go(dark, "/");
    expect((await dark.evaluate(() => getComputedStyle(document.body).backgroundColor)) === "rgb(255, 255, 255)", "the switch is kept");
  });
  await step("narrow", async () => {
    const narrow = await tabIn({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
    for (const [name, path] of [["narrow-search", "/"], ["narrow-live", "/live"], ["narrow-actor", "/actors/user-alice"], ...places.map(([name, path]) => [`narrow-${name}`, path])]) {
      await go(narrow, path);
      await look(narrow, name);
    }
    await go(narrow, "/");
    await narrow.getByRole("button", { name: "Menu" }).click();
    await look(narrow, "narrow-menu", ['navigation "Main"']);
    await narrow.getByRole("link", { name: "Dashboard" }).click();
    await narrow.waitForURL(`${base}/dashboard`);
  });
  await step("without scripts", async () => {
    const context = await browser.newContext({ javaScriptEnabled: false });
    const still = await context.newPage();
    await still.goto(`${base}/sign-in`);
    await still.getByLabel("API key").fill(key);
    await still.getByRole("button", { name: "Sign in" }).click();
    expect((await still.locator("#rows .row").count()) === 50, "rows without scripts");
    await still.locator(".chart svg a").last().click();
    expect((await still.locator("#q").inputValue()).includes("after:"), "a bar is a link");
    await still.locator("#rows .open").first().click();
    expect((await still.locator("article.event h1").count()) === 1, "an event without scripts");
    await still.getByRole("button", { name: "Sign out" }).click();
    await still.goto(`${base}/`);
    expect(still.url().includes("/sign-in"), "signed out");
    await still.screenshot({ path: join(pictures, "sign-in.png") });
  });
} finally {
  await browser.close();
}
console.log(JSON.stringify({ problems, foreign: [...foreign], pages }));
