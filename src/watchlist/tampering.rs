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

/// A list made and signed with the keys 1 and 2 by other software
/// (`tests/independent/watchlist.py`) from the schema alone. These bytes are format 3: whatever
/// reads it reads them.
pub const MADE_ELSEWHERE: &str = "\
    d86284582ca10378286170706c69636174696f6e2f766e642e7761746368706f73742e77617463686c6973742b63\
    626f72a13a000100008158ff8250a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a60066636173652d310170506f6c6963\
    652041637420732e20313202736d697373696e6720706572736f6e2034373131031a6ad4b4c004584001080f161d\
    242b323940474e555c636a71787f868d949ba2a9b0b7bec5ccd3dae1e8eff6fd040b121920272e353c434a51585f\
    666d747b828990979ea5acb3ba0583825820a651b4ad8b22256f823e58dec34b3d1b1fdfc8f924d47b94595064a3\
    f9a3713919036b8258206ac96ff669df10f835bcd3bec22cf124ac5e36d64b834667590ff8163e2aa9ca1901f482\
    5820b879cf5acaca0527264e2c6d71778d9a77068102939adbf35712e708387ceb071903e858f5ac0003016e6d61\
    64652d656c73657768657265020303831a6aba565c1a6aba568e1a6abba840045820e5e5e5e5e5e5e5e5e5e5e5e5\
    e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e505184006a9006e446973747269637420436f757274016c313220\
    4773203334352f32360201038166676174652d33048183821a1f4dea801a07fcad80821a1f4dea801a07fe342082\
    1a1f4f71201a07fd70d00582183c8183187f001905a0060a0719c3500819010807020858203deb4b9b1b1df9b9e0\
    14af948cd4fb439d022ec6d1463bb85ab4350f8be1ceb4095818612070726f6d697365206d61646520656c736577\
    686572650a010bf682834da20127044834750f98bd59fcfca05840898cd132912a2d8582c85d7bfe7261ffbe6eee\
    dc2a4770518275d90151fec873ff923668a19d7c1bab7103fb13828e541cca362f0c64eabd8f2b5d824c80e20983\
    4da2012704486a3803d5f059902aa058409a755187c6cf6c86d89e0128d4fbb404c01ca96a42fe9792ee94b59b47\
    6d2a4d82d8376acddef4e33c173322f683fd6c084556b0a9aa9436ffd542ff7dca980b";

/// A list of format 2, made and signed like [`MADE_ELSEWHERE`] when that was the format.
const MADE_ELSEWHERE_IN_FORMAT_TWO: &str = "\
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
    bytes(MADE_ELSEWHERE)
}

pub fn made_elsewhere_in_format_two() -> Vec<u8> {
    bytes(MADE_ELSEWHERE_IN_FORMAT_TWO)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
