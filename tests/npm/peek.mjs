import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";
const [base, key, out, scheme, width, ...paths] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
const context = await browser.newContext({ viewport: { width: Number(width), height: 860 }, colorScheme: scheme });
const tab = await context.newPage();
tab.on("console", (m) => console.log("console", m.text()));
tab.on("pageerror", (m) => console.log("error", m.message));
await tab.goto(base + "/sign-in");
await tab.screenshot({ path: `${out}/signin.png` });
await tab.getByLabel("API key").fill(key);
await tab.getByRole("button", { name: "Sign in" }).click();
await tab.waitForTimeout(500);
console.log(tab.url());
for (const path of paths) { await tab.goto(base + path); await tab.waitForTimeout(400); await tab.screenshot({ path: `${out}/${path.replace(/\W+/g, "_")}.png`, fullPage: false }); }
await browser.close();
