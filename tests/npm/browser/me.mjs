// Looks at one's own activity as a person would, on the server's pages and inside another site's: `me.mjs CHROMIUM URL PORT PICTURES`.
// The other site is served here, on PORT. At the end it says what was wrong, as JSON.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [executablePath, base, port, pictures] = process.argv.slice(2);
const { TOKEN: token, OVER: over, HOSTILE: hostile } = process.env;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const app = `http://127.0.0.1:${port}`;
const problems = [];

// The five lines that an application adds.
const embedding = `<script type="module" src="${base}/assets/edgetrail-activity.js"></script>
<edgetrail-activity src="${base}"></edgetrail-activity>
<script>document.querySelector("edgetrail-activity").getToken = async () => window.token;</script>`;
const site = createServer((request, response) => {
  response.setHeader("content-type", "text/html; charset=utf-8");
  // A site with a policy of its own: no inline style, and this server alone beside itself.
  response.setHeader("content-security-policy", `default-src 'none'; script-src 'self' 'unsafe-inline' ${base}; connect-src ${base}; style-src 'self'`);
  response.end(`<!doctype html><html lang="en"><head><meta name="color-scheme" content="light dark"><title>The app</title></head><body><main><h1>Account</h1><h2>Security</h2>
<script>window.token = ${JSON.stringify(request.url === "/over" ? over : token)}</script>${embedding}</main></body></html>`);
});
await new Promise((done) => site.listen(Number(port), "127.0.0.1", done));
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });

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
  const context = await browser.newContext({ viewport: { width: 1100, height: 860 }, timezoneId: "Europe/Berlin", ...options });
  const tab = await context.newPage();
  tab.setDefaultTimeout(20000);
  tab.on("request", (request) => expect(request.url().startsWith(base) || request.url().startsWith(app), `foreign: ${request.url()}`));
  tab.on("request", (request) => expect(!request.url().split("#")[0].includes(token.slice(0, 30)), "a token is in an address"));
  tab.on("pageerror", (error) => problems.push(`script: ${error.message}`));
  tab.on("console", (message) => message.type() === "error" && !/status of 40[14]|favicon/.test(message.text()) && problems.push(`console: ${message.text()}`));
  return tab;
}

async function look(tab, name) {
  if (!(await tab.evaluate(() => "axe" in globalThis))) await tab.evaluate(axe);
  const { violations } = await tab.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }));
  for (const { id, nodes } of violations) problems.push(`${name}: ${id}: ${nodes.slice(0, 2).map((node) => `${node.html.slice(0, 160)} ${node.any.map((check) => check.message).join("; ").slice(0, 160)}`).join(" | ")}`);
  await tab.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

const hit = (tab) => tab.evaluate(() => globalThis.hit);

try {
  await step("handed over by the application", async () => {
    const tab = await tabIn({ bypassCSP: true });
    await tab.goto(`${base}/me`);
    await look(tab, "me-sign-in");
    await tab.goto(`${base}/me#access_token=${token}&token_type=bearer`);
    await tab.getByRole("heading", { name: "What happened in your account" }).waitFor();
    expect(tab.url() === `${base}/me`, `the token leaves the address: ${tab.url().slice(0, 40)}`);
    expect((await tab.getByText("You signed in", { exact: true }).count()) === 2, "sign-ins are told");
    expect((await tab.getByText("new device").count()) === 1, "a new device is told as one");
    expect((await tab.locator("body").textContent()).includes(hostile.slice(0, 20)), "a name is shown as text");
    expect((await hit(tab)) === undefined, "and nothing of it runs");
    await look(tab, "me");
    await tab.getByRole("button", { name: /Times in UTC/ }).click();
    await tab.getByRole("button", { name: /Times in local time/ }).waitFor();
    await tab.getByRole("button", { name: /colours/ }).click();
    await look(tab, "me-dark");
    await tab.setViewportSize({ width: 360, height: 740 });
    const wide = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    expect(wide <= 0, `${wide} pixels too wide`);
    await look(tab, "me-narrow");
    await tab.getByRole("link", { name: "Sign-ins" }).click();
    expect((await tab.locator(".act").count()) === 2, "narrowed to sign-ins");
    await tab.context().close();
  });
  await step("without scripts", async () => {
    const tab = await tabIn({ javaScriptEnabled: false });
    await tab.goto(`${base}/me`);
    await tab.getByLabel("Token of the application").fill(token);
    await tab.getByRole("button", { name: "Show my activity" }).click();
    await tab.getByRole("link", { name: "This wasn't me: You signed in" }).first().click();
    await tab.getByRole("heading", { name: "Was this not you?" }).waitFor();
    await tab.screenshot({ path: join(pictures, "me-disown.png") });
    await tab.getByRole("button", { name: "This wasn't me" }).click();
    await tab.getByText("Noted: that was not you.").waitFor();
    expect((await tab.getByText("You said this was not you").count()) === 1, "it is marked");
    const [download] = await Promise.all([tab.waitForEvent("download"), tab.getByRole("button", { name: "Download" }).click()]);
    expect(download.suggestedFilename() === "my-activity.ndjson", download.suggestedFilename());
    await tab.getByRole("button", { name: "Sign out" }).click();
    await tab.getByLabel("Token of the application").waitFor();
    await tab.context().close();
  });
  await step("inside another site's page", async () => {
    const tab = await tabIn({});
    await tab.goto(`${app}/`);
    const list = tab.locator("edgetrail-activity");
    await list.getByText("You signed in", { exact: true }).first().waitFor();
    expect((await list.getByText("You said this was not you").count()) === 1, "what was said on the page is known here");
    expect((await hit(tab)) === undefined, "nothing of a name runs");
    // Keyboard only: ask, think again, ask, and say so.
    const ask = list.getByRole("button", { name: "This wasn’t me: You signed in" }).first();
    await ask.focus();
    await tab.keyboard.press("Enter");
    await list.getByRole("button", { name: "Yes, it wasn’t me" }).waitFor();
    await tab.keyboard.press("Tab");
    await tab.keyboard.press("Enter");
    await ask.waitFor();
    await tab.keyboard.press("Enter");
    await tab.keyboard.press("Enter");
    await list.getByText("Noted: that was not you.").waitFor();
    expect((await list.getByText("You said this was not you").count()) === 2, "it is marked");
    await tab.context().close();
  });
  await step("the element by axe, light and dark", async () => {
    for (const colorScheme of ["light", "dark"]) {
      const tab = await tabIn({ colorScheme, bypassCSP: true });
      await tab.goto(`${app}/`);
      await tab.locator("edgetrail-activity").getByText("You signed in", { exact: true }).first().waitFor();
      await look(tab, `element-${colorScheme}`);
      await tab.context().close();
    }
  });
  await step("a token that is over", async () => {
    const tab = await tabIn({});
    await tab.goto(`${app}/over`);
    await tab.locator("edgetrail-activity").getByText("Your sign-in is over.").waitFor();
    await tab.context().close();
  });
} finally {
  await browser.close();
  site.close();
}
console.log(JSON.stringify({ problems }));
