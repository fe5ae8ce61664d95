// What the desk's script uses of age-encryption: files with X25519 recipients, opened and sealed by
// the browser's own X25519. `bundle` leaves the rest out.
export { Decrypter, Encrypter, identityToRecipient } from "age-encryption";
