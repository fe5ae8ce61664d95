//! Who signs candidates: asked as they are sent, so that what is signed is what goes out, with the
//! face's picture or without.

/// Holds the device's identity.
pub trait Signer: Send + std::fmt::Debug {
    /// The signature of these bytes, a line of ASCII. The same bytes always have the same one.
    fn sign(&self, payload: &[u8]) -> String;
}
