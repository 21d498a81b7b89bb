// Drives the page that verifies bundles as a person would: `verify.mjs CHROMIUM PAGE BUNDLE…`. Prints what the page says of each
// bundle, and every request that it made, as JSON.
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [executablePath, page, ...bundles] = process.argv.slice(2);
const args = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args });
const requests = [];
const errors = [];
const said = [];
try {
  const context = await browser.newContext({ colorScheme: "dark" });
  const tab = await context.newPage();
  tab.on("request", (request) => requests.push(request.url().slice(0, 60)));
  tab.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  tab.on("pageerror", (error) => errors.push(error.message));
  await tab.goto(pathToFileURL(page).href);
  for (const bundle of bundles) {
    const [path, ...keys] = bundle.split("#");
    if (keys.length) {
      if (!(await tab.getByLabel("Verifier keys, one a line").isVisible())) await tab.getByText("What you trust").click();
      await tab.getByLabel("Verifier keys, one a line").fill(keys.join("\n"));
    }
    await tab.getByLabel(/Choose a bundle/).setInputFiles(path);
    await tab.locator("#result").waitFor();
    const text = (id) => tab.locator(id).innerText();
    said.push({
      verdict: await text("#verdict"),
      kind: await tab.locator("#verdict").getAttribute("class"),
      first: await tab.locator("#first").textContent(),
      word: await tab.locator("#word").textContent(),
      counts: await text("#counts"),
      logs: await text("#logs"),
    });
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify({ said, requests, errors }));
