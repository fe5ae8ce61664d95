// The desk's page: signs in, opens photographs, gives verdicts, and says what is new.
//
// * The server renders each page whole; this file adds what needs the reviewer's keys, and keeps the
//   page current by /events.
// * Text reaches the page as text. HTML is taken from the desk's own pages only.
// * Nothing is kept in the browser but the two keys and three switches: no picture, no verdict.

import { answer, create, load, open, Refusal, signEnrolment } from "./keys.js";
import { showAlike } from "./pictures.js";
import { giveVerdict } from "./verdict.js";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const page = document.body.dataset.page;
const csrf = $('meta[name="csrf"]')?.content;

/** Asks the desk. Its reasons are sentences for people. */
async function ask(path, body, type = "application/json", more = {}) {
  let response;
  try {
    const headers = { "Content-Type": type, ...(csrf ? { "X-Csrf": csrf } : {}) };
    const sent = body === undefined ? { headers: more } : { method: "POST", headers, body };
    response = await fetch(path, { credentials: "same-origin", ...sent });
  } catch {
    throw new Refusal("The desk cannot be reached. Nothing is lost: try again when you are online.");
  }
  if (response.ok) return response;
  if (response.status === 401) throw new Refusal("Your session has ended. Sign in again.");
  const told = await response.json().catch(() => ({}));
  throw new Refusal([told.error ?? "The desk refused this.", told.remedy].filter(Boolean).join(" "));
}

/** Says it aloud, for those who hear the page, too. */
function announce(text) {
  const region = $("#announcements");
  if (region) region.textContent = text;
}

function complain(error) {
  const place = $("#problem");
  const known = error instanceof Refusal;
  if (!known) console.error(error);
  place.textContent = known ? error.message : "Something went wrong in this page. Load it again.";
  place.hidden = false;
}

/** Runs `work` once at a time from a button, and says why where it fails. */
function onPress(button, work) {
  button?.addEventListener("click", async (event) => {
    event.preventDefault();
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    $("#problem").hidden = true;
    try {
      await work();
    } catch (error) {
      complain(error);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
}

// ---- Entrance

async function signIn() {
  const keys = await load();
  if (!keys) {
    throw new Refusal(
      "This browser has no reviewer's key. Open the link of your invitation in this browser first; " +
        "if you had a key here, the browser has deleted it: ask for a new invitation.",
    );
  }
  const key = keys.publicKey;
  const { challenge } = await (await ask("/api/challenge", JSON.stringify({ key }))).json();
  const signature = await answer(keys, challenge);
  await ask("/api/session", JSON.stringify({ key, challenge, signature }));
  // Each role begins elsewhere.
  location.assign("/");
}

async function enrol() {
  const token = document.body.dataset.token;
  const keys = (await load()) ?? (await create());
  const { publicKey: key, readingKey: reading_key } = keys;
  const signature = await signEnrolment(keys, token);
  await ask("/api/enrol", JSON.stringify({ token, key, reading_key, signature }));
  $("#public-key").textContent = key;
  $("#reading-key").textContent = reading_key;
  $("#before").hidden = true;
  $("#after").hidden = false;
  $("#after h2").focus();
}

// ---- One pair

let settled = false;
/** What was opened: canvas, file, eyes. */
const shown = [];

async function showPhotographs() {
  const places = $$("[data-photograph]");
  if (!places.length) return;
  const keys = await load();
  for (const place of places) {
    const note = $("figcaption .note", place);
    try {
      if (!keys) throw new Refusal("This browser has no key to open photographs.");
      const sealed = new Uint8Array(await (await ask(place.dataset.photograph)).arrayBuffer());
      let plain;
      try {
        plain = await open(keys, sealed);
      } catch {
        throw new Refusal("It is not sealed to your key. Ask for a case sheet that is.");
      }
      shown.push([$("canvas", place), plain, place.dataset.eyes]);
      await showAlike(...shown.at(-1));
      note.textContent = "";
    } catch (error) {
      if (!(error instanceof Refusal)) console.error(error);
      note.textContent = error instanceof Refusal ? error.message : "This photograph cannot be shown.";
      note.classList.add("wrong");
    }
  }
}

function chooseOne() {
  // Several photographs: one at a time beside the candidate.
  const figures = $$("[data-photograph]");
  const buttons = $$("[data-shows]");
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      figures.forEach((figure, n) => (figure.hidden = String(n) !== button.dataset.shows));
    });
  }
}

function toggle(button, change) {
  button?.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    change(on);
  });
}

function prepareLooks() {
  toggle($("#larger"), (on) => $("#pair").classList.toggle("large", on));
  toggle($("#whole"), (on) => {
    for (const [canvas, plain, eyes] of shown) showAlike(canvas, plain, on ? undefined : eyes);
  });
}

function said(form) {
  const { opinion, confidence } = Object.fromEntries(new FormData(form));
  return { opinion, confidence };
}

function nameTheButton(form) {
  const { opinion, confidence } = said(form);
  const words = (name, value) => $(`input[name="${name}"][value="${value}"]`, form).dataset.words;
  const button = $("button[type=submit]", form);
  button.textContent =
    opinion && confidence
      ? `Sign “${words("opinion", opinion)}, ${words("confidence", confidence)}”`
      : "Sign my verdict";
}

async function giveMine(form) {
  const candidate = document.body.dataset.candidate;
  const mine = said(form);
  if (!mine.opinion || !mine.confidence) {
    throw new Refusal("Say what you see, and how sure you are.");
  }
  const keys = await load();
  if (!keys) throw new Refusal("This browser has no reviewer's key. Sign in again.");
  const pair = await (await ask(`/api/pair/${candidate}`)).json();
  // What the page shows is what is signed.
  if (pair.candidate !== candidate || pair.payload_sha256 !== document.body.dataset.payload) {
    throw new Refusal("A better picture of this candidate has come. Look at it first: load the page again.");
  }
  const seconds = Math.floor(Date.now() / 1000);
  const envelope = await giveVerdict(pair, mine, { key: keys.sign, id: keys.id }, seconds);
  await ask(`/api/verdict/${candidate}`, envelope, "application/octet-stream");
  settled = true;
  location.assign(`/outcome/${candidate}`);
}

function preparePair() {
  const form = $("#verdict");
  chooseOne();
  prepareLooks();
  showPhotographs();
  if (!form) return;
  form.addEventListener("change", () => nameTheButton(form));
  nameTheButton(form);
  form.addEventListener("submit", (event) => event.preventDefault());
  onPress($("button[type=submit]", form), () => giveMine(form));
  addEventListener("beforeunload", (event) => {
    if (!settled && said(form).opinion) event.preventDefault();
  });
}

// ---- What is new

/** Takes the parts that change from the page as the desk has it now. */
async function refresh() {
  // Loading a pair again would be recorded as another look at it.
  if (!$("[data-live]")) return;
  // By itself, not by somebody who looks: it does not keep the session alive.
  const more = { "X-Refresh": "1" };
  const text = await (await ask(location.pathname, undefined, undefined, more)).text();
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const part of $$("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (!other || other.innerHTML === part.innerHTML) continue;
    const focused = document.activeElement?.id;
    part.replaceChildren(...document.adoptNode(other).childNodes);
    if (focused) document.getElementById(focused)?.focus();
  }
  ages();
}

function count(change) {
  for (const badge of $$("[data-count]")) {
    const n = Math.max(0, Number(badge.dataset.count) + change);
    badge.dataset.count = n;
    badge.textContent = n || "";
    badge.hidden = n === 0;
  }
}

const switches = {
  get: (name) => localStorage.getItem(`watchpost-${name}`) === "on",
  set: (name, on) => localStorage.setItem(`watchpost-${name}`, on ? "on" : "off"),
};

let audio;

/** Two short tones. A browser lets a page sound only after somebody pressed something in it. */
function beep() {
  if (!switches.get("sound")) return;
  audio ??= new AudioContext();
  audio.resume();
  [660, 880].forEach((pitch, n) => {
    const [tone, loudness] = [audio.createOscillator(), audio.createGain()];
    const from = audio.currentTime + n * 0.16;
    tone.frequency.value = pitch;
    loudness.gain.setValueAtTime(0.0001, from);
    loudness.gain.exponentialRampToValueAtTime(0.2, from + 0.02);
    loudness.gain.exponentialRampToValueAtTime(0.0001, from + 0.14);
    tone.connect(loudness).connect(audio.destination);
    tone.start(from);
    tone.stop(from + 0.15);
  });
}

function notify() {
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  if (!document.hidden || !switches.get("notify")) return;
  // No picture and no place: a locked screen shows it to everybody.
  const shown = new Notification("A candidate waits", { tag: "candidate" });
  shown.onclick = () => {
    focus();
    location.assign("/queue");
  };
}

function listen() {
  if (!csrf) return;
  const events = new EventSource("/events");
  const quietly = () => refresh().catch(() => {});
  events.onopen = () => {
    online(true);
    // What happened since the page was made, or while nobody listened.
    quietly();
  };
  events.onerror = () => online(false);
  events.addEventListener("candidate", () => {
    if (page === "queue") quietly();
    else count(1);
    announce("A new candidate waits.");
    beep();
    notify();
  });
  events.addEventListener("reload", quietly);
  for (const kind of ["outcome", "refused", "counted"]) {
    events.addEventListener(kind, (event) => {
      let about = {};
      try {
        about = JSON.parse(event.data);
      } catch {
        return;
      }
      const here = about.candidate === document.body.dataset.candidate;
      if (here && page === "outcome" && kind === "refused") location.assign(`/pair/${about.candidate}`);
      else if (here && page === "pair" && kind === "outcome" && !settled) {
        complain(new Refusal("This candidate is over: two people have decided, or its time is."));
      } else if (here || page === "queue") quietly();
    });
  }
  if (page === "fleet") setInterval(quietly, 15_000);
}

function online(is) {
  const line = $("#line");
  if (!line) return;
  line.dataset.state = is ? "live" : "away";
  $("span", line).textContent = is ? "Live" : "Offline";
  $("#away").hidden = is;
}

/** Without the desk, a link would leave a page that can still be read. */
function stayWhereReading() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='/']");
    if (!link || navigator.onLine) return;
    event.preventDefault();
    announce("You are offline. This page stays as it was loaded.");
  });
  addEventListener("offline", () => online(false));
}

/** How long ago, in words, for each time on the page; layout.rs has the same ones. */
function ages() {
  for (const time of $$("time[data-age]")) {
    const before = (Date.now() - Date.parse(time.dateTime)) / 1000;
    const seconds = Math.floor(Math.abs(before));
    const [size, unit] =
      seconds < 90
        ? [1, "second"]
        : seconds < 5400
          ? [60, "minute"]
          : seconds < 129600
            ? [3600, "hour"]
            : [86400, "day"];
    const number = Math.floor((seconds + Math.floor(size / 2)) / size);
    const words = `${number} ${unit}${number === 1 ? "" : "s"}`;
    const text = seconds < 5 ? "now" : before > 0 ? `${words} ago` : `in ${words}`;
    if (time.textContent !== text) time.textContent = text;
  }
}

// ---- Switches and keys

function prepareSwitches() {
  for (const box of $$("input[data-switch]")) {
    const name = box.dataset.switch;
    if (name === "keys" && localStorage.getItem("watchpost-keys") === null) switches.set(name, true);
    box.checked = switches.get(name);
    box.addEventListener("change", async () => {
      if (name === "notify" && box.checked) {
        const given = "Notification" in window && (await Notification.requestPermission());
        if (given !== "granted") {
          box.checked = false;
          announce("The browser does not let this page notify you.");
        }
      }
      switches.set(name, box.checked);
      if (name === "sound" && box.checked) beep();
    });
  }
  onPress($("#sign-out"), async () => {
    await ask("/api/sign-out", "{}");
    location.assign("/");
  });
}

function pressed(event) {
  if (!switches.get("keys") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input:not([type=radio]), textarea, select")) return;
  const choice = $(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (choice) {
    event.preventDefault();
    choice.focus();
    if (choice.matches("input")) choice.click();
    return;
  }
  if (page === "queue" && (event.key === "j" || event.key === "k")) {
    const links = $$("#waiting a");
    const at = links.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
    links[Math.max(0, Math.min(links.length - 1, at))]?.focus();
  }
}

onPress($("#sign-in"), signIn);
onPress($("#enrol"), enrol);
if (page === "pair") preparePair();
prepareSwitches();
stayWhereReading();
addEventListener("keydown", pressed);
ages();
setInterval(ages, 10_000);
listen();
for (const copy of $$("[data-copies]")) {
  onPress(copy, async () => {
    await navigator.clipboard.writeText($(copy.dataset.copies).textContent);
    announce("Copied.");
  });
}
document.documentElement.dataset.ready = "yes";
