//! `watchpost fleet init`: an authority of one's own, and certificates for a broker, its devices
//! and the people who read and order, as the sample broker in `config/mosquitto` wants them.
//!
//! * The common name is the name that the broker's access list knows. No device gets one that the
//!   sample access list gives to people, and no name is given twice.
//! * Called again with more names it adds what is missing, by the same authority; the authority's
//!   certificate, too, where only its key is there. No file is ever replaced; where one is to be
//!   renewed, it is moved away first. A broker's certificate that lacks a host is an error.
//! * Not promised: that a device is not called as somebody of an earlier call, other than those of
//!   the sample access list.
//! * Keys have mode 0600. The authority's key stays on the workstation: whoever has it can be any
//!   device.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::flags::OutputFormat;
use super::fleet::FleetFlags;
use super::{CliError, output};
use crate::delivery::tls::{self, Certificate};
use crate::files;
use crate::watchlist::opaque::{IdentifierOf, is_plainly_opaque};

/// What the authority is called.
const AUTHORITY: &str = "watchpost fleet";
/// Most bytes of the authority's key.
const MAX_KEY: u64 = 64 << 10;
/// The users of the sample access list, who may more than a device.
const USERS: [&str; 4] = ["reviewer", "desk", "witness", "operator"];
/// How long the authority's own certificate is valid.
const YEARS: i64 = 10;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Subcommand)]
enum FleetCommand {
    /// Make an authority, and certificates for a broker, devices and people; called again, those
    /// that are missing.
    #[command(after_help = EXAMPLES)]
    Init(Init),
}

const EXAMPLES: &str = "Examples:
  watchpost fleet init pki --broker mqtt.example --device gate-1 --device gate-2
  watchpost fleet init pki --broker mqtt.example --devices fleet.txt --person anna --days 365";

#[derive(clap::Args)]
struct Init {
    /// Folder for keys and certificates; made where it is missing.
    folder: PathBuf,
    /// Host name or address of the broker, as devices write it into broker.url; may be given
    /// several times.
    #[arg(long, value_name = "HOST", required = true)]
    broker: Vec<String>,
    #[command(flatten)]
    fleet: FleetFlags,
    /// Somebody who reads or orders, by the user's name in the access list, as in `reviewer` or
    /// `operator`; may be given several times.
    #[arg(long, value_name = "NAME")]
    person: Vec<String>,
    /// Days for which the certificates are valid.
    #[arg(long, value_name = "N", default_value_t = 365,
        value_parser = clap::value_parser!(u16).range(1..=825))]
    days: u16,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    let FleetCommand::Init(args) = &args.command;
    let mut people = args.person.clone();
    if people.is_empty() {
        people = ["operator", "reviewer"].map(str::to_owned).into();
    }
    let devices: Vec<String> = args.fleet.read()?.devices.into_iter().map(|d| d.id).collect();
    let clients = clients(&devices, people)?;
    serves(&args.folder, &args.broker)?;
    for device in devices.iter().filter(|id| !is_plainly_opaque(id, IdentifierOf::Thing)) {
        output::warn(format_args!(
            "the device {device} may be called by a person's name, and ids of devices are \
             published; name it by its place, as in gate-1"
        ));
    }
    fs::create_dir_all(&args.folder)?;
    let authority = authority(&args.folder)?;
    let days = Duration::days(args.days.into());
    let mut made = Vec::new();
    let mut leaf = certificate(&args.broker[0], args.broker.clone(), days)?;
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    made.extend(issue(&args.folder, "server", leaf, &authority)?);
    for name in &clients {
        let mut leaf = certificate(name, Vec::new(), days)?;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        made.extend(issue(&args.folder, name, leaf, &authority)?);
    }
    for name in &made {
        if args.format.json {
            output::json_line(&serde_json::json!({ "certificate": name }))?;
        } else {
            output::line(format!("made {}", args.folder.join(name).display()))?;
        }
    }
    if !args.format.json {
        output::line(
            "ca.pem, server.pem and server.key go to the broker (config/mosquitto); ca.pem and \
             NAME.pem with NAME.key to each device and person. ca.key stays here, and only here.",
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All who get a certificate of a client: `devices`, then `people`.
fn clients(devices: &[String], people: Vec<String>) -> Result<Vec<String>, CliError> {
    let mut clients: Vec<String> = Vec::new();
    // The names of files and of users: as strict as a device's.
    for name in devices.iter().cloned().chain(people) {
        crate::delivery::DeviceId::new(&name).map_err(|e| format!("{name:?}: {e}"))?;
        if ["ca", "server"].contains(&name.as_str()) {
            return Err(format!("{name:?} is the name of another file here; take another").into());
        }
        let is_device = clients.len() < devices.len();
        if is_device && USERS.contains(&name.as_str()) {
            return Err(format!(
                "{name:?} is a user of the broker's access list (config/mosquitto/acl), who may \
                 more than a device; call the device otherwise"
            )
            .into());
        }
        if clients.contains(&name) {
            return Err(format!(
                "{name:?} is named twice; by one certificate the broker cannot tell two apart, \
                 call one of them otherwise"
            )
            .into());
        }
        clients.push(name);
    }
    Ok(clients)
}

/// Whether the folder's certificate of a broker, where there is one, is for each of `hosts`.
fn serves(folder: &Path, hosts: &[String]) -> Result<(), CliError> {
    let path = folder.join("server.pem");
    if !path.exists() {
        return Ok(());
    }
    let there = tls::certificates(&path)?;
    let there = there.first().and_then(|der| Certificate::read(der));
    let there = there.ok_or_else(|| format!("{} is no certificate", path.display()))?;
    match hosts.iter().find(|host| !there.is_for(host)) {
        None => Ok(()),
        Some(host) => Err(format!(
            "{} is for {} and not for {host}; move server.pem and server.key away and name all \
             hosts with --broker, then a new one is made",
            path.display(),
            there.hosts().join(", ")
        )
        .into()),
    }
}

fn certificate(
    name: &str,
    hosts: Vec<String>,
    valid: Duration,
) -> Result<CertificateParams, CliError> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    // Clocks of devices differ.
    params.not_before = now - Duration::DAY;
    params.not_after = now + valid;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// The folder's authority, which is made where there is none.
fn authority(folder: &Path) -> Result<Issuer<'static, KeyPair>, CliError> {
    let mut params = certificate(AUTHORITY, Vec::new(), Duration::days(YEARS * 365))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
    if certificate.exists() || key.exists() {
        let text = files::read_text(&key, MAX_KEY)
            .map_err(|e| format!("cannot read {}: {e}", key.display()))?;
        let pair = KeyPair::from_pem(&text)
            .map_err(|e| format!("{} is no key of an authority: {e}", key.display()))?;
        if !certificate.exists() {
            // Of the same key and name: what it has signed stays valid.
            write(&certificate, &params.self_signed(&pair)?.pem(), 0o644)?;
        }
        return Ok(Issuer::new(params, pair));
    }
    let pair = KeyPair::generate()?;
    let made = params.self_signed(&pair)?;
    write(&key, &zeroize::Zeroizing::new(pair.serialize_pem()), 0o600)?;
    write(&certificate, &made.pem(), 0o644)?;
    Ok(Issuer::new(params, pair))
}

/// Makes `<name>.pem` and `<name>.key`, unless they are there; what was made.
fn issue(
    folder: &Path,
    name: &str,
    params: CertificateParams,
    authority: &Issuer<'static, KeyPair>,
) -> Result<Option<String>, CliError> {
    let [certificate, key] = ["pem", "key"].map(|kind| folder.join(format!("{name}.{kind}")));
    if certificate.exists() {
        return Ok(None);
    }
    let pair = KeyPair::generate()?;
    let made = params.signed_by(&pair, authority)?;
    write(&key, &zeroize::Zeroizing::new(pair.serialize_pem()), 0o600)?;
    write(&certificate, &made.pem(), 0o644)?;
    Ok(Some(format!("{name}.pem")))
}

/// Writes a new file; one that is there is never replaced.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CliError> {
    files::create(path, &[text.as_bytes()], mode)
        .map_err(|e| format!("cannot write {}: {e}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(devices: &[&str], people: &[&str]) -> Result<Vec<String>, String> {
        let [devices, people] =
            [devices, people].map(|names| names.iter().map(|n| (*n).to_owned()).collect());
        let devices: Vec<String> = devices;
        clients(&devices, people).map_err(|e| e.to_string())
    }

    #[test]
    fn no_device_is_called_as_a_user_of_the_access_list_and_no_name_is_given_twice() {
        assert_eq!(named(&["gate-1"], &["desk"]), Ok(vec!["gate-1".into(), "desk".into()]));
        for user in USERS {
            let refused = named(&["gate-1", user], &["anna"]).expect_err(user);
            assert!(refused.contains("access list"), "{refused}");
        }
        for (devices, people) in
            [(["gate-1"], &["gate-1"][..]), (["gate-2"], &["anna", "bert", "anna"])]
        {
            let refused = named(&devices, people).expect_err("twice");
            assert!(refused.contains("named twice"), "{refused}");
        }
    }

    #[test]
    fn the_users_are_those_of_the_sample_access_list() {
        let acl = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/mosquitto/acl"));
        let users: Vec<&str> = acl.lines().filter_map(|line| line.strip_prefix("user ")).collect();
        assert_eq!(users, USERS);
    }

    #[test]
    fn a_brokers_certificate_that_lacks_a_host_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let hosts = |hosts: &[&str]| hosts.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>();
        serves(folder.path(), &hosts(&["a.example"])).expect("none is there yet");
        let authority = authority(folder.path()).expect("an authority");
        let names = hosts(&["a.example", "10.0.0.7", "::1"]);
        let leaf = certificate("a.example", names, Duration::days(1)).expect("names");
        issue(folder.path(), "server", leaf, &authority).expect("it is made");
        for same in [&["a.example"][..], &["A.example", "10.0.0.7"], &["0:0:0:0:0:0:0:1"]] {
            serves(folder.path(), &hosts(same)).expect("it is for them");
        }
        let refused = serves(folder.path(), &hosts(&["a.example", "b.example"]));
        let refused = refused.expect_err("another host").to_string();
        assert!(refused.contains("not for b.example") && refused.contains("move server.pem"));
    }
}
