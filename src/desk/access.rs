//! Who is let in: challenges, sessions, rates. Sans-IO: time, randomness and roles are arguments.
//!
//! Promises:
//! * There is no password. Whoever signs in has signed this desk's challenge, once, within
//!   [`CHALLENGE_S`] seconds, for this address. Whoever enrols a key has signed with it, too.
//! * A challenge costs no memory, so that asking for many crowds nobody out.
//! * A session ends after [`IDLE`] without a request, after [`LONGEST`] at the latest, and as soon
//!   as its key has no role any more.
//! * Each changing request needs the session's own token, which other sites cannot read.
//! * After [`BURST`] attempts that failed, an address has to wait. Others are not held up.
//! * Everything is bounded: sessions, addresses, challenges that were used.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::pages::views::DeskRole;
use crate::watchlist::keys::PublicKey;

/// Seconds for which a challenge can be signed.
pub const CHALLENGE_S: u64 = 120;
/// A session ends after so long without a request.
pub const IDLE: Duration = Duration::from_secs(30 * 60);
/// A session ends at the latest.
pub const LONGEST: Duration = Duration::from_secs(8 * 3600);
/// Failed attempts of one address before it has to wait.
pub const BURST: u32 = 20;
/// One more attempt after so long.
const REFILL: Duration = Duration::from_secs(3);
/// Sessions in all; of more the one that was used longest ago ends.
const MOST_SESSIONS: usize = 4096;
/// Sessions of one key; of more the oldest ends.
const MOST_OF_ONE: usize = 8;
/// Addresses that are remembered for their failures; of more the one that failed longest ago is
/// forgotten.
const MOST_ADDRESSES: usize = 8192;
/// Challenges that were used and could still be used again.
const MOST_USED: usize = 65_536;

/// What is signed to sign in to `origin`.
pub fn sign_in_text(origin: &str, challenge: &str) -> String {
    format!("watchpost desk sign-in v1\n{origin}\n{challenge}")
}

/// What is signed to enrol at `origin`: that the key's holder wants what is sealed to them to be
/// sealed to `reading_key`.
pub fn enrol_text(origin: &str, token: &str, reading_key: &str) -> String {
    format!("watchpost desk enrolment v1\n{origin}\n{token}\n{reading_key}")
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum AccessError {
    /// Too many attempts of this address failed.
    #[error("too many attempts; wait {} seconds", .0.as_secs().max(1))]
    TooMany(Duration),
    /// The challenge is not of this desk, too old, or used.
    #[error("this challenge is over; ask for another one")]
    Stale,
    /// The signature does not hold.
    #[error("the signature is not one of this key over this challenge and address")]
    Forged,
    /// The key is nobody's here.
    #[error(
        "this key may do nothing here; have it pinned as a reviewer in the trust file, or named in \
         the desk's configuration"
    )]
    Nobody,
}

/// A new session, for its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// The cookie's value.
    pub token: String,
    /// For `X-Csrf`.
    pub csrf: String,
    /// What they may do.
    pub role: DeskRole,
}

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeskUser {
    /// Their key.
    pub key: PublicKey,
    /// What they may do.
    pub role: DeskRole,
    /// What a changing request carries.
    pub csrf: String,
}

struct WebSession {
    key: PublicKey,
    csrf: String,
    began: Duration,
    used: Duration,
}

impl WebSession {
    /// Whether its time is over at `now`.
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.used) > IDLE || now.saturating_sub(self.began) > LONGEST
    }
}

/// A session's name here: whoever reads the memory of it has no token.
fn session_name(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[derive(Clone, Copy)]
struct FailedAttempts {
    /// Attempts that are left.
    left: u32,
    /// When it was counted.
    at: Duration,
}

/// See the module's documentation.
pub struct Access {
    origin: String,
    secret: [u8; 32],
    used: VecDeque<([u8; 32], Duration)>,
    sessions: HashMap<[u8; 32], WebSession>,
    failures: BTreeMap<IpAddr, FailedAttempts>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = self.sessions.len();
        f.debug_struct("Access").field("sessions", &sessions).finish_non_exhaustive()
    }
}

impl Access {
    /// For people who reach the desk at `origin`; `secret` is random and new.
    pub fn new(origin: &str, secret: [u8; 32]) -> Self {
        Self {
            origin: origin.to_owned(),
            secret,
            used: VecDeque::new(),
            sessions: HashMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// A challenge for `key`, base64url of 32 bytes: when, 8 random bytes, and a code over them and
    /// the key. The same for keys that are known and that are not.
    pub fn challenge(&self, key: &PublicKey, random: [u8; 8], now: Duration) -> String {
        let mut challenge = [0; 32];
        challenge[..8].copy_from_slice(&now.as_secs().to_be_bytes());
        challenge[8..16].copy_from_slice(&random);
        let code = self.code(key, &challenge[..16]);
        challenge[16..].copy_from_slice(&code);
        URL_SAFE_NO_PAD.encode(challenge)
    }

    /// Both hashes are over texts of fixed lengths.
    fn code(&self, key: &PublicKey, head: &[u8]) -> [u8; 16] {
        let inner = Sha256::new().chain_update(self.secret).chain_update(key.to_bytes());
        let inner = inner.chain_update(head).finalize();
        let outer = Sha256::new().chain_update(self.secret).chain_update(inner).finalize();
        outer[..16].try_into().expect("16 of 32 bytes")
    }

    /// How long `from` has to wait before another attempt.
    fn wait(&mut self, from: IpAddr, now: Duration) -> Option<Duration> {
        let failures = self.failures.get_mut(&from)?;
        let more = (now.saturating_sub(failures.at).as_secs() / REFILL.as_secs()) as u32;
        if more > 0 {
            failures.left = failures.left.saturating_add(more).min(BURST);
            failures.at = now;
        }
        (failures.left == 0).then(|| (failures.at + REFILL).saturating_sub(now))
    }

    fn failed(&mut self, from: IpAddr, now: Duration) {
        if self.failures.len() >= MOST_ADDRESSES && !self.failures.contains_key(&from) {
            let oldest = self.failures.iter().min_by_key(|(_, f)| f.at).map(|(a, _)| *a);
            oldest.map(|address| self.failures.remove(&address));
        }
        let failures = self.failures.entry(from).or_insert(FailedAttempts { left: BURST, at: now });
        failures.left = failures.left.saturating_sub(1);
    }

    /// Lets the key of `attempt` in where its signature is one of [`sign_in_text`]. `role` is what
    /// the key may do; `random` gives the session its names.
    ///
    /// # Errors
    /// Why not.
    pub fn sign_in(
        &mut self,
        attempt: &SignInAttempt<'_>,
        role: Option<DeskRole>,
        random: &[u8; 64],
        now: Duration,
    ) -> Result<NewSession, AccessError> {
        let wait = self.wait(attempt.from, now);
        if let (Some(wait), None) = (wait, role) {
            return Err(AccessError::TooMany(wait));
        }
        // Whoever has the key of somebody with a role is let in, whatever others of the same
        // address have tried.
        let checked = self.check(attempt, now);
        let role = checked.and_then(|()| role.ok_or(AccessError::Nobody)).map_err(|error| {
            self.failed(attempt.from, now);
            wait.map_or(error, AccessError::TooMany)
        })?;
        let [token, csrf] = [&random[..32], &random[32..]].map(|r| URL_SAFE_NO_PAD.encode(r));
        self.make_room(attempt.key);
        let session = WebSession { key: *attempt.key, csrf: csrf.clone(), began: now, used: now };
        self.sessions.insert(session_name(&token), session);
        Ok(NewSession { token, csrf, role })
    }

    fn check(&mut self, attempt: &SignInAttempt<'_>, now: Duration) -> Result<(), AccessError> {
        let SignInAttempt { key, challenge: text, signature, .. } = attempt;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| AccessError::Stale)?;
        let challenge: [u8; 32] = bytes.try_into().map_err(|_| AccessError::Stale)?;
        let at = u64::from_be_bytes(challenge[..8].try_into().expect("8 of 32 bytes"));
        let fresh = at <= now.as_secs() && now.as_secs() - at <= CHALLENGE_S;
        if !fresh || self.code(key, &challenge[..16]) != challenge[16..] {
            return Err(AccessError::Stale);
        }
        while self.used.front().is_some_and(|(_, until)| *until < now) {
            self.used.pop_front();
        }
        if self.used.iter().any(|(used, _)| *used == challenge) {
            return Err(AccessError::Stale);
        }
        if !key.verifies(sign_in_text(&self.origin, text).as_bytes(), signature) {
            return Err(AccessError::Forged);
        }
        // Only those whose signature holds come here.
        if self.used.len() >= MOST_USED {
            return Err(AccessError::TooMany(Duration::from_secs(CHALLENGE_S)));
        }
        self.used.push_back((challenge, now + Duration::from_secs(CHALLENGE_S + 1)));
        Ok(())
    }

    fn make_room(&mut self, key: &PublicKey) {
        let own = self.sessions.iter().filter(|(_, s)| s.key == *key);
        let mut own: Vec<_> = own.map(|(token, s)| (s.began, *token)).collect();
        own.sort_unstable();
        let over = (own.len() + 1).saturating_sub(MOST_OF_ONE);
        for (_, token) in own.into_iter().take(over) {
            self.sessions.remove(&token);
        }
        if self.sessions.len() >= MOST_SESSIONS {
            let oldest = self.sessions.iter().min_by_key(|(_, s)| s.used).map(|(t, _)| *t);
            oldest.map(|token| self.sessions.remove(&token));
        }
    }

    /// Whose session `token` is, at `now`; `role` says what a key may do by the trust file of the
    /// moment.
    pub fn user(
        &mut self,
        token: &str,
        now: Duration,
        role: impl Fn(&PublicKey) -> Option<DeskRole>,
    ) -> Option<DeskUser> {
        let Some(role) = self.role_of(token, now, role) else {
            self.sign_out(token);
            return None;
        };
        let session = self.sessions.get_mut(&session_name(token))?;
        session.used = now;
        Some(DeskUser { key: session.key, role, csrf: session.csrf.clone() })
    }

    /// Whose session `token` is, for a page that refreshes itself: it does not count as a request,
    /// so that a page that nobody looks at ends as any other.
    pub fn bystander(
        &self,
        token: &str,
        now: Duration,
        role: impl Fn(&PublicKey) -> Option<DeskRole>,
    ) -> Option<DeskUser> {
        let role = self.role_of(token, now, role)?;
        let session = self.sessions.get(&session_name(token))?;
        Some(DeskUser { key: session.key, role, csrf: session.csrf.clone() })
    }

    /// What the holder of the session `token` may do at `now`; nothing where it is over, or its key
    /// has no role any more. It does not count as a request.
    pub fn role_of(
        &self,
        token: &str,
        now: Duration,
        role: impl Fn(&PublicKey) -> Option<DeskRole>,
    ) -> Option<DeskRole> {
        let session = self.sessions.get(&session_name(token))?;
        role(&session.key).filter(|_| !session.is_over(now))
    }

    /// Ends a session.
    pub fn sign_out(&mut self, token: &str) {
        self.sessions.remove(&session_name(token));
    }
}

/// Somebody who wants to be let in.
#[derive(Debug, Clone, Copy)]
pub struct SignInAttempt<'a> {
    /// The key that they name.
    pub key: &'a PublicKey,
    /// As it was given to them.
    pub challenge: &'a str,
    /// Of the text over it.
    pub signature: &'a [u8; 64],
    /// Where from.
    pub from: IpAddr,
}

/// Whether what a request carries is the session's token.
pub fn is_csrf(user: &DeskUser, carried: Option<&str>) -> bool {
    // Compared by digests, so that the time tells nothing of where they differ.
    carried.is_some_and(|c| Sha256::digest(c.as_bytes()) == Sha256::digest(user.csrf.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchlist::keys::SecretKey;

    const ORIGIN: &str = "https://desk.example";
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const REVIEWER: Option<DeskRole> = Some(DeskRole::Reviewer);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    struct Person {
        key: SecretKey,
        public: PublicKey,
    }

    impl Person {
        fn new(n: u8) -> Self {
            Self { key: key(n), public: key(n).public() }
        }

        fn signs(&self, access: &mut Access, origin: &str, n: u8, now: Duration) -> AccessResult {
            let challenge = access.challenge(&self.public, [n; 8], now);
            self.answers(access, origin, &challenge, now)
        }

        fn answers(
            &self,
            access: &mut Access,
            origin: &str,
            challenge: &str,
            now: Duration,
        ) -> AccessResult {
            let signature = self.key.sign(sign_in_text(origin, challenge).as_bytes());
            let attempt =
                SignInAttempt { key: &self.public, challenge, signature: &signature, from: HERE };
            access.sign_in(&attempt, REVIEWER, &[challenge.as_bytes()[12]; 64], now)
        }
    }

    type AccessResult = Result<NewSession, AccessError>;

    fn access() -> Access {
        Access::new(ORIGIN, [7; 32])
    }

    #[test]
    fn whoever_signs_the_challenge_for_this_address_is_let_in_once() {
        let (mut access, dora) = (access(), Person::new(1));
        let challenge = access.challenge(&dora.public, [1; 8], at(0));
        let session = dora.answers(&mut access, ORIGIN, &challenge, at(1)).unwrap();
        let again = dora.answers(&mut access, ORIGIN, &challenge, at(2));
        assert_eq!(again, Err(AccessError::Stale), "a challenge is used once");
        let user = access.user(&session.token, at(3), |_| REVIEWER).unwrap();
        assert_eq!((user.key, user.role), (dora.public, DeskRole::Reviewer));
        assert!(access.user("other", at(3), |_| REVIEWER).is_none());
    }

    #[test]
    fn another_address_an_old_challenge_and_another_key_are_refused() {
        let (mut access, dora, emil) = (access(), Person::new(1), Person::new(2));
        let elsewhere = dora.signs(&mut access, "https://evil.example", 1, at(0));
        assert_eq!(elsewhere, Err(AccessError::Forged));
        let old = access.challenge(&dora.public, [2; 8], at(0));
        let late = dora.answers(&mut access, ORIGIN, &old, at(CHALLENGE_S + 1));
        assert_eq!(late, Err(AccessError::Stale));
        let of_dora = access.challenge(&dora.public, [3; 8], at(0));
        let stolen = emil.answers(&mut access, ORIGIN, &of_dora, at(1));
        assert_eq!(stolen, Err(AccessError::Stale));
        let other_desk = Access::new(ORIGIN, [8; 32]).challenge(&dora.public, [4; 8], at(0));
        let foreign = dora.answers(&mut access, ORIGIN, &other_desk, at(1));
        assert_eq!(foreign, Err(AccessError::Stale));
    }

    #[test]
    fn a_key_without_a_role_is_not_let_in_and_loses_its_session_when_it_loses_its_role() {
        let (mut access, dora) = (access(), Person::new(1));
        let challenge = access.challenge(&dora.public, [1; 8], at(0));
        let signature = dora.key.sign(sign_in_text(ORIGIN, &challenge).as_bytes());
        let attempt = SignInAttempt {
            key: &dora.public,
            challenge: &challenge,
            signature: &signature,
            from: HERE,
        };
        assert_eq!(access.sign_in(&attempt, None, &[0; 64], at(0)), Err(AccessError::Nobody));
        let session = dora.signs(&mut access, ORIGIN, 2, at(0)).unwrap();
        assert!(access.user(&session.token, at(1), |_| REVIEWER).is_some());
        assert!(access.user(&session.token, at(2), |_| None).is_none(), "rotated out");
        assert!(access.user(&session.token, at(3), |_| REVIEWER).is_none(), "for good");
    }

    #[test]
    fn whoever_only_listens_has_the_role_of_the_moment_and_does_not_keep_the_session_alive() {
        let (mut access, dora) = (access(), Person::new(1));
        let session = dora.signs(&mut access, ORIGIN, 1, at(0)).unwrap();
        let role = |access: &Access, now, role| access.role_of(&session.token, now, |_| role);
        assert_eq!(role(&access, at(1), REVIEWER), REVIEWER);
        assert_eq!(role(&access, at(1), None), None, "rotated out");
        assert_eq!(role(&access, at(0) + IDLE, REVIEWER), REVIEWER);
        assert_eq!(role(&access, at(1) + IDLE, REVIEWER), None, "nobody has asked for anything");
        assert_eq!(access.role_of("other", at(1), |_| REVIEWER), None);
        let page = |access: &Access, now| access.bystander(&session.token, now, |_| REVIEWER);
        assert_eq!(page(&access, at(0) + IDLE).map(|user| user.key), Some(dora.public));
        assert!(page(&access, at(1) + IDLE).is_none());
    }

    #[test]
    fn sessions_end_when_idle_when_old_and_when_signed_out() {
        let (mut access, dora) = (access(), Person::new(1));
        let idle = dora.signs(&mut access, ORIGIN, 1, at(0)).unwrap();
        let later = at(0) + IDLE + Duration::from_secs(1);
        assert!(access.user(&idle.token, later, |_| REVIEWER).is_none());
        let old = dora.signs(&mut access, ORIGIN, 2, at(0)).unwrap();
        let mut now = at(0);
        while now <= at(0) + LONGEST {
            assert!(access.user(&old.token, now, |_| REVIEWER).is_some());
            now += IDLE;
        }
        assert!(access.user(&old.token, now, |_| REVIEWER).is_none());
        let out = dora.signs(&mut access, ORIGIN, 3, at(0)).unwrap();
        access.sign_out(&out.token);
        assert!(access.user(&out.token, at(1), |_| REVIEWER).is_none());
    }

    #[test]
    fn a_thousand_attempts_of_one_address_hold_up_nobody_else() {
        let (mut access, mallory, dora) = (access(), Person::new(1), Person::new(2));
        let evil = IpAddr::from([10, 0, 0, 1]);
        let mut refused = 0;
        for n in 0..1000u32 {
            let challenge = access.challenge(&mallory.public, [n as u8; 8], at(0));
            let attempt = SignInAttempt {
                key: &mallory.public,
                challenge: &challenge,
                signature: &[0; 64],
                from: evil,
            };
            let answer = access.sign_in(&attempt, REVIEWER, &[0; 64], at(0));
            refused += u32::from(matches!(answer, Err(AccessError::TooMany(_))));
        }
        assert_eq!(refused, 1000 - BURST);
        assert!(dora.signs(&mut access, ORIGIN, 9, at(0)).is_ok());
        assert!(access.failures.len() == 1 && access.used.len() == 1);
        // Behind one address with them: the right signature counts, and no other.
        let challenge = access.challenge(&mallory.public, [9; 8], at(0));
        let genuine = mallory.key.sign(sign_in_text(ORIGIN, &challenge).as_bytes());
        for (signature, role, let_in) in
            [([0; 64], REVIEWER, false), (genuine, None, false), (genuine, REVIEWER, true)]
        {
            let (key, challenge) = (&mallory.public, &*challenge);
            let attempt = SignInAttempt { key, challenge, signature: &signature, from: evil };
            let answer = access.sign_in(&attempt, role, &[1; 64], at(0));
            assert_eq!(answer.is_ok(), let_in, "{answer:?}");
            assert!(let_in || matches!(answer, Err(AccessError::TooMany(_))), "{answer:?}");
        }
    }

    #[test]
    fn only_the_sessions_own_token_lets_a_request_change_something() {
        let (mut access, dora) = (access(), Person::new(1));
        let session = dora.signs(&mut access, ORIGIN, 1, at(0)).unwrap();
        let user = access.user(&session.token, at(0), |_| REVIEWER).unwrap();
        assert!(is_csrf(&user, Some(&session.csrf)));
        assert!(!is_csrf(&user, None) && !is_csrf(&user, Some("")));
    }
}
