// The reviewer's two keys: Ed25519 signs, X25519 opens photographs.
//
// * Both are made in the browser and never leave it: not extractable, kept by IndexedDB as they are.
//   Script can use them while the page is open, and nothing can copy them.
// * A browser without them is refused. There is no key in script that would do instead.
// * Browsers may delete what a site keeps. A key that is gone is gone: the reviewer is enrolled anew.

import { Decrypter, identityToRecipient } from "./age.js";
import { keyId } from "./verdict.js";

/** A reason that is meant for the person in front of the page. */
export class Refusal extends Error {}

function request(work) {
  return new Promise((resolve, reject) => {
    work.onsuccess = () => resolve(work.result);
    work.onerror = () => reject(work.error);
  });
}

async function store(mode) {
  const opening = indexedDB.open("watchpost-desk", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("keys");
  let database;
  try {
    database = await request(opening);
  } catch {
    throw new Refusal("This browser keeps nothing for this page. Leave the private window, or allow storage.");
  }
  return database.transaction("keys", mode).objectStore("keys");
}

/** The keys of this browser, or undefined. */
export async function load() {
  return request((await store("readonly")).get("reviewer"));
}

/** Makes both keys and keeps them. */
export async function create() {
  let sign, read;
  try {
    sign = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
    read = await crypto.subtle.generateKey("X25519", false, ["deriveBits"]);
  } catch {
    throw new Refusal(
      "This browser cannot make keys that stay in it (Ed25519 and X25519). Use a current Firefox, " +
        "Chrome, Edge or Safari, over https.",
    );
  }
  const publicKey = new Uint8Array(await crypto.subtle.exportKey("raw", sign.publicKey));
  const keys = {
    sign: sign.privateKey,
    read: read.privateKey,
    id: await keyId(publicKey),
    publicKey: "watchpost-ed25519:" + btoa(String.fromCharCode(...publicKey)),
    readingKey: await identityToRecipient(read.privateKey),
  };
  await request((await store("readwrite")).add(keys, "reviewer"));
  // A request only: a browser may refuse it, and says nothing of why.
  await navigator.storage?.persist?.();
  return keys;
}

/** Opens what was sealed to this reviewer. */
export async function open(keys, sealed) {
  const from = new Decrypter();
  from.addIdentity(keys.read);
  return from.decrypt(sealed);
}

/** The signature by which a reviewer signs in. */
export async function answer(keys, challenge) {
  return sign(keys, `watchpost desk sign-in v1\n${location.origin}\n${challenge}`);
}

/** The signature by which a reviewer enrols both keys. */
export async function signEnrolment(keys, token) {
  const { readingKey } = keys;
  return sign(keys, `watchpost desk enrolment v1\n${location.origin}\n${token}\n${readingKey}`);
}

async function sign(keys, text) {
  const said = new TextEncoder().encode(text);
  return base64url(new Uint8Array(await crypto.subtle.sign("Ed25519", keys.sign, said)));
}

function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}
