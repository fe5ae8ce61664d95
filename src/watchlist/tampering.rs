//! Lists that authoring cannot make: by any signers, in any number and order, of encodings that a
//! test has changed; and one that other software made.

use super::codec::{self, Encoded, SALT};
use super::fixture::key;
use super::model::Content;

/// `content` signed by each of `signers`, in that order.
pub fn signed(content: &Content, signers: &[u8]) -> Vec<u8> {
    encode_and_sign(&encoded(content), signers)
}

/// `content` with the salts of a bad generator.
pub fn encoded(content: &Content) -> Encoded {
    let mut n = 0u8;
    let salt = || {
        n = n.wrapping_add(1);
        [n; SALT]
    };
    codec::encode(content, salt).unwrap()
}

pub fn encode_and_sign(encoded: &Encoded, signers: &[u8]) -> Vec<u8> {
    let mut container = encoded.container();
    for n in signers {
        container.sign(&key(*n));
    }
    container.to_bytes().to_vec()
}

/// A list made and signed with the keys 1 and 2 by other software (Python's `cbor2` with canonical
/// encoding and `cryptography`) from the schema alone.
pub const MADE_ELSEWHERE: &str = "\
    d86284582ca10378286170706c69636174696f6e2f766e642e7761746368706f73742e77617463686c6973742b63\
    626f72a13a000100008158b28250a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a50066636173652d310170506f6c6963\
    652041637420732e20313202736d697373696e6720706572736f6e2034373131031a6aba64d0048183584001080f\
    161d242b323940474e555c636a71787f868d949ba2a9b0b7bec5ccd3dae1e8eff6fd040b121920272e353c434a51\
    585f666d747b828990979ea5acb3ba19036b582055c64d0fcd6f9d5f7c828093857e3fdfda68478bb4e9bd24d481\
    ef391c7804e858d6a90002016e6d6164652d656c73657768657265020303831a6aba565c1a6aba568e1a6abba840\
    045820e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e505184006a9006e44697374\
    7269637420436f757274016c3132204773203334352f32360201038166676174652d33048183821a1f4dea801a07\
    fcad80821a1f4dea801a07fe3420821a1f4f71201a07fd70d00582183c8183187f001905a0060a0719c350081901\
    f4070108582033bcf75146f900ad91d6a7513835ac9cc9d1de628e71786d4307e9dd19a7fe3c82834da201270448\
    34750f98bd59fcfca0584099639d2f7df8b8a3f45de63f08bb4a616b3738c79214509449c9f822fc0b2ba024edf9\
    e233cadffca5a14c830e6aba32a0469c97084ae8c075cb2b2a487da100834da2012704486a3803d5f059902aa058\
    40049ef6dbdac511466b90cdcbefdf12d1d6e5a924e98fab017178df58e80c37c711422962697e1dd0a7e0ce2e01\
    5a9d9dc1178287b39fc4c0ed002c73b0b3360c";

pub fn made_elsewhere() -> Vec<u8> {
    let digits = MADE_ELSEWHERE.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
