// Drives Chromium as people at the desk do, for tests/browser.rs: one command a line on standard
// input, one answer a line on standard output, both JSON.
//
// A person is a browser of their own: own storage, own keys, own network log. What a person's
// browser has received is kept, so that the test can look for what it must not have received.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(process.cwd() + "/");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const PHONE = { width: 360, height: 740 };
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
const people = new Map();

async function person(name) {
  if (!people.has(name)) {
    const context = await browser.newContext({
      viewport: PHONE,
      deviceScaleFactor: 2,
      // A picture in the middle of a change of colours is of no use.
      reducedMotion: "reduce",
    });
    await context.addInitScript(() => {
      window.shifted = 0;
      new PerformanceObserver((seen) => {
        for (const entry of seen.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
      }).observe({ type: "layout-shift", buffered: true });
    });
    const page = await context.newPage();
    const log = { received: [], errors: [], bytes: new Map() };
    page.on("console", (message) => {
      if (message.type() === "error") log.errors.push(message.text());
    });
    page.on("pageerror", (error) => log.errors.push(String(error)));
    page.on("response", async (response) => {
      const about = { url: response.url(), status: response.status(), body: "" };
      log.received.push(about);
      // A stream of events ends with the page only; its events are taken one by one, see below.
      if (response.url().endsWith("/events")) return;
      const body = await response.body().catch(() => Buffer.alloc(0));
      about.body = body.toString("latin1");
      // What has not changed comes without its bytes.
      log.bytes.set(response.url(), Math.max(body.length, log.bytes.get(response.url()) ?? 0));
    });
    const devtools = await context.newCDPSession(page);
    await devtools.send("Network.enable");
    devtools.on("Network.eventSourceMessageReceived", (event) =>
      log.received.push({ url: "/events", status: 200, body: `${event.eventName} ${event.data}` }),
    );
    people.set(name, { context, page, log });
  }
  return people.get(name);
}

async function ready(page) {
  await page.waitForSelector("html[data-ready=yes]");
}

const commands = {
  async open({ who, url }) {
    const { page } = await person(who);
    await page.goto(url);
    await ready(page);
    return { url: page.url(), title: await page.title() };
  },

  async enrol({ who, url }) {
    const { page } = await person(who);
    await page.goto(url);
    await ready(page);
    await page.click("#enrol");
    await page.waitForSelector("#after:not([hidden])");
    return {
      key: await page.textContent("#public-key"),
      reading: await page.textContent("#reading-key"),
      extractable: await page.evaluate(async () => {
        const open = indexedDB.open("watchpost-desk", 1);
        await new Promise((done) => (open.onsuccess = done));
        const get = open.result.transaction("keys").objectStore("keys").get("reviewer");
        await new Promise((done) => (get.onsuccess = done));
        return [get.result.sign.extractable, get.result.read.extractable];
      }),
    };
  },

  async signIn({ who, url }) {
    const { page } = await person(who);
    await page.goto(url);
    await ready(page);
    await page.click("#sign-in");
    const told = page.waitForSelector("#problem:not([hidden])").then((p) => p.textContent());
    const arrived = page.waitForURL(/\/(queue|fleet|reports)/).then(() => null);
    const problem = await Promise.race([arrived, told.catch(() => null)]);
    if (!problem) await ready(page);
    return { url: page.url(), problem };
  },

  /** Waits for the first candidate of the queue: how long after the device's decision it is there. */
  async arrival({ who }) {
    const { page } = await person(who);
    await page.waitForSelector("#waiting li a time");
    const seen = Date.now();
    const decided = await page.getAttribute("#waiting li a time", "datetime");
    const href = await page.getAttribute("#waiting li a", "href");
    return { href, after_ms: seen - Date.parse(decided) };
  },

  /** Judges what is open, by keys alone where asked. */
  async judge({ who, opinion, confidence, keys }) {
    const { page } = await person(who);
    if (keys) for (const key of keys) await page.keyboard.press(key);
    else {
      await page.click(`.choice:has(input[name=opinion][value=${opinion}])`);
      await page.click(`.choice:has(input[name=confidence][value=${confidence}])`);
      await page.click("#verdict button[type=submit]");
    }
    const told = page.waitForSelector("#problem:not([hidden])").then((p) => p.textContent());
    const arrived = page.waitForURL(/\/outcome\//).then(() => null);
    return { problem: await Promise.race([arrived, told.catch(() => null)]) };
  },

  async awaitText({ who, selector, text }) {
    const { page } = await person(who);
    await page.waitForFunction(
      ([selector, text]) => document.querySelector(selector)?.textContent.includes(text),
      [selector, text],
    );
    return { text: await page.textContent(selector) };
  },

  /** Whether the pictures of a pair are there, and of one size. */
  async pictures({ who }) {
    const { page } = await person(who);
    await page.waitForFunction(
      () => document.querySelector("[data-photograph] .note")?.textContent !== "is opened",
    );
    return page.evaluate(() => {
      const size = (e) => [Math.round(e.getBoundingClientRect().width), Math.round(e.getBoundingClientRect().height)];
      const canvas = document.querySelector("[data-photograph] canvas");
      const pixels = canvas?.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return {
        crop: size(document.querySelector(".pair img")),
        crop_there: document.querySelector(".pair img").naturalWidth > 0,
        photograph: canvas && size(canvas),
        drawn: !!pixels?.some((value) => value > 0),
        note: document.querySelector("[data-photograph] .note")?.textContent,
      };
    });
  },

  /** axe-core's violations of what is open, in light and dark. */
  async axe({ who }) {
    const { page } = await person(who);
    const found = [];
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      // The page's own policy lets no script in; this way does not ask it.
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run());
      for (const v of violations) {
        found.push(`${colorScheme} ${v.id}: ${v.nodes.map((n) => n.target.join(" ")).join("; ")}`);
      }
    }
    await page.emulateMedia({ colorScheme: "light" });
    return { violations: found };
  },

  async measure({ who }) {
    const { page, log } = await person(who);
    return {
      shifted: await page.evaluate(() => window.shifted),
      wide: await page.evaluate(() => document.documentElement.scrollWidth),
      bytes: [...log.bytes]
        .filter(([url]) => !/\/(crop|photograph\/\d+)$/.test(url))
        .filter(([url]) => url.includes("/static/") || url === page.url())
        .reduce((sum, [, bytes]) => sum + bytes, 0),
    };
  },

  async offline({ who, is }) {
    const { context, page } = await person(who);
    await context.setOffline(is);
    if (is) await page.waitForSelector("#away:not([hidden])");
    return {};
  },

  async reload({ who }) {
    const { page } = await person(who);
    // A verdict that is chosen and not signed makes the browser ask.
    page.once("dialog", (dialog) => dialog.accept());
    await page.reload();
    await ready(page);
    return {};
  },

  async click({ who, selector }) {
    const { page } = await person(who);
    await page.click(selector);
    return { url: page.url() };
  },

  async screenshot({ who, path, width, height, scheme }) {
    const { page } = await person(who);
    await page.setViewportSize({ width: width ?? PHONE.width, height: height ?? PHONE.height });
    await page.emulateMedia({ colorScheme: scheme ?? "light" });
    await page.screenshot({ path });
    await page.setViewportSize(PHONE);
    await page.emulateMedia({ colorScheme: "light" });
    return {};
  },

  /** Pictures side by side in one. */
  async together({ paths, path }) {
    const shots = paths.map((p) => `data:image/png;base64,${readFileSync(p, "base64")}`);
    const page = await browser.newPage({ viewport: { width: 960, height: 640 } });
    await page.setContent(
      "<style>body{margin:0;padding:20px;display:flex;gap:20px;background:#dfe4ea}" +
        "img{width:280px;border-radius:16px;box-shadow:0 6px 22px #0004;display:block}</style>" +
        shots.map((shot) => `<img src="${shot}">`).join(""),
    );
    const box = await page.evaluate(() => {
      const all = [...document.images].map((i) => i.getBoundingClientRect());
      return [Math.max(...all.map((r) => r.right)), Math.max(...all.map((r) => r.bottom))];
    });
    const clip = { x: 0, y: 0, width: box[0] + 20, height: box[1] + 20 };
    await page.setViewportSize({ width: Math.ceil(clip.width), height: Math.ceil(clip.height) });
    await page.screenshot({ path, clip });
    await page.close();
    return {};
  },

  /** Everything that the person's browser has received so far, and what it complained about. */
  async received({ who }) {
    const { log, page } = await person(who);
    await page.waitForLoadState();
    return { received: log.received, errors: log.errors };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...rest } = JSON.parse(line);
  let answer;
  try {
    answer = { ok: await commands[name](rest) };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
await browser.close();
