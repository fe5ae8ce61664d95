// Stores each candidate once, before the broker may forget it. `npm install mqtt`, then
// `node candidates.mjs mqtt://BROKER:PORT candidates.jsonl`.
import { existsSync, fdatasyncSync, openSync, readFileSync, writeSync } from "node:fs";
import mqtt from "mqtt";

const [url, file] = process.argv.slice(2);
const seen = new Set();
const newest = new Map();

function take(event) {
  seen.add(event.id);
  const before = newest.get(event.data.candidate);
  if (before && before.data.sequence >= event.data.sequence) return false;
  newest.set(event.data.candidate, event);
  return true;
}

function parse(text) {
  try {
    const event = JSON.parse(text);
    if (event.id && event.data.candidate && Date.parse(event.data.expires)) return event;
  } catch {} // Also a last line that a power cut left unfinished.
}

if (existsSync(file)) readFileSync(file, "utf8").split("\n").map(parse).filter(Boolean).map(take);
const store = openSync(file, "a", 0o600);
const week = { sessionExpiryInterval: 7 * 24 * 3600 };
const kept = { protocolVersion: 5, clientId: "store-2", clean: false, properties: week };
const client = mqtt.connect(url, kept);
client.handleMessage = (packet, acknowledge) => {
  const event = parse(packet.payload.toString());
  if (event && !seen.has(event.id) && Date.parse(event.data.expires) > Date.now()) {
    writeSync(store, `\n${JSON.stringify(event)}\n`);
    fdatasyncSync(store); // On the disk before the message is acknowledged.
    if (take(event)) console.log("candidate", event.data.candidate, event.data.sequence);
  }
  acknowledge();
};
const listening = () => console.log("listening");
client.on("connect", () => client.subscribe("+/v1/+/candidate", { qos: 1 }, listening));
